// Layer norm of one row by one warp: mean, then the spread around it, from values that stay in registers.
#pragma once
#include "bf16.cuh"
#include "reduce.cuh"

// Groups of eight values that a lane keeps: rows of up to 1024, the widest that the model norms. Longer ones are read
// again.
constexpr uint32_t kHeldGroups = 4;

// One learned layer norm.
struct Norm {
    const bf16* weight;
    const bf16* bias;
    float eps;
};

// Calls visit(values, at) for this lane's groups of a row: held ones first, then the others as `load` gives them.
template <class Load, class Visit>
__device__ __forceinline__ void visit_groups(float (&held)[kHeldGroups][8], uint32_t dim, Load load, Visit visit) {
    uint32_t lane = threadIdx.x % kWarp;
#pragma unroll
    for (uint32_t group = 0; group < kHeldGroups; group++) visit(held[group], (group * kWarp + lane) * 8);
    for (uint32_t at = (kHeldGroups * kWarp + lane) * 8; at < dim; at += kWarp * 8) {
        float values[8];
        load(values, at);
        visit(values, at);
    }
}

// out = (x - mean) / sqrt(variance + eps) * weight + bias; load(values, at) gives eight values of x, 0 past its end.
// The mean is a quotient, not a product with 1/dim: a constant row then has a spread of exactly 0.
template <class Load>
__device__ __forceinline__ void layer_norm_row(bf16* out, uint32_t dim, uint32_t vectors, const Norm& norm, Load load) {
    float held[kHeldGroups][8];
#pragma unroll
    for (uint32_t group = 0; group < kHeldGroups; group++) load(held[group], (group * kWarp + threadIdx.x % kWarp) * 8);
    float sum = 0.0f, squares = 0.0f, count = static_cast<float>(dim);
    visit_groups(held, dim, load, [&](const float(&values)[8], uint32_t) {
#pragma unroll
        for (int j = 0; j < 8; j++) sum += values[j];
    });
    float mean = warp_sum(sum) / count;
    visit_groups(held, dim, load, [&](const float(&values)[8], uint32_t at) {
#pragma unroll
        for (uint32_t j = 0; j < 8; j++) {
            float offset = at + j < dim ? values[j] - mean : 0.0f;
            squares += offset * offset;
        }
    });
    float scale = rsqrtf(warp_sum(squares) / count + norm.eps);
    visit_groups(held, dim, load, [&](const float(&values)[8], uint32_t at) {
        float weight[8], bias[8], normed[8];
        load_row8(weight, norm.weight, at, dim, vectors);
        load_row8(bias, norm.bias, at, dim, vectors);
#pragma unroll
        for (int j = 0; j < 8; j++) normed[j] = (values[j] - mean) * scale * weight[j] + bias[j];
        store_row8(out, at, dim, vectors, normed);
    });
}
