// copy: out = x, byte for byte.
//
// Tensors   x, out [rows, width] of one element type, as `units` units of `unit_bytes` bytes.
// Numerics  exact: no value is looked at.
// Launch    one thread per unit; a unit is 16 bytes where addresses and size allow it, else 4 or 2.
// Traffic   every byte read and written once.
// Source    none.
#include "kernel.cuh"

constexpr int kThreads = 256;

struct CopyParams {
    const void* x;
    void* out;
    uint64_t units;
    uint32_t unit_bytes;
};
static_assert(sizeof(CopyParams) == 32 && offsetof(CopyParams, unit_bytes) == 24);

template <class Unit>
__device__ __forceinline__ void copy_unit(const CopyParams& p, uint64_t index) {
    static_cast<Unit*>(p.out)[index] = static_cast<const Unit*>(p.x)[index];
}

KERNEL(copy_kernel, CopyParams, kThreads) {
    uint64_t index = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (index >= p.units) return;
    if (p.unit_bytes == 16) {
        copy_unit<uint4>(p, index);
    } else if (p.unit_bytes == 4) {
        copy_unit<uint32_t>(p, index);
    } else {
        copy_unit<uint16_t>(p, index);
    }
}
