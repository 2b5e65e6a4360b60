// rms_linear_argmax: out = argmax(rms_norm(x) · Wᵀ) for up to sixteen rows; the logits are never stored.
//
// Tensors   x [rows, inner] bf16, rows x_stride apart; norm [inner], weight [vocab, inner] bf16; candidates [rows,
//           groups] pairs of a logit and its id, f32 and u32; out [rows] u32.
// Numerics  the logits of rms_linear, to the bit; the largest, the lowest id among equals, kNonFinite where one is NaN
//           or infinite: a total order, so that the order of comparisons does not matter.
// Launch    rms_linear_argmax_kernel: one block of kFewThreads per group of sixteen ids. Then, with the same
//           parameters, rms_linear_argmax_best_kernel: one block of kFewThreads per row.
// Traffic   2 bytes per weight, each read once; 8 bytes per row and sixteen ids written and read again.
// Source    few_rows.cuh; the rest is ours.
#include "few_rows.cuh"
#include "finite.cuh"

struct RmsLinearArgmaxParams {
    FewInput in;
    uint2* candidates;
    uint32_t* out;
    uint32_t vocab, groups;
};
static_assert(sizeof(RmsLinearArgmaxParams) == 72 && offsetof(RmsLinearArgmaxParams, groups) == 68);

// The largest logit so far and its id.
struct Best {
    float logit;
    uint32_t id;
};
__device__ __forceinline__ Best none_yet() { return {-INFINITY, 0}; }

// A logit that is not finite beats every other, so that the row's result says so.
__device__ __forceinline__ Best candidate(float logit, uint32_t id) {
    return is_finite(logit) ? Best{logit, id} : Best{INFINITY, kNonFinite};
}

__device__ __forceinline__ Best better(Best a, Best b) {
    return b.logit > a.logit || (b.logit == a.logit && b.id < a.id) ? b : a;
}

// The best of each aligned group of kLanes lanes, to all of them.
template <int kLanes>
__device__ __forceinline__ Best lanes_best(Best best) {
#pragma unroll
    for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) {
        float logit = __shfl_xor_sync(kAllLanes, best.logit, lanes);
        uint32_t id = __shfl_xor_sync(kAllLanes, best.id, lanes);
        best = better(best, {logit, id});
    }
    return best;
}

template <bool kVectors>
__device__ __forceinline__ void group_best(const RmsLinearArgmaxParams& p) {
    uint32_t first = blockIdx.x * 16, left = p.vocab - first;
    uint32_t low = left < 8 ? left : 8, high = left < 16 ? left - low : 8;
    FewSums sums = few_rows<kVectors, true>(p.in, {first, low, first + 8, high});
    Best best = none_yet();
    if (sums.exists && sums.column < low) best = better(best, candidate(sums.first, first + sums.column));
    if (sums.exists && sums.column < high) best = better(best, candidate(sums.second, first + 8 + sums.column));
    best = lanes_best<8>(best);
    if (sums.exists && sums.column == 0)
        p.candidates[static_cast<size_t>(sums.row) * p.groups + blockIdx.x] =
            make_uint2(__float_as_uint(best.logit), best.id);
}

KERNEL_RESIDENT(rms_linear_argmax_kernel, RmsLinearArgmaxParams, kFewThreads, kFewBlocks) { group_best<true>(p); }
KERNEL(rms_linear_argmax_any_kernel, RmsLinearArgmaxParams, kFewThreads) { group_best<false>(p); }

KERNEL(rms_linear_argmax_best_kernel, RmsLinearArgmaxParams, kFewThreads) {
    SHARED(Best, warps, kFewWarps);
    const uint2* candidates = p.candidates + static_cast<size_t>(blockIdx.x) * p.groups;
    Best best = none_yet();
    for (uint32_t i = threadIdx.x; i < p.groups; i += kFewThreads)
        best = better(best, {__uint_as_float(candidates[i].x), candidates[i].y});
    best = lanes_best<kWarp>(best);
    if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = best;
    __syncthreads();  // every warp's best is written
    if (threadIdx.x != 0) return;
    for (uint32_t warp = 1; warp < kFewWarps; warp++) best = better(best, warps[warp]);
    p.out[blockIdx.x] = best.id;
}
