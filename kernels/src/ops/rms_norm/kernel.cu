// rms_norm: out = x / sqrt(mean(x²) + eps) · weight, one row per token.
//
// Tensors   x, out [rows, dim]; weight [dim]; all bf16, row-major, contiguous.
// Numerics  sum of squares and all arithmetic in f32, in an order fixed by kThreads; one rounding, at the store.
// Launch    one block of kThreads per row; any dim > 0; 16-byte accesses where `vectors` allows them.
// Traffic   6 bytes per element: x read twice (the second time from cache), out written, weight shared by all rows.
// Source    Zhang and Sennrich 2019, eq. 4.
#include "bf16.cuh"
#include "reduce.cuh"

constexpr int kThreads = 256;

struct RmsNormParams {
    const bf16* x;
    const bf16* weight;
    bf16* out;
    uint32_t rows, dim;
    float eps;
    uint32_t vectors;
};
static_assert(sizeof(RmsNormParams) == 40 && offsetof(RmsNormParams, vectors) == 36);

KERNEL(rms_norm_kernel, RmsNormParams, kThreads) {
    const bf16* x = p.x + static_cast<size_t>(blockIdx.x) * p.dim;
    bf16* out = p.out + static_cast<size_t>(blockIdx.x) * p.dim;
    float squares = 0.0f;
    for (uint32_t i = threadIdx.x * 8; i < p.dim; i += kThreads * 8) {
        float values[8];
        load_row8(values, x, i, p.dim, p.vectors);
#pragma unroll
        for (int j = 0; j < 8; j++) squares += values[j] * values[j];
    }
    float scale = rsqrtf(block_sum<kThreads>(squares) / static_cast<float>(p.dim) + p.eps);
    for (uint32_t i = threadIdx.x * 8; i < p.dim; i += kThreads * 8) {
        float values[8], weight[8];
        load_row8(values, x, i, p.dim, p.vectors);
        load_row8(weight, p.weight, i, p.dim, p.vectors);
#pragma unroll
        for (int j = 0; j < 8; j++) values[j] *= scale * weight[j];
        store_row8(out, i, p.dim, p.vectors, values);
    }
}
