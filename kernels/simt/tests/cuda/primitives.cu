// Every primitive once, on inputs that the host lays out and compares.
#include "planted.cuh"

// Per thread eight words: the four shuffles in widths 32 and 8, each of a word of `a`.
KERNEL(shuffle_kernel, Params, 64) {
    const uint32_t value = reinterpret_cast<const uint32_t*>(p.a)[threadIdx.x];
    uint32_t* out = reinterpret_cast<uint32_t*>(p.b) + threadIdx.x * 8;
    out[0] = __shfl_sync(kAllLanes, value, 9);
    out[1] = __shfl_xor_sync(kAllLanes, value, 12);
    out[2] = __shfl_up_sync(kAllLanes, value, 3);
    out[3] = __shfl_down_sync(kAllLanes, value, 5);
    out[4] = __shfl_sync(kAllLanes, value, 9, 8);
    out[5] = __shfl_xor_sync(kAllLanes, value, 12, 8);
    out[6] = __shfl_up_sync(kAllLanes, value, 3, 8);
    out[7] = __shfl_down_sync(kAllLanes, value, 5, 8);
}

// Halves of a warp exchange on their own; doubles travel whole.
KERNEL(half_shuffle_kernel, Params, 64) {
    double value = threadIdx.x + 0.5;
    if (threadIdx.x % 32 < 16) {
        value = __shfl_xor_sync(0x0000ffffu, value, 1);
    } else {
        value = __shfl_xor_sync(0xffff0000u, value, 2);
    }
    reinterpret_cast<double*>(p.b)[threadIdx.x] = value;
}

// Per thread ballot, any, all; then the same among even lanes.
KERNEL(vote_kernel, Params, 64) {
    const int predicate = p.a[threadIdx.x] > 0.0f;
    uint32_t* out = reinterpret_cast<uint32_t*>(p.b) + threadIdx.x * 6;
    out[0] = __ballot_sync(kAllLanes, predicate);
    out[1] = static_cast<uint32_t>(__any_sync(kAllLanes, predicate));
    out[2] = static_cast<uint32_t>(__all_sync(kAllLanes, predicate));
    if (threadIdx.x % 2 == 0) {
        out[3] = __ballot_sync(0x55555555u, predicate);
        out[4] = static_cast<uint32_t>(__any_sync(0x55555555u, predicate));
        out[5] = static_cast<uint32_t>(__all_sync(0x55555555u, predicate));
    }
}

// Counters in global memory, shared by all blocks, and one in shared memory.
KERNEL(atomics_kernel, Params, 64) {
    SHARED(uint64_t, count, 1);
    if (threadIdx.x == 0) count[0] = 0;
    __syncthreads();
    atomicAdd(count, uint64_t(threadIdx.x) << 30);
    uint32_t* words = reinterpret_cast<uint32_t*>(p.b);
    const uint32_t id = blockIdx.x * 64 + threadIdx.x;
    atomicAdd(words, id);
    atomicMax(words + 1, id);
    atomicMin(reinterpret_cast<int32_t*>(words) + 2, -static_cast<int32_t>(id));
    atomicCAS(words + 3, 0u, 77u);
    if (id == 5) atomicExch(words + 4, 42u);
    __syncthreads();
    if (threadIdx.x == 0) reinterpret_cast<uint64_t*>(p.b)[8 + blockIdx.x] = count[0];
}

// Thread and block indices along three axes, as one number, to the place of a thread of the whole grid.
KERNEL(index_kernel, Params, 64) {
    const uint32_t block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const uint32_t thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    p.b[block * 64 + thread] = static_cast<float>(block * 64 + thread);
}

// Input per lane: 4 words of A, 2 of B, 4 words of D. Output: 4 words of D. `size` is the element type.
KERNEL(mma_kernel, Params, 32) {
    const uint32_t* input = reinterpret_cast<const uint32_t*>(p.a) + threadIdx.x * 10;
    uint32_t d[4] = {input[6], input[7], input[8], input[9]};
    SimtMma payload{d, input, input + 4, p.size};
    simt_collective(kAllLanes, kMma, &payload, simt_exec_mma, __FILE__, __LINE__);
    for (int i = 0; i < 4; i++) reinterpret_cast<uint32_t*>(p.b)[threadIdx.x * 4 + i] = d[i];
}

// Input: four 8×8 matrices of 16-bit values. Output per lane: four words, then four transposed.
KERNEL(matrix_kernel, Params, 32) {
    SHARED(uint4, rows, 32);
    rows[threadIdx.x] = reinterpret_cast<const uint4*>(p.a)[threadIdx.x];
    __syncwarp();
    uint32_t plain[4], transposed[4];
    load_matrix_x4(plain, &rows[threadIdx.x]);
    load_matrix_x4_transposed(transposed, &rows[threadIdx.x]);
    uint32_t* out = reinterpret_cast<uint32_t*>(p.b) + threadIdx.x * 8;
    for (int i = 0; i < 4; i++) {
        out[i] = plain[i];
        out[4 + i] = transposed[i];
    }
}
