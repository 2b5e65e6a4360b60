// avg_pool: plain means over boxes of a token grid.
//
// Tensors   x [grids * depth * height * width, dim], out [grids * pooled tokens, dim]; bf16, width varies fastest.
// Numerics  sums in f32: each warp every eighth token of the box, then the warps in order; one rounding, at the store.
// Launch    blocks (means, column tiles of 256) of kSumThreads; any dim; 16-byte loads where `vectors` allows them.
// Traffic   2 bytes per element of x and of out.
// Source    the definition.
#include "token_sum.cuh"

struct AvgPoolParams {
    const bf16* x;
    bf16* out;
    uint32_t pooled[3];
    uint32_t window[3];
    uint32_t dim, vectors;
};
static_assert(sizeof(AvgPoolParams) == 48 && offsetof(AvgPoolParams, vectors) == 44);

KERNEL(avg_pool_kernel, AvgPoolParams, kSumThreads) {
    uint32_t cell = blockIdx.x, x = cell % p.pooled[2], y = cell / p.pooled[2] % p.pooled[1];
    // Slices of all grids in one count: grids follow each other as slices do.
    uint32_t slice = cell / p.pooled[2] / p.pooled[1];
    uint32_t tokens = p.window[0] * p.window[1] * p.window[2];
    size_t height = p.pooled[1] * p.window[1], width = p.pooled[2] * p.window[2];
    auto row = [&](uint32_t token) {
        uint32_t i = token / (p.window[1] * p.window[2]), j = token / p.window[2] % p.window[1];
        size_t line = (slice * p.window[0] + i) * height + y * p.window[1] + j;
        return p.x + (line * width + x * p.window[2] + token % p.window[2]) * p.dim;
    };
    float sums[8] = {};
    add_tokens(sums, tokens, first_column(), p.dim, p.vectors, row);
    float mean = column_total(sums) / static_cast<float>(tokens);
    uint32_t column = blockIdx.y * kSumColumns + threadIdx.x;
    if (column < p.dim) p.out[static_cast<size_t>(cell) * p.dim + column] = to_bf16(mean);
}
