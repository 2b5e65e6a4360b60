// The 16 × 8 pieces that mma leaves: a lane holds two neighbouring columns of a row, four lanes a row of a piece.
// Stored so, a request fills half of each sector; traded between two pieces side by side, it fills them.
#pragma once
#include "kernel.cuh"

// Lanes 2i and 2i + 1 trade what they hold of two pieces side by side: the even lane gets four columns of the first,
// the odd one four of the second. All lanes of the warp call it.
__device__ __forceinline__ uint2 trade(uint32_t first, uint32_t second) {
    bool odd = threadIdx.x % 2 == 1;
    uint32_t other = __shfl_xor_sync(kAllLanes, odd ? first : second, 1);
    return odd ? make_uint2(other, second) : make_uint2(first, other);
}

__device__ __forceinline__ float4 trade(float2 first, float2 second) {
    uint2 x = trade(__float_as_uint(first.x), __float_as_uint(second.x));
    uint2 y = trade(__float_as_uint(first.y), __float_as_uint(second.y));
    return make_float4(__uint_as_float(x.x), __uint_as_float(y.x), __uint_as_float(x.y), __uint_as_float(y.y));
}

// Where this lane's four columns begin after a trade, from the first piece's first.
__device__ __forceinline__ int traded_column() {
    return static_cast<int>(threadIdx.x % 2 * 8 + threadIdx.x % 4 / 2 * 4);
}
