// Sums and maxima over a warp or a block, in a fixed order: the same input gives the same bits.
#pragma once
#include "kernel.cuh"

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kAllLanes, value, lanes);
    return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, lanes));
    return value;
}

// The sum over a group of four neighbouring lanes, which hold one row of an mma fragment.
__device__ __forceinline__ float quad_sum(float value) {
    value += __shfl_xor_sync(kAllLanes, value, 1);
    return value + __shfl_xor_sync(kAllLanes, value, 2);
}

// The maximum over a group of four neighbouring lanes.
__device__ __forceinline__ float quad_max(float value) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
    return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}

// The sum over all threads of a block of kThreads, to every thread.
template <int kThreads, class T>
__device__ __forceinline__ T block_sum(T value) {
    constexpr int kWarps = kThreads / kWarp;
    SHARED(T, partial, kWarps);
    value = warp_sum(value);
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
    __syncthreads();  // every warp's sum is written
    T total = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; warp++) total += partial[warp];
    __syncthreads();  // everyone has read: the next call may write
    return total;
}

// The maximum over all threads of a block of kThreads, to every thread.
template <int kThreads>
__device__ __forceinline__ float block_max(float value) {
    constexpr int kWarps = kThreads / kWarp;
    SHARED(float, partial, kWarps);
    value = warp_max(value);
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
    __syncthreads();  // every warp's maximum is written
    float most = partial[0];
#pragma unroll
    for (int warp = 1; warp < kWarps; warp++) most = fmaxf(most, partial[warp]);
    __syncthreads();  // everyone has read: the next call may write
    return most;
}

// The largest of unsigned values over all threads of a block of kThreads, to every thread.
template <int kThreads, class T>
__device__ __forceinline__ T block_most(T value) {
    constexpr int kWarps = kThreads / kWarp;
    SHARED(T, partial, kWarps);
#pragma unroll
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
        const T other = __shfl_xor_sync(kAllLanes, value, lanes);
        value = other > value ? other : value;
    }
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
    __syncthreads();  // every warp's value is written
    for (int warp = 0; warp < kWarps; warp++) value = partial[warp] > value ? partial[warp] : value;
    __syncthreads();  // everyone has read: the next call may write
    return value;
}
