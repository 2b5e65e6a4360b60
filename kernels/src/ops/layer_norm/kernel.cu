// layer_norm: out = (x - mean) / sqrt(variance + eps) * weight + bias, one row per token.
//
// Tensors   x, out [rows, dim]; weight, bias [dim]; all bf16, row-major, contiguous.
// Numerics  mean, then the sum of squares around it, in f32, in an order fixed by the row's length; one rounding, at
//           the store.
// Launch    one warp per row, kThreads / 32 rows per block; any dim > 0; rows of up to 1024 values stay in registers.
// Traffic   4 bytes per element: x read, out written; weight and bias are shared by all rows.
// Source    Ba, Kiros and Hinton 2016, eq. 4.
#include "norm.cuh"

constexpr int kThreads = 128;

struct LayerNormParams {
    const bf16* x;
    bf16* out;
    Norm norm;
    uint32_t rows, dim, vectors;
};
static_assert(sizeof(LayerNormParams) == 56 && offsetof(LayerNormParams, vectors) == 48);

KERNEL(layer_norm_kernel, LayerNormParams, kThreads) {
    uint32_t row = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
    if (row >= p.rows) return;
    const bf16* x = p.x + static_cast<size_t>(row) * p.dim;
    layer_norm_row(p.out + static_cast<size_t>(row) * p.dim, p.dim, p.vectors, p.norm,
                   [&](float(&values)[8], uint32_t at) { load_row8(values, x, at, p.dim, p.vectors); });
}
