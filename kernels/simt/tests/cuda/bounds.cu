// Kernels that touch what is not theirs. One warp each; the marked lines are named in the tests.
#include "planted.cuh"

// `a` holds 31 floats.
KERNEL(overrun_kernel, Params, 32) {
    if (threadIdx.x < 31 || !p.fixed) p.a[threadIdx.x] = 1.0f;  // @write_past
}

// `a` lies between other memory.
KERNEL(underrun_kernel, Params, 32) {
    uint32_t i = p.fixed ? threadIdx.x : threadIdx.x - 2;
    p.b[threadIdx.x] = p.a[static_cast<int32_t>(i)];  // @read_before
}

// `a` holds 12 bytes, of which a double at 8 takes the last four and four more.
KERNEL(straddle_kernel, Params, 32) {
    const double* pairs = reinterpret_cast<const double*>(p.a);
    p.b[threadIdx.x] = static_cast<float>(pairs[p.fixed ? 0 : 1]);  // @straddle
}

// `a` is freed before the launch, or null.
KERNEL(gone_kernel, Params, 32) {
    p.b[threadIdx.x] = p.a[threadIdx.x];  // @gone
}

KERNEL(atomic_past_kernel, Params, 32) {
    atomicAdd(reinterpret_cast<uint32_t*>(p.a) + (p.fixed ? 0 : 1000), 1u);  // @atomic_past
}

KERNEL(misaligned_kernel, Params, 32) {
    const float* from = p.a + (p.fixed ? 2 : 1);
    p.b[threadIdx.x] = static_cast<float>(*reinterpret_cast<const double*>(from));  // @misaligned
}

KERNEL(shared_overrun_kernel, Params, 32) {
    SHARED(float, first, 32);  // @first
    SHARED(float, second, 32);
    first[threadIdx.x] = second[threadIdx.x] = 1.0f;
    __syncwarp();
    p.b[threadIdx.x] = first[(threadIdx.x + 1) % (p.fixed ? 32 : 33)] + second[threadIdx.x];  // @shared_past
}

// The launch asks for 64 bytes.
KERNEL(dynamic_overrun_kernel, Params, 32) {
    DYNAMIC_SHARED(bytes);
    float* floats = reinterpret_cast<float*>(bytes);
    if (threadIdx.x < 16 || !p.fixed) floats[threadIdx.x] = 1.0f;  // @dynamic_past
}

// `a` holds 500 floats: the last chunk of four is not its own.
KERNEL(copy_past_kernel, Params, 32) {
    SHARED(float, tile, 128);
    uint32_t i = (threadIdx.x + 94) * 4;
    uint32_t bytes = i + 4 <= 500 || !p.fixed ? 16 : 0;
    copy_async16(tile + threadIdx.x * 4, bytes ? p.a + i : p.a, bytes);  // @copy_past
    copy_async_commit();
    copy_async_wait<0>();
    p.b[threadIdx.x] = tile[threadIdx.x * 4];
}

// The last lane's row is in the array only if it has 32 rows.
KERNEL(matrix_past_kernel, Params, 32) {
    SHARED(bf16, rows, 31 * 8);  // @rows
    for (uint32_t i = threadIdx.x; i < 31 * 8; i += 32) rows[i] = bf16{static_cast<uint16_t>(i)};
    __syncwarp();
    uint32_t out[4];
    load_matrix_x4(out, rows + (p.fixed && threadIdx.x == 31 ? 0 : threadIdx.x) * 8);  // @matrix_past
    p.b[threadIdx.x] = static_cast<float>(out[0]);
}
