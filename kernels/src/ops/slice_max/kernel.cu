// slice_max: out[i] = max over j of z_2d_slices[j, i] (paper, Table 4).
//
// Tensors   z_2d_slices [slices > 0, elements], out [elements], bf16.
// Numerics  exact; NaN where one of several slices is NaN or infinite.
// Launch    eight elements per thread; any number of elements; 16-byte accesses where `vectors` allows them.
// Traffic   2 bytes per element of z_2d_slices, once, and of out.
// Source    the definition.
#include "bf16.cuh"
#include "finite.cuh"

constexpr int kThreads = 256;

struct SliceMaxParams {
    const bf16* z_2d_slices;
    bf16* out;
    uint64_t elements;
    uint32_t slices, vectors;
};
static_assert(sizeof(SliceMaxParams) == 32 && offsetof(SliceMaxParams, vectors) == 28);

template <uint32_t kVectors>
__device__ __forceinline__ void largest(const SliceMaxParams& p, uint64_t at, uint32_t count) {
    float most[8];
    load_row8(most, p.z_2d_slices + at, 0, count, kVectors);
#pragma unroll(kVectors ? 8 : 1)
    for (uint32_t slice = 1; slice < p.slices; slice++) {
        float values[8];
        load_row8(values, p.z_2d_slices + slice * p.elements + at, 0, count, kVectors);
#pragma unroll
        for (int j = 0; j < 8; j++)
            most[j] = is_finite(most[j]) && is_finite(values[j]) ? fmaxf(most[j], values[j]) : NAN;
    }
    store_row8(p.out + at, 0, count, kVectors, most);
}

KERNEL(slice_max_kernel, SliceMaxParams, kThreads) {
    uint64_t at = (static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
    if (at >= p.elements) return;
    // Two functions, so that the wide one has no branch and its loads are under way together.
    if (p.vectors) {
        largest<1>(p, at, 8);
    } else {
        largest<0>(p, at, p.elements - at < 8 ? static_cast<uint32_t>(p.elements - at) : 8);
    }
}
