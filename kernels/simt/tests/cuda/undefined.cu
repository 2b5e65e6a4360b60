// What C++ leaves undefined. 32 threads.
#include "planted.cuh"

KERNEL(shift_kernel, Params, 32) {
    uint32_t by = threadIdx.x + (p.fixed ? 0 : 1);
    p.b[threadIdx.x] = static_cast<float>(1u << by);  // @shift
}

KERNEL(overflow_kernel, Params, 32) {
    int sum = 2147483616 + static_cast<int>(threadIdx.x);
    if (!p.fixed) sum = sum + 1;  // @overflow
    p.b[threadIdx.x] = static_cast<float>(sum);
}

KERNEL(divide_kernel, Params, 32) {
    int by = static_cast<int>(threadIdx.x) - (p.fixed ? 40 : 8);
    p.b[threadIdx.x] = static_cast<float>(100 / by);  // @divide
}

// An array of the thread's own, which no other check watches.
KERNEL(own_array_kernel, Params, 32) {
    float held[8];
    for (uint32_t i = 0; i < 8; i++) held[i] = static_cast<float>(i + p.size);
    p.b[threadIdx.x] = held[p.fixed ? threadIdx.x % 8 : threadIdx.x];  // @own_array
}

KERNEL(cast_kernel, Params, 32) {
    float large = p.fixed ? 1.0f : 3e9f;
    p.b[threadIdx.x] = static_cast<float>(static_cast<int>(large));  // @cast
}
