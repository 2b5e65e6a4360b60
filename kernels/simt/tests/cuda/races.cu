// Kernels whose threads are not ordered where they must be. 64 threads, two blocks where blocks matter.
#include "planted.cuh"

// All 64 words are written, and everyone knows.
__device__ void clear(float* s) {
    s[threadIdx.x] = 0.0f;
    __syncthreads();
}

// Reads what another warp wrote.
KERNEL(read_after_write_kernel, Params, 64) {
    SHARED(float, s, 64);  // @raw_array
    clear(s);
    s[threadIdx.x] = static_cast<float>(threadIdx.x);  // @raw_write
    if (p.fixed) __syncthreads();
    p.b[threadIdx.x] = s[threadIdx.x ^ 32];  // @raw_read
}

// Overwrites what another warp reads.
KERNEL(write_after_read_kernel, Params, 64) {
    SHARED(float, s, 64);  // @war_array
    s[threadIdx.x] = 0.0f;
    __syncthreads();
    p.b[threadIdx.x] = s[threadIdx.x ^ 32];  // @war_read
    if (p.fixed) __syncthreads();
    s[threadIdx.x] = 1.0f;  // @war_write
}

// All threads write one word.
KERNEL(write_write_kernel, Params, 64) {
    SHARED(float, s, 1);  // @ww_array
    if (!p.fixed || threadIdx.x == 0) s[0] = 1.0f;  // @ww
    __syncthreads();
    p.b[threadIdx.x] = s[0];
}

// Lanes of one warp exchange through memory.
KERNEL(warp_kernel, Params, 64) {
    SHARED(float, s, 64);  // @warp_array
    clear(s);
    s[threadIdx.x] = 2.0f;  // @warp_write
    if (p.fixed) __syncwarp();
    p.b[threadIdx.x] = s[threadIdx.x ^ 1];  // @warp_read
}

// A barrier of one warp does not order two.
KERNEL(warp_only_kernel, Params, 64) {
    SHARED(float, s, 64);  // @warp_only_array
    clear(s);
    s[threadIdx.x] = 2.0f;  // @warp_only_write
    __syncwarp();
    if (p.fixed) __syncthreads();
    p.b[threadIdx.x] = s[63 - threadIdx.x];  // @warp_only
}

// Half a warp synchronises, the other half reads its data.
KERNEL(half_warp_kernel, Params, 64) {
    SHARED(float, s, 64);  // @half_array
    clear(s);
    uint32_t half = threadIdx.x % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
    s[threadIdx.x] = 3.0f;  // @half_write
    __syncwarp(half);
    p.b[threadIdx.x] = s[threadIdx.x ^ (p.fixed ? 15 : 16)];  // @half
}

// Within one block, through global memory.
KERNEL(global_kernel, Params, 64) {
    uint32_t base = blockIdx.x * 64;
    p.a[base + threadIdx.x] = 4.0f;  // @global_write
    if (p.fixed) __syncthreads();
    p.b[base + threadIdx.x] = p.a[base + (threadIdx.x ^ 32)];  // @global_read
}

// Block 1 reads what block 0 writes.
KERNEL(blocks_read_kernel, Params, 64) {
    uint32_t i = blockIdx.x * 64 + threadIdx.x;
    p.a[i] = 5.0f;  // @blocks_write
    p.b[i] = p.a[p.fixed ? i : threadIdx.x];  // @blocks_read
}

// Both blocks write the same words.
KERNEL(blocks_write_kernel, Params, 64) {
    p.a[threadIdx.x + (p.fixed ? blockIdx.x * 64 : 0)] = 6.0f;  // @blocks_ww
}

// Block 0 reads, alone at first, what block 1 reads and then writes.
KERNEL(blocks_read_write_kernel, Params, 64) {
    float sum = p.a[0] + p.a[1];  // @blocks_wr
    __syncthreads();
    if (threadIdx.x == 0 && blockIdx.x == gridDim.x - 1 && !p.fixed) p.a[0] = sum;  // @blocks_rw
    p.b[blockIdx.x * 64 + threadIdx.x] = sum;
}

// An atomic and a plain write.
KERNEL(atomic_kernel, Params, 64) {
    uint32_t* count = reinterpret_cast<uint32_t*>(p.a);
    atomicAdd(count, 1u);  // @atomic
    if (!p.fixed && threadIdx.x == 40) count[0] = 0;  // @plain
}

// Atomics before a barrier, a plain read after it: right. Block 1 has its own counter.
KERNEL(atomic_then_read_kernel, Params, 64) {
    SHARED(uint32_t, count, 1);  // @count_array
    if (threadIdx.x == 0) count[0] = 0;
    __syncthreads();
    atomicAdd(count, 1u);  // @count_atomic
    if (p.fixed) __syncthreads();
    p.b[blockIdx.x * 64 + threadIdx.x] = static_cast<float>(count[0]);  // @count
}

// A named barrier of the first 64 of 96 threads.
KERNEL(named_kernel, Params, 96) {
    SHARED(float, s, 96);  // @named_array
    s[threadIdx.x] = static_cast<float>(threadIdx.x);  // @named_write
    if (threadIdx.x < 64) {
        simt_barrier(1, 64, __FILE__, __LINE__);
        p.b[threadIdx.x] = s[63 - threadIdx.x];
    }
    if (p.fixed) __syncthreads();
    if (threadIdx.x >= 64) p.b[threadIdx.x] = s[threadIdx.x - 64];  // @named
}

// What a warp learns at a named barrier it passes on at the next one: 0 to 1, then 1 to 2.
KERNEL(chain_kernel, Params, 96) {
    SHARED(float, s, 32);  // @chain_array
    if (threadIdx.x < 32) s[threadIdx.x] = static_cast<float>(threadIdx.x);  // @chain_write
    if (threadIdx.x < 64) simt_barrier(1, 64, __FILE__, __LINE__);
    if (threadIdx.x >= 32) {
        if (p.fixed) simt_barrier(2, 64, __FILE__, __LINE__);
        p.b[threadIdx.x] = s[threadIdx.x % 32];  // @chain
    }
}

// Lane 0 hands to lane 1, which hands on to another warp at a barrier of two threads.
KERNEL(hand_on_kernel, Params, 64) {
    SHARED(float, s, 1);  // @hand_array
    if (threadIdx.x == 0) s[0] = 1.0f;  // @hand_write
    if (p.fixed) __syncwarp();
    if (threadIdx.x == 1 || threadIdx.x == 40) simt_barrier(1, 2, __FILE__, __LINE__);
    if (threadIdx.x == 40) p.b[0] = s[0];  // @hand_read
}

// Reads shared memory that only some wrote.
KERNEL(unset_kernel, Params, 64) {
    SHARED(float, s, 64);  // @unset_array
    if (threadIdx.x < 63 || p.fixed) s[threadIdx.x] = 7.0f;
    __syncthreads();
    p.b[threadIdx.x] = s[63 - threadIdx.x];  // @unset
}

// Neighbours write halves of one word, then all read whole words: right.
KERNEL(halves_kernel, Params, 64) {
    SHARED(bf16, s, 64);  // @halves_array
    if (threadIdx.x < 32) reinterpret_cast<uint32_t*>(s)[threadIdx.x] = 0;
    __syncthreads();
    s[threadIdx.x] = bf16{static_cast<uint16_t>(threadIdx.x)};  // @halves_write
    if (p.fixed) __syncthreads();
    const uint32_t* pairs = reinterpret_cast<const uint32_t*>(s);
    if (threadIdx.x < 32) p.b[threadIdx.x] = static_cast<float>(pairs[31 - threadIdx.x]);  // @halves
}

// Threads that return early count as arrived.
KERNEL(early_exit_kernel, Params, 64) {
    SHARED(float, s, 64);
    s[threadIdx.x] = 8.0f;
    if (p.fixed && threadIdx.x >= 32) return;
    if (!p.fixed && threadIdx.x % 2) {
        __syncthreads();  // @odd
    } else {
        __syncthreads();  // @even
    }
    p.b[threadIdx.x] = s[threadIdx.x ^ 1];
}
