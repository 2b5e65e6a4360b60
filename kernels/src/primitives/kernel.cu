// primitives: every function of ptx.cuh once, and the block's reductions, on what the host lays out and compares.
//
// Tensors   input, output: bytes, as each kernel says; 16-byte boundaries.
// Numerics  exact but for exp2_fast, which may be 2 ulps off on a GPU.
// Launch    one block of one warp, or of two where warps meet.
// Traffic   none to speak of.
// Source    PTX ISA 8.8: cp.async, ldmatrix, mma.m16n8k16, ld.global, ex2.
#include "ptx.cuh"
#include "reduce.cuh"

constexpr int kThreads = 32;

struct PrimitiveParams {
    const unsigned char* input;
    unsigned char* output;
    uint32_t count, reserved;
};
static_assert(sizeof(PrimitiveParams) == 24 && offsetof(PrimitiveParams, reserved) == 20);

// 64 copies of 16 bytes in two groups. Lane l fills the last l % 17 bytes of its copies with zeros. The first group is
// read after a wait that leaves the second one under way.
KERNEL(primitive_copy_async_kernel, PrimitiveParams, kThreads) {
    SHARED(uint4, staged, 64);
    const uint4* input = reinterpret_cast<const uint4*>(p.input);
    uint4* output = reinterpret_cast<uint4*>(p.output);
    const uint32_t lane = threadIdx.x, bytes = 16 - lane % 17;
    copy_async16(&staged[lane], &input[lane], bytes);
    copy_async_commit();
    copy_async16(&staged[32 + lane], &input[32 + lane], bytes);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();  // every lane's first copy has landed
    output[lane] = staged[31 - lane];
    copy_async_wait<0>();
    __syncthreads();  // and its second
    output[32 + lane] = staged[63 - lane];
}

// Input: four 8×8 matrices of 16-bit values, matrix by matrix. Output: per lane four words, then four transposed.
KERNEL(primitive_load_matrix_kernel, PrimitiveParams, kThreads) {
    SHARED(uint4, rows, 32);
    rows[threadIdx.x] = reinterpret_cast<const uint4*>(p.input)[threadIdx.x];
    __syncthreads();  // all rows are there
    uint32_t plain[4], transposed[4];
    load_matrix_x4(plain, &rows[threadIdx.x]);
    load_matrix_x4_transposed(transposed, &rows[threadIdx.x]);
    uint32_t* output = reinterpret_cast<uint32_t*>(p.output) + threadIdx.x * 8;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        output[i] = plain[i];
        output[4 + i] = transposed[i];
    }
}

// Input per lane: 4 words of A, 2 of B, 4 f32 of D. Output: 4 f32 of D.
KERNEL(primitive_mma_bf16_kernel, PrimitiveParams, kThreads) {
    const uint32_t* input = reinterpret_cast<const uint32_t*>(p.input) + threadIdx.x * 10;
    const uint32_t a[4] = {input[0], input[1], input[2], input[3]};
    float d[4];
#pragma unroll
    for (int i = 0; i < 4; i++) d[i] = __uint_as_float(input[6 + i]);
    mma_bf16(d, a, input[4], input[5]);
    float* output = reinterpret_cast<float*>(p.output) + threadIdx.x * 4;
#pragma unroll
    for (int i = 0; i < 4; i++) output[i] = d[i];
}

// output[i] = 2^input[i], f32.
KERNEL(primitive_exp2_kernel, PrimitiveParams, kThreads) {
    for (uint32_t i = threadIdx.x; i < p.count; i += kThreads)
        reinterpret_cast<float*>(p.output)[i] = exp2_fast(reinterpret_cast<const float*>(p.input)[i]);
}

// Output: the input's 16 bytes of each lane, from the last lane to the first; the lane's number goes through
// recomputed.
KERNEL(primitive_load_streamed_kernel, PrimitiveParams, kThreads) {
    const int lane = recomputed(static_cast<int>(threadIdx.x));
    reinterpret_cast<uint4*>(p.output)[lane] = load_streamed16(reinterpret_cast<const uint4*>(p.input) + (31 - lane));
}

constexpr int kPairThreads = 64;

// Input: 64 f32. Output: per thread the sum of all, the sum of their squares, the highest and the negated lowest: each
// reduction twice, since the second writes what the first one's threads read.
KERNEL(primitive_reduce_kernel, PrimitiveParams, kPairThreads) {
    const float value = reinterpret_cast<const float*>(p.input)[threadIdx.x];
    float* output = reinterpret_cast<float*>(p.output) + threadIdx.x * 4;
    output[0] = block_sum<kPairThreads>(value);
    output[1] = block_sum<kPairThreads>(value * value);
    output[2] = block_max<kPairThreads>(value);
    output[3] = block_max<kPairThreads>(-value);
}
