// Sums over tokens by one block of kSumThreads: each warp takes every eighth token, eight columns per lane, and then
// each thread adds up the warps' sums of one column, in order.
#pragma once
#include "bf16.cuh"

constexpr int kSumThreads = 256;
constexpr uint32_t kSumWarps = kSumThreads / kWarp;
// Columns of one block.
constexpr uint32_t kSumColumns = kSumThreads;

// Adds this warp's part of `tokens` rows to this lane's eight columns from `column`; row(token) gives a row's address.
template <class Row>
__device__ __forceinline__ void add_tokens(float (&sums)[8], uint32_t tokens, uint32_t column, uint32_t dim,
                                           uint32_t vectors, Row row) {
    auto add = [&](uint32_t wide) {
#pragma unroll 4
        for (uint32_t token = threadIdx.x / kWarp; token < tokens; token += kSumWarps) {
            float values[8];
            load_row8(values, row(token), column, dim, wide);
#pragma unroll
            for (int j = 0; j < 8; j++) sums[j] += values[j];
        }
    };
    if (column >= dim) return;
    // Two loops, so that the wide one has no branch and its loads are under way together.
    if (vectors) {
        add(1);
    } else {
        add(0);
    }
}

// Where a column's sum lies among its warp's: four words are left free after every 32, so that eight lanes that store
// four of their eight columns each meet all banks.
__device__ __forceinline__ uint32_t padded_column(uint32_t column) { return column + column / 32 * 4; }

// The sum of all warps' sums of the column `threadIdx.x` of this block.
__device__ __forceinline__ float column_total(const float (&sums)[8]) {
    constexpr uint32_t kRow = kSumColumns + kSumColumns / 32 * 4;
    SHARED(float, partial, kSumWarps * kRow);
    float* own = partial + threadIdx.x / kWarp * kRow + padded_column(threadIdx.x % kWarp * 8);
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
        *reinterpret_cast<float4*>(own + j) = make_float4(sums[j], sums[j + 1], sums[j + 2], sums[j + 3]);
    }
    __syncthreads();  // every warp's sums are written
    float total = 0.0f;
#pragma unroll
    for (uint32_t warp = 0; warp < kSumWarps; warp++) total += partial[warp * kRow + padded_column(threadIdx.x)];
    return total;
}

// The first of this lane's eight columns in column tile `blockIdx.y`.
__device__ __forceinline__ uint32_t first_column() {
    return blockIdx.y * kSumColumns + threadIdx.x % kWarp * 8;
}
