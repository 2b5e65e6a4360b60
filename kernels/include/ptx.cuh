// The only file with PTX. Every primitive has a scalar twin for the emulator, and the tests of `primitives` compare the
// two, on a GPU where `tools/gpu-check` runs them.
#pragma once
#include "kernel.cuh"

// 16 bytes from global to shared memory, asynchronously and past the first-level cache; the last `16 - src_bytes` are
// zeroed, and nothing is read where src_bytes is 0. Both addresses lie on 16-byte boundaries.
__device__ __forceinline__ void copy_async16(void* dst, const void* src, uint32_t src_bytes HERE) {
#ifdef __CUDACC__
    uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(dst));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared), "l"(src), "r"(src_bytes) : "memory");
#else
    simt_copy_issue(dst, src, 16, src_bytes, file, line);
#endif
}

// Closes the group of copies issued since the last call.
__device__ __forceinline__ void copy_async_commit() {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;\n" ::: "memory");
#else
    simt_copy_commit();
#endif
}

// Waits until at most `kKeep` of this thread's groups are under way. A barrier shows the bytes to other threads.
template <int kKeep>
__device__ __forceinline__ void copy_async_wait(HERE_ONLY) {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;\n" ::"n"(kKeep) : "memory");
#else
    simt_copy_wait(kKeep, file, line);
#endif
}

// 16 bytes that nobody reads again soon, on a 16-byte boundary: past the first-level cache, which keeps what is read
// again, and with the rest of their 128 bytes into the second-level cache.
__device__ __forceinline__ uint4 load_streamed16(const void* from) {
#ifdef __CUDACC__
    uint4 out;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
                 : "l"(from));
    return out;
#else
    return *static_cast<const uint4*>(from);
#endif
}

// Four 8×8 matrices of 16-bit elements; lanes 8i..8i+8 give the row addresses of matrix i, each 16 bytes, aligned.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&out)[4], const void* row HERE) {
#ifdef __CUDACC__
    uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared)
                 : "memory");
#else
    SimtLdMatrix payload{row, out, 4, 0, simt_self->linear, file, line};
    simt_collective(kAllLanes, kLdMatrix, &payload, simt_exec_ldmatrix, file, line);
#endif
}

// As load_matrix_x4, each matrix transposed.
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&out)[4], const void* row HERE) {
#ifdef __CUDACC__
    uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared)
                 : "memory");
#else
    SimtLdMatrix payload{row, out, 4, 1, simt_self->linear, file, line};
    simt_collective(kAllLanes, kLdMatrix, &payload, simt_exec_ldmatrix, file, line);
#endif
}

// d[16×8, f32] += a[16×16, bf16, row-major] · b[16×8, bf16, column-major], on the fragments of one warp.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1 HERE) {
#ifdef __CUDACC__
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    const uint32_t b[2] = {b0, b1};
    SimtMma payload{d, a, b, 0};
    simt_collective(kAllLanes, kMma, &payload, simt_exec_mma, file, line);
#endif
}

// 2^x, to 2 ulps on the GPU; -inf gives 0.
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef __CUDACC__
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
#else
    return exp2f(x);
#endif
}

// `value`, as something the compiler cannot see through: what is computed from it inside a loop is computed there each
// time, and not once before the loop and then held in registers that the loop needs.
__device__ __forceinline__ int recomputed(int value) {
#ifdef __CUDACC__
    asm volatile("" : "+r"(value));
#endif
    return value;
}
