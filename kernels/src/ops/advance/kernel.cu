// advance: counters[i] += 1.
//
// Tensors   counters [count] u32, in place.
// Numerics  exact, wrapping.
// Launch    one thread per counter.
// Traffic   8 bytes per counter; the launch is all that it costs.
// Source    none.
#include "kernel.cuh"

constexpr int kThreads = 32;

struct AdvanceParams {
    uint32_t* counters;
    uint32_t count, reserved;
};
static_assert(sizeof(AdvanceParams) == 16 && offsetof(AdvanceParams, reserved) == 12);

KERNEL(advance_kernel, AdvanceParams, kThreads) {
    const uint32_t at = blockIdx.x * kThreads + threadIdx.x;
    if (at < p.count) p.counters[at]++;
}
