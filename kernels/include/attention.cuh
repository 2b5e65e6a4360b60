// Attention of one block of queries over tiles of 64 keys; what attention_full and attention_paged share.
//
// Scores, weights and the output stay in the registers of the warp that owns the queries, as mma fragments; keys and
// values pass through shared memory, one tile computed while the next is copied. Softmax is online and in base 2: a row
// keeps its highest score so far, the sum of its weights relative to it (f32), and the weighted sum of values (f32).
// Weights are rounded to bf16 before they meet the values, the one rounding between load and store. Tiles are visited
// in order and rows do not mix, so a row's bits depend on its query and its visible tokens alone.
// Source: Dao et al. 2022, Dao 2023; Milakov and Gimelshein 2018 for the online softmax.
#pragma once
#include "bf16.cuh"
#include "pieces.cuh"
#include "ptx.cuh"
#include "reduce.cuh"

constexpr int kTileKeys = 64;
constexpr int kRowTile = 16;

// What the compiler must know of a block. kDim is head_dim padded to a multiple of 32; each warp owns kRowTiles tiles
// of 16 queries; kVectors promises that head_dim divides by 8 and that all rows of q, k, v and out lie on 16-byte
// boundaries.
template <int kDimension, int kWarpCount, int kRowTileCount, bool kVectorRows>
struct AttentionBlock {
    static constexpr int kDim = kDimension, kWarps = kWarpCount, kRowTiles = kRowTileCount;
    static constexpr bool kVectors = kVectorRows;
    static constexpr int kThreads = kWarps * kWarp, kQueries = kWarps * kRowTiles * kRowTile;
    // Elements of one tile of keys or values; a stage is one of each, and the queries begin in the second stage.
    static constexpr int kTile = kTileKeys * kDim, kStage = 2 * kTile;
    static_assert(kDim % 32 == 0 && kQueries * kDim <= kStage);
};

// The queries of a block: `count` rows that exist, `stride` elements apart.
struct Queries {
    const bf16* at;
    size_t stride;
    int count;
};

// The keys and values of a head: tile i is 64 rows from (table ? table[i] : i)·tile elements on.
struct Keys {
    const bf16* k;
    const bf16* v;
    const uint32_t* table;
    size_t k_tile, v_tile;
    uint32_t k_stride, v_stride;
    // How many tokens exist.
    int tokens;
};

__device__ __forceinline__ uint32_t place(const Keys& keys, int tile) {
    return keys.table ? keys.table[tile] : static_cast<uint32_t>(tile);
}

// What a warp knows about its queries so far; `sum` is a lane's share of the row's.
template <class Block>
struct Running {
    float most[Block::kRowTiles][2], sum[Block::kRowTiles][2];
    float out[Block::kRowTiles][Block::kDim / 8][4];
};

template <class Block>
__device__ __forceinline__ void begin(Running<Block>& running) {
#pragma unroll
    for (int t = 0; t < Block::kRowTiles; t++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            running.most[t][half] = -INFINITY;
            running.sum[t][half] = 0.0f;
        }
#pragma unroll
        for (int n = 0; n < Block::kDim / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) running.out[t][n][e] = 0.0f;
    }
}

// The query of the block that elements 2·half and 2·half + 1 of this lane's fragments belong to.
template <class Block>
__device__ __forceinline__ int query_of(int tile, int half) {
    const int thread = static_cast<int>(threadIdx.x);
    return (thread / kWarp * Block::kRowTiles + tile) * kRowTile + half * 8 + thread % kWarp / 4;
}

// Where 16-byte chunk `chunk` of row `row` lies in a tile, in elements. The exclusive or spreads one chunk of eight
// neighbouring rows, which ldmatrix reads at once, over all banks: rows of 64 or 128 begin at the same bank, of rows of
// 32 or 96 every second one.
template <int kDim>
__device__ __forceinline__ int tile_at(int row, int chunk) {
    constexpr int kChunks = kDim / 8;
    const int turn = kChunks % 8 == 0 ? row & 7 : row >> 1 & 3;
    return (row * kChunks + (chunk ^ turn)) * 8;
}

// Starts to copy `count` rows of head_dim into a tile of kRows; zero beyond them and beyond head_dim, since a weight of
// zero would not silence a NaN there. Neighbouring lanes take neighbouring chunks, kAcross of a row.
template <class Block, int kRows>
__device__ __forceinline__ void load_vectors(bf16* tile, const bf16* from, size_t stride, int count, int head_dim) {
    constexpr int kChunks = Block::kDim / 8, kAcross = kChunks % 8 == 0 ? 8 : 4, kDown = Block::kThreads / kAcross;
    static_assert(kRows % kDown == 0 && kChunks % kAcross == 0);
    const int thread = recomputed(static_cast<int>(threadIdx.x));
    const bf16* source = from + thread / kAcross * stride;
#pragma unroll
    for (int down = 0; down < kRows; down += kDown, source += kDown * stride) {
        const int row = thread / kAcross + down;
#pragma unroll
        for (int across = 0; across < kChunks; across += kAcross) {
            const int chunk = thread % kAcross + across;
            const bool exists = row < count && chunk * 8 < head_dim;
            copy_async16(tile + tile_at<Block::kDim>(row, chunk), exists ? source + chunk * 8 : from, exists ? 16 : 0);
        }
    }
}

// As load_vectors, element by element, for rows anywhere.
template <class Block, int kRows>
__device__ __forceinline__ void load_rows(bf16* tile, const bf16* from, size_t stride, int count, int head_dim) {
    if constexpr (Block::kVectors) {
        load_vectors<Block, kRows>(tile, from, stride, count, head_dim);
    } else {
#pragma unroll 4
        for (int i = recomputed(static_cast<int>(threadIdx.x)); i < kRows * Block::kDim; i += Block::kThreads) {
            const int row = i / Block::kDim, column = i % Block::kDim;
            const bool exists = row < count && column < head_dim;
            bf16* to = tile + tile_at<Block::kDim>(row, column / 8) + column % 8;
            *to = exists ? from[row * stride + column] : to_bf16(0.0f);
        }
    }
}

// Starts to copy tile `tile` of keys and values, which lies at `at`.
template <class Block>
__device__ __forceinline__ void load_tile(bf16* stage, const Keys& keys, int tile, uint32_t at, int head_dim) {
    const int count = min(keys.tokens - tile * kTileKeys, kTileKeys);
    load_rows<Block, kTileKeys>(stage, keys.k + at * keys.k_tile, keys.k_stride, count, head_dim);
    load_rows<Block, kTileKeys>(stage + Block::kTile, keys.v + at * keys.v_tile, keys.v_stride, count, head_dim);
}

// scores = q · kᵀ for the warp's queries and a tile of keys.
template <class Block>
__device__ __forceinline__ void score(float (&scores)[Block::kRowTiles][kTileKeys / 8][4],
                                      const uint32_t (&q)[Block::kRowTiles][Block::kDim / 16][4], const bf16* keys) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int t = 0; t < Block::kRowTiles; t++)
#pragma unroll
        for (int n = 0; n < kTileKeys / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) scores[t][n][e] = 0.0f;
#pragma unroll
    for (int step = 0; step < Block::kDim / 16; step++) {
#pragma unroll
        for (int pair = 0; pair < kTileKeys / 16; pair++) {
            const int row = pair * 16 + lane / 16 * 8 + lane % 8, chunk = step * 2 + lane / 8 % 2;
            uint32_t b[4];
            load_matrix_x4(b, keys + tile_at<Block::kDim>(row, chunk));
#pragma unroll
            for (int t = 0; t < Block::kRowTiles; t++) {
                mma_bf16(scores[t][2 * pair], q[t][step], b[0], b[1]);
                mma_bf16(scores[t][2 * pair + 1], q[t][step], b[2], b[3]);
            }
        }
    }
}

// Brings scores to base 2, and to -inf where the key lies after the last one that the row sees. They are scaled before
// the maximum is subtracted, not with it in one fma: that would leave the maximum's rounding error, which overflows
// the exponential once scores pass 2^31, and it would need a positive scale.
template <class Block>
__device__ __forceinline__ void scale_and_mask(float (&scores)[Block::kRowTiles][kTileKeys / 8][4], float scale_log2,
                                               int first_key, const int (&last)[Block::kRowTiles][2]) {
    int least = last[0][0];
#pragma unroll
    for (int t = 0; t < Block::kRowTiles; t++) {
#pragma unroll
        for (int half = 0; half < 2; half++) least = min(least, last[t][half]);
#pragma unroll
        for (int n = 0; n < kTileKeys / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) scores[t][n][e] *= scale_log2;
    }
    if (first_key + kTileKeys - 1 <= least) return;
    const int key = first_key + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int t = 0; t < Block::kRowTiles; t++)
#pragma unroll
        for (int n = 0; n < kTileKeys / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (key + n * 8 + e % 2 > last[t][e / 2]) scores[t][n][e] = -INFINITY;
}

// Turns scores into weights relative to the row's highest score, and brings what the row has to that same scale. Every
// row sees key 0, so its highest score is finite from the first tile on.
template <class Block>
__device__ __forceinline__ void weigh(Running<Block>& running, float (&scores)[Block::kRowTiles][kTileKeys / 8][4]) {
#pragma unroll
    for (int t = 0; t < Block::kRowTiles; t++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = running.most[t][half];
#pragma unroll
            for (int n = 0; n < kTileKeys / 8; n++)
                most = fmaxf(most, fmaxf(scores[t][n][half * 2], scores[t][n][half * 2 + 1]));
            most = quad_max(most);
            const float shrink = exp2_fast(running.most[t][half] - most);
            running.most[t][half] = most;
            float sum = running.sum[t][half] * shrink;
#pragma unroll
            for (int n = 0; n < kTileKeys / 8; n++)
#pragma unroll
                for (int e = half * 2; e < half * 2 + 2; e++) {
                    scores[t][n][e] = exp2_fast(scores[t][n][e] - most);
                    sum += scores[t][n][e];
                }
            running.sum[t][half] = sum;
#pragma unroll
            for (int n = 0; n < Block::kDim / 8; n++)
#pragma unroll
                for (int e = half * 2; e < half * 2 + 2; e++) running.out[t][n][e] *= shrink;
        }
}

// out += weights · v. A score fragment, rounded and packed, is the A operand of the next product as it stands.
template <class Block>
__device__ __forceinline__ void accumulate(Running<Block>& running,
                                           const float (&weights)[Block::kRowTiles][kTileKeys / 8][4],
                                           const bf16* values) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int step = 0; step < kTileKeys / 16; step++) {
        uint32_t a[Block::kRowTiles][4];
#pragma unroll
        for (int t = 0; t < Block::kRowTiles; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float(&from)[4] = weights[t][2 * step + i / 2];
                a[t][i] = pack_bf16(from[i % 2 * 2], from[i % 2 * 2 + 1]);
            }
#pragma unroll
        for (int pair = 0; pair < Block::kDim / 16; pair++) {
            uint32_t b[4];
            load_matrix_x4_transposed(b, values + tile_at<Block::kDim>(step * 16 + lane % 16, pair * 2 + lane / 16));
#pragma unroll
            for (int t = 0; t < Block::kRowTiles; t++) {
                mma_bf16(running.out[t][2 * pair], a[t], b[0], b[1]);
                mma_bf16(running.out[t][2 * pair + 1], a[t], b[2], b[3]);
            }
        }
    }
}

// Takes the queries through tiles first..end of the keys; the lane's query in (tile, half) sees keys up to
// last[tile][half]. `shared` holds two stages, or one and the queries where there is one tile.
template <class Block>
__device__ __forceinline__ void attend(Running<Block>& running, const Queries& queries, const Keys& keys,
                                       int first, int end, const int (&last)[Block::kRowTiles][2], float scale_log2,
                                       int head_dim, bf16* shared) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    begin(running);
    bf16* const staged = shared + Block::kStage;
    load_rows<Block, Block::kQueries>(staged, queries.at, queries.stride, queries.count, head_dim);
    load_tile<Block>(shared, keys, first, place(keys, first), head_dim);
    copy_async_commit();
    // Looked up a tile early: the table lies in memory, and a copy that waited for it would start late.
    uint32_t ahead = place(keys, first + 1 < end ? first + 1 : first);
    copy_async_wait<0>();
    __syncthreads();  // every thread's part of the queries has landed
    uint32_t q[Block::kRowTiles][Block::kDim / 16][4];
#pragma unroll
    for (int t = 0; t < Block::kRowTiles; t++)
#pragma unroll
        for (int step = 0; step < Block::kDim / 16; step++) {
            const int row = (warp * Block::kRowTiles + t) * kRowTile + lane % 16;
            load_matrix_x4(q[t][step], staged + tile_at<Block::kDim>(row, step * 2 + lane / 16));
        }
    // A warp without queries only helps to copy.
    const bool busy = warp * Block::kRowTiles * kRowTile < queries.count;
    for (int tile = first; tile < end; tile++) {
        copy_async_wait<0>();
        __syncthreads();  // all of this tile has landed, and all warps have left the stage that the next tile fills
        const bf16* stage = shared + (tile - first) % 2 * Block::kStage;
        if (tile + 1 < end) {
            load_tile<Block>(shared + (tile + 1 - first) % 2 * Block::kStage, keys, tile + 1, ahead, head_dim);
            copy_async_commit();
            ahead = place(keys, tile + 2 < end ? tile + 2 : tile + 1);
        }
        if (!busy) continue;
        float scores[Block::kRowTiles][kTileKeys / 8][4];
        score<Block>(scores, q, stage);
        scale_and_mask<Block>(scores, scale_log2, tile * kTileKeys, last);
        weigh(running, scores);
        accumulate(running, scores, stage + Block::kTile);
    }
#pragma unroll
    for (int t = 0; t < Block::kRowTiles; t++)
#pragma unroll
        for (int half = 0; half < 2; half++) running.sum[t][half] = quad_sum(running.sum[t][half]);
}

// Divides by the sums and writes the queries that exist; query r goes to out + r·stride.
template <class Block>
__device__ __forceinline__ void store_queries(const Running<Block>& running, bf16* out, size_t stride, int count,
                                              int head_dim) {
#pragma unroll
    for (int t = 0; t < Block::kRowTiles; t++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int query = query_of<Block>(t, half);
            const bool exists = query < count;
            const float share = 1.0f / running.sum[t][half];
            bf16* to = out + query * stride;
            auto pair = [&](int n) {
                const float* values = running.out[t][n] + half * 2;
                return pack_bf16(values[0] * share, values[1] * share);
            };
#pragma unroll
            for (int n = 0; n < Block::kDim / 8; n += 2) {
                const uint32_t pairs[2] = {pair(n), pair(n + 1)};
                if constexpr (Block::kVectors) {
                    const int column = n * 8 + traded_column();
                    const uint2 four = trade(pairs[0], pairs[1]);
                    if (exists && column < head_dim) *reinterpret_cast<uint2*>(to + column) = four;
                } else {
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const int column = (n + i / 2) * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
                        const float2 values = unpack_bf16(pairs[i / 2]);
                        if (exists && column < head_dim) to[column] = to_bf16(i % 2 ? values.y : values.x);
                    }
                }
            }
        }
}
