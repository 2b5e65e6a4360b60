// Asynchronous copies that are used too early or too late. 64 threads.
#include "planted.cuh"

// Reads its own copy before waiting for it.
KERNEL(copy_read_kernel, Params, 64) {
    SHARED(float, tile, 256);  // @tile
    copy_async16(tile + threadIdx.x * 4, p.a + threadIdx.x * 4, 16);  // @issue
    copy_async_commit();
    if (p.fixed) copy_async_wait<0>();
    p.b[threadIdx.x] = tile[threadIdx.x * 4];  // @early_read
    copy_async_wait<0>();
}

// Writes where a copy will land.
KERNEL(copy_write_kernel, Params, 64) {
    SHARED(float, tile, 256);  // @write_tile
    copy_async16(tile + threadIdx.x * 4, p.a + threadIdx.x * 4, 16);  // @write_issue
    copy_async_commit();
    if (p.fixed) copy_async_wait<0>();
    tile[threadIdx.x * 4] = 1.0f;  // @early_write
    copy_async_wait<0>();
    p.b[threadIdx.x] = tile[threadIdx.x * 4 + 1];
}

// Waits for its own copies, but not for those of others.
KERNEL(copy_barrier_kernel, Params, 64) {
    SHARED(float, tile, 256);  // @barrier_tile
    copy_async16(tile + threadIdx.x * 4, p.a + threadIdx.x * 4, 16);  // @others
    copy_async_commit();
    copy_async_wait<0>();
    if (p.fixed) __syncthreads();
    p.b[threadIdx.x] = tile[255 - threadIdx.x * 4];  // @no_barrier
}

// Copies over what another warp still reads.
KERNEL(copy_over_kernel, Params, 64) {
    SHARED(float, tile, 256);  // @over_tile
    for (uint32_t i = threadIdx.x; i < 256; i += 64) tile[i] = 1.0f;
    __syncthreads();
    p.b[threadIdx.x] = tile[255 - threadIdx.x * 4];  // @still_read
    if (p.fixed) __syncthreads();
    copy_async16(tile + threadIdx.x * 4, p.a + threadIdx.x * 4, 16);  // @over
    copy_async_commit();
    copy_async_wait<0>();
}

// Overwrites the source of a copy in flight, after a barrier that does not wait for it.
KERNEL(copy_source_kernel, Params, 64) {
    SHARED(float, tile, 256);
    copy_async16(tile + threadIdx.x * 4, p.a + threadIdx.x * 4, 16);  // @source
    copy_async_commit();
    if (p.fixed) copy_async_wait<0>();
    __syncthreads();
    p.a[(threadIdx.x ^ 32) * 4] = 9.0f;  // @source_write
    copy_async_wait<0>();
    p.b[threadIdx.x] = tile[threadIdx.x * 4];
}

// Three stages, two groups in flight; with one group too many the newest is read too early.
KERNEL(copy_groups_kernel, Params, 64) {
    SHARED(float, tile, 3 * 256);  // @group_tile
    float sum = 0.0f;
    for (uint32_t step = 0; step < 2; step++) {
        copy_async16(tile + step * 256 + threadIdx.x * 4, p.a + step * 256 + threadIdx.x * 4, 16);  // @group
        copy_async_commit();
    }
    for (uint32_t step = 0; step < 4; step++) {
        if (p.fixed) copy_async_wait<1>();
        else copy_async_wait<2>();
        sum += tile[step % 3 * 256 + threadIdx.x * 4];  // @group_read
        uint32_t next = step + 2;
        if (next < 4) copy_async16(tile + next % 3 * 256 + threadIdx.x * 4, p.a + next * 256 + threadIdx.x * 4, 16);
        copy_async_commit();
    }
    p.b[threadIdx.x] = sum;
}

// The last `size` bytes of the block's copies read nothing and give zeros.
KERNEL(copy_zero_kernel, Params, 64) {
    SHARED(float, tile, 256);
    uint32_t at = threadIdx.x * 16, bytes = at >= p.size ? 0 : p.size - at < 16 ? p.size - at : 16;
    copy_async16(tile + threadIdx.x * 4, bytes ? p.a + threadIdx.x * 4 : p.a, bytes);
    copy_async_commit();
    copy_async_wait<0>();
    for (int i = 0; i < 4; i++) p.b[threadIdx.x * 4 + i] = tile[threadIdx.x * 4 + i];
}
