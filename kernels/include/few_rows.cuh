// Up to sixteen rows of x against rows of W that are read once and never again: what decoding spends its time on.
//
// A block takes two tiles of eight weight rows. Its warps take turns along the inner dimension, kTurn elements at a
// time; the sums meet in shared memory. All of it runs on the tensor cores, one row of x like sixteen: a row's bits do
// not depend on the others, and a multiplication costs a tenth of the time that its weights take to arrive.
//
// A lane reads 16 bytes of a weight row, k..k+8, where a fragment wants k..k+2 and k+8..k+10. The sum does not mind in
// which order k comes, so the lane hands in the pairs as they lie, and the same pairs of x: no shuffle, no detour
// through shared memory.
//
// In flight: each lane has a turn's 8 loads under way while it multiplies the last turn's: 4 KiB a warp, 64 KiB for two
// blocks on a multiprocessor. 2.04 TB/s at 0.8 µs want 15 KiB on each of 108, 4.8 TB/s want 29 KiB on each of 132.
#pragma once
#include "bf16.cuh"
#include "ptx.cuh"

constexpr uint32_t kFewThreads = 256;
constexpr uint32_t kFewWarps = kFewThreads / kWarp;
constexpr uint32_t kDecodeRowsMax = 16;
// Blocks on a multiprocessor.
constexpr int kFewBlocks = 2;
// Elements of a turn: four pieces of 32, eight for each lane of four.
constexpr uint32_t kPieces = 4;
constexpr uint32_t kTurn = kPieces * 32;

// x and, for kernels that begin with an RMS norm, its weight.
struct FewInput {
    const bf16* x;
    const bf16* norm;
    const bf16* weight;
    uint32_t rows, inner, x_stride, weight_stride;
    float eps;
};

// Weight rows first..first + first_count and second..second + second_count, at most eight each.
struct FewColumns {
    uint32_t first, first_count, second, second_count;
};

// The two sums of one row and one column of the tiles; a thread has one, or none.
struct FewSums {
    bool exists;
    uint32_t row, column;
    float first, second;
};

// Eight elements, of which `exist` are there, the others zeros; weights pass the first-level cache.
template <bool kVectors, bool kStreamed>
__device__ __forceinline__ uint4 load_eight(const bf16* from, int exist) {
    if constexpr (kVectors) {
        if (exist <= 0) return make_uint4(0, 0, 0, 0);
        return kStreamed ? load_streamed16(from) : *reinterpret_cast<const uint4*>(from);
    } else {
        return gather_bf16x8(from, exist);
    }
}

// Adds the squares of eight elements and multiplies them by the norm's weight, rounded once.
__device__ __forceinline__ uint4 weighted(uint4 x, uint4 norm, float& squares) {
    uint32_t values[4] = {x.x, x.y, x.z, x.w};
    const uint32_t factors[4] = {norm.x, norm.y, norm.z, norm.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 value = unpack_bf16(values[i]), factor = unpack_bf16(factors[i]);
        squares += value.x * value.x + value.y * value.y;
        values[i] = pack_bf16(value.x * factor.x, value.y * factor.y);
    }
    return make_uint4(values[0], values[1], values[2], values[3]);
}

// One warp's share of the sums (as mma_bf16 lays them out) and of the squares of rows lane/4 and lane/4 + 8.
template <bool kVectors, bool kNorm>
__device__ __forceinline__ void few_warp(const FewInput& in, const FewColumns& columns, float (&sums)[2][4],
                                         float (&squares)[2]) {
    uint32_t lane = threadIdx.x % kWarp, row = lane / 4, k = threadIdx.x / kWarp * kTurn + lane % 4 * 8;
    const bf16* weights[2] = {in.weight + static_cast<size_t>(columns.first + row) * in.weight_stride,
                              in.weight + static_cast<size_t>(columns.second + row) * in.weight_stride};
    const bool there[2] = {row < columns.first_count, row < columns.second_count};
    const bf16* low = in.x + static_cast<size_t>(row) * in.x_stride;
    const bf16* high = low + static_cast<size_t>(8) * in.x_stride;
    auto load = [&](uint4(&to)[kPieces][2], uint32_t k) {
#pragma unroll
        for (uint32_t i = 0; i < kPieces; i++) {
            int exist = static_cast<int>(in.inner - k) - static_cast<int>(i * 32);
#pragma unroll
            for (int j = 0; j < 2; j++)
                to[i][j] = load_eight<kVectors, true>(weights[j] + k + i * 32, there[j] ? exist : 0);
        }
    };
    uint4 now[kPieces][2], next[kPieces][2];
    load(now, k);
    // All lanes of a warp leave the loop together: it counts turns, not elements.
    for (uint32_t turn = threadIdx.x / kWarp * kTurn; turn < in.inner; turn += kFewWarps * kTurn) {
        load(next, k + kFewWarps * kTurn);
#pragma unroll
        for (uint32_t i = 0; i < kPieces; i++) {
            int exist = static_cast<int>(in.inner - k) - static_cast<int>(i * 32);
            uint4 a = load_eight<kVectors, false>(low + k + i * 32, row < in.rows ? exist : 0);
            uint4 b = make_uint4(0, 0, 0, 0), norm = b;
            if constexpr (kNorm) {
                norm = load_eight<kVectors, false>(in.norm + k + i * 32, exist);
                a = weighted(a, norm, squares[0]);
            }
            if (in.rows > 8) {
                b = load_eight<kVectors, false>(high + k + i * 32, row + 8 < in.rows ? exist : 0);
                if constexpr (kNorm) b = weighted(b, norm, squares[1]);
            }
#pragma unroll
            for (int j = 0; j < 2; j++) {
                mma_bf16(sums[j], {a.x, b.x, a.y, b.y}, now[i][j].x, now[i][j].y);
                mma_bf16(sums[j], {a.z, b.z, a.w, b.w}, now[i][j].z, now[i][j].w);
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < kPieces; i++) {
            now[i][0] = next[i][0];
            now[i][1] = next[i][1];
        }
        k += kFewWarps * kTurn;
    }
}

// The sums of a block of kFewThreads, for kNorm those of x / √(mean(x²) + eps) · norm: the root is one number a row, so
// it is taken at the end, and the squares are summed on the way.
template <bool kVectors, bool kNorm>
__device__ __forceinline__ FewSums few_rows(const FewInput& in, const FewColumns& columns) {
    constexpr uint32_t kSums = kDecodeRowsMax * 8;
    SHARED(float, partial, kFewWarps * 2 * kSums);
    SHARED(float, partial_squares, kFewWarps * kDecodeRowsMax);
    float sums[2][4] = {}, squares[2] = {};
    few_warp<kVectors, kNorm>(in, columns, sums, squares);
    uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, row = lane / 4;
#pragma unroll
    for (uint32_t j = 0; j < 2; j++) {
        float* to = partial + (warp * 2 + j) * kSums + row * 8 + lane % 4 * 2;
        *reinterpret_cast<float2*>(to) = make_float2(sums[j][0], sums[j][1]);
        *reinterpret_cast<float2*>(to + kSums / 2) = make_float2(sums[j][2], sums[j][3]);
    }
    if constexpr (kNorm) {
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) {
            float sum = squares[half];
            sum += __shfl_xor_sync(kAllLanes, sum, 1);
            sum += __shfl_xor_sync(kAllLanes, sum, 2);
            if (lane % 4 == 0) partial_squares[warp * kDecodeRowsMax + row + half * 8] = sum;
        }
    }
    __syncthreads();  // every warp's share is written
    FewSums out{false, threadIdx.x / 8, threadIdx.x % 8, 0.0f, 0.0f};
    if (threadIdx.x >= kSums) return out;
    out.exists = out.row < in.rows;
    float square = 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < kFewWarps; i++) {
        out.first += partial[i * 2 * kSums + threadIdx.x];
        out.second += partial[(i * 2 + 1) * kSums + threadIdx.x];
        if constexpr (kNorm) square += partial_squares[i * kDecodeRowsMax + out.row];
    }
    if constexpr (kNorm) {
        float scale = rsqrtf(square / static_cast<float>(in.inner) + in.eps);
        out.first *= scale;
        out.second *= scale;
    }
    return out;
}
