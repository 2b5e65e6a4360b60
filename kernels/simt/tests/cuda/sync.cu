// Threads that wait for what never comes, and warp instructions with the wrong lanes. 64 threads.
#include "planted.cuh"

KERNEL(divergent_kernel, Params, 64) {
    if (p.fixed || threadIdx.x != 5) __syncthreads();  // @divergent
    if (!p.fixed && threadIdx.x == 5) simt_barrier(3, 2, __FILE__, __LINE__);  // @alone
    p.b[threadIdx.x] = 1.0f;
}

KERNEL(two_sites_kernel, Params, 64) {
    if (threadIdx.x < 32 || p.fixed)
        __syncthreads();  // @site_one
    else
        __syncthreads();  // @site_two
    p.b[threadIdx.x] = 1.0f;
}

KERNEL(missing_lane_kernel, Params, 64) {
    float sum = 1.0f;
    if (threadIdx.x != 7 || p.fixed) sum += __shfl_xor_sync(kAllLanes, sum, 1);  // @missing
    p.b[threadIdx.x] = sum;
}

KERNEL(two_instructions_kernel, Params, 64) {
    uint32_t votes = 0;
    if (threadIdx.x % 32 < 16 || p.fixed)
        votes = __ballot_sync(kAllLanes, 1);  // @ballot
    else
        votes = __any_sync(kAllLanes, 1);  // @any
    p.b[threadIdx.x] = static_cast<float>(votes != 0);
}

KERNEL(own_mask_kernel, Params, 64) {
    uint32_t mask = p.fixed ? kAllLanes : 0x0000ffffu;
    __syncwarp(mask);  // @own_mask
    p.b[threadIdx.x] = 1.0f;
}

KERNEL(absent_source_kernel, Params, 64) {
    float value = 1.0f;
    if (threadIdx.x % 32 < 16) value = __shfl_sync(0x0000ffffu, value, p.fixed ? 3 : 20);  // @absent
    p.b[threadIdx.x] = value;
}

KERNEL(trap_kernel, Params, 64) {
    if (!p.fixed && threadIdx.x == 33) simt_trap("a kernel's own check", __FILE__, __LINE__);  // @trap
    p.b[threadIdx.x] = 1.0f;
}
