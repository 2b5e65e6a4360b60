// slice_combine: out[i] = sum over j of scores[j] * z_2d_slices[j, i] (paper, Eq. 7).
//
// Tensors   z_2d_slices [slices, elements], out [elements], bf16; scores [slices], f32.
// Numerics  f32, slices in order; one rounding, at the store.
// Launch    eight elements per thread; any number of elements; 16-byte accesses where `vectors` allows them.
// Traffic   2 bytes per element of z_2d_slices, once, and of out: 52 MB at 32 x 256 x 3072, 25 us at 2.04 TB/s.
// Source    the definition.
#include "bf16.cuh"

constexpr int kThreads = 256;

struct SliceCombineParams {
    const bf16* z_2d_slices;
    const float* scores;
    bf16* out;
    uint64_t elements;
    uint32_t slices, vectors;
};
static_assert(sizeof(SliceCombineParams) == 40 && offsetof(SliceCombineParams, vectors) == 36);

template <uint32_t kVectors>
__device__ __forceinline__ void combine(const SliceCombineParams& p, uint64_t at, uint32_t count) {
    float sums[8] = {};
#pragma unroll(kVectors ? 8 : 1)
    for (uint32_t slice = 0; slice < p.slices; slice++) {
        float values[8], score = p.scores[slice];
        load_row8(values, p.z_2d_slices + slice * p.elements + at, 0, count, kVectors);
#pragma unroll
        for (int j = 0; j < 8; j++) sums[j] += score * values[j];
    }
    store_row8(p.out + at, 0, count, kVectors, sums);
}

KERNEL(slice_combine_kernel, SliceCombineParams, kThreads) {
    uint64_t at = (static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
    if (at >= p.elements) return;
    // Two functions, so that the wide one has no branch and its loads are under way together.
    if (p.vectors) {
        combine<1>(p, at, 8);
    } else {
        combine<0>(p, at, p.elements - at < 8 ? static_cast<uint32_t>(p.elements - at) : 8);
    }
}
