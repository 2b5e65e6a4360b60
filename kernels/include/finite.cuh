// NaN and infinities, and how an id says that a logit was one.
#pragma once
#include "kernel.cuh"

// In the place of an id: a logit is not finite. `NON_FINITE` in lib.rs.
constexpr uint32_t kNonFinite = 0xffffffffu;

// The difference is 0, but for NaN and infinities, where it is NaN.
__device__ __forceinline__ bool is_finite(float value) { return value - value == 0.0f; }
