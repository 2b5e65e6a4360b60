// f32 as whole numbers in the same order, so that atomics and histograms can compare them.
#pragma once
#include "kernel.cuh"

// -0 lies below +0.
__device__ __forceinline__ uint32_t order_key(float value) {
    uint32_t bits = __float_as_uint(value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// The inverse.
__device__ __forceinline__ float value_of(uint32_t key) {
    return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}
