// Requests to memory of known cost, two warps each.
#include "planted.cuh"

// Four neighbouring bytes a lane, `size` elements apart from lane to lane.
KERNEL(meter_stride_kernel, Params, 64) { p.b[threadIdx.x] = p.a[threadIdx.x * p.size]; }

// Sixteen bytes a lane, twice from the same place.
KERNEL(meter_wide_kernel, Params, 64) {
    float4 sum = {0, 0, 0, 0};
    for (int i = 0; i < 2; i++) {
        float4 four = reinterpret_cast<const float4*>(p.a)[threadIdx.x];
        sum = {sum.x + four.x, sum.y + four.y, sum.z + four.z, sum.w + four.w};
        __syncthreads();
    }
    reinterpret_cast<float4*>(p.b)[threadIdx.x] = sum;
}

// Words of shared memory, `size` apart from lane to lane.
KERNEL(meter_bank_kernel, Params, 64) {
    SHARED(float, tile, 2048);
    for (uint32_t i = threadIdx.x; i < 2048; i += 64) tile[i] = 1.0f;
    __syncthreads();
    p.b[threadIdx.x] = tile[threadIdx.x * p.size];
}

// Rows of 8 x 8 matrices, `size` bytes apart, by copies that bypass the threads.
KERNEL(meter_matrix_kernel, Params, 32) {
    DYNAMIC_SHARED(tile);
    unsigned char* row = tile + threadIdx.x * p.size;
    copy_async16(row, p.a + 4 * threadIdx.x, 16);
    copy_async_commit();
    copy_async_wait<0>();
    __syncwarp();
    uint32_t out[4];
    load_matrix_x4(out, row);
    p.b[threadIdx.x] = __uint_as_float(out[0] + out[1] + out[2] + out[3]);
}
