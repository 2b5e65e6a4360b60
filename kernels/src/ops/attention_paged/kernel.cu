// attention_paged: out = softmax(q · kᵀ · scale) · v over the paged cache; row r sees positions 0..=positions[r].
//
// Tensors   q, out [rows, heads·head_dim]; k_pages, v_pages [pages·kv_heads, 64, head_dim], head h of page p at
//           p·kv_heads + h; all bf16; block_table [pages of the sequence], positions [rows], u32; there may be a
//           block_table for each run of rows, table_stride entries apart, which in decode is each row. Decode:
//           partial, f32: highest score and sum [rows·heads·pages, 2], then weighted sums [rows·heads·pages, padded].
// Numerics  scores, softmax and sums in f32; weights rounded to bf16 before they meet v; one rounding at the store. A
//           row's bits do not depend on the other rows of a call; prefill and decode group their sums differently. A
//           row whose position lies outside the table, or one of whose pages lies outside the cache, is NaN.
// Launch    prefill: blocks (heads, ⌈rows/64⌉ of each run) of 4 warps, last rows first, as they see most; two stages
//           of shared memory. decode: blocks (pages, kv_heads·⌈group/16⌉, rows) of one warp, one stage and 16
//           queries; then merge: blocks (heads, rows). A page is a tile. head_dim up to 128, padded to 32, 64, 96 or
//           128.
// Traffic   decode: every visible page once for each row; partials are (8 + 4·padded)/(4·64·head_dim) of that, 1.6 % at
//           head_dim 96, twice, in cache. prefill: pages once for every query head and block of queries, from L2.
// Source    Dao 2023 (FlashAttention-2); Dao et al. 2023 for the split over keys (Flash-Decoding).
//
// Decode at 32 heads of 96 and 768 tokens reads 9.4 MB a row, 4.6 µs of an A100's 2.04 TB/s. A block has its 24 KiB of
// keys and values in flight at once, and 27 KiB of shared memory let five blocks run on an SM: 120 KiB in flight, nine
// times what covers 700 ns of latency. The products of a page, 96 mma and 48 ldmatrix in a warp, take about 1.5 µs
// after that, and 5 · 24 KiB in 3 µs on 108 SMs are twice the memory's rate: from eight rows on memory is the limit.
// One row has 384 blocks, all at once: about 6 µs, merge 3 µs, launches included less than 20 µs. Predicted, not
// measured.
#include "attention.cuh"

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

// `RUNS_MAX` in mod.rs.
constexpr int kRunsMax = 32;

struct AttentionPagedParams {
    const bf16* q;
    const bf16* k_pages;
    const bf16* v_pages;
    const uint32_t* block_table;
    const uint32_t* positions;
    bf16* out;
    float* partial;
    uint32_t rows, heads, kv_heads, head_dim;
    // Of the sequence: entries of block_table.
    uint32_t pages;
    float scale_log2;
    // Entries from one run's block_table to the next one's; 0 where all rows are of one sequence.
    uint32_t table_stride;
    // Of the cache.
    uint32_t cache_pages;
    // One past the last row of each run.
    uint32_t run_ends[kRunsMax];
};
static_assert(sizeof(AttentionPagedParams) == 216 && offsetof(AttentionPagedParams, run_ends) == 88);

// The block table of a run.
__device__ __forceinline__ const uint32_t* table_of(const AttentionPagedParams& p, uint32_t run) {
    return p.block_table + static_cast<size_t>(run) * p.table_stride;
}

// One key head's rows of the cache, through a block table.
__device__ __forceinline__ Keys cached(const AttentionPagedParams& p, const uint32_t* table, uint32_t kv_head,
                                       int tokens) {
    const size_t head = static_cast<size_t>(kTileKeys) * p.head_dim, at = kv_head * head, page = p.kv_heads * head;
    return {p.k_pages + at, p.v_pages + at, table, page, page, p.head_dim, p.head_dim, tokens};
}

__device__ __forceinline__ uint32_t most_of_warp(uint32_t value) {
#pragma unroll
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
        const uint32_t other = __shfl_xor_sync(kAllLanes, value, lanes);
        value = other > value ? other : value;
    }
    return value;
}

// The pages before the first of `pages` logical ones that is not in the cache. Whole warps call it.
__device__ __forceinline__ uint32_t known_pages(const AttentionPagedParams& p, const uint32_t* table, uint32_t pages) {
    uint32_t known = pages;
    for (uint32_t page = threadIdx.x % kWarp; page < known; page += kWarp)
        if (table[page] >= p.cache_pages) known = page;
    return ~most_of_warp(~known);
}

// The most tokens that one of `count` queries sees, of those who see nothing beyond `pages`. Whole warps call it.
__device__ __forceinline__ uint32_t seen_tokens(const uint32_t* positions, int count, uint32_t pages) {
    uint32_t most = 0;
    for (int query = static_cast<int>(threadIdx.x) % kWarp; query < count; query += kWarp) {
        const uint32_t position = positions[query];
        if (position / kTileKeys < pages && position >= most) most = position + 1;
    }
    return most_of_warp(most);
}

template <int kDim, bool kVectors>
__device__ __forceinline__ void prefill(const AttentionPagedParams& p) {
    using Block = AttentionBlock<kDim, kWarps, 1, kVectors>;
    DYNAMIC_SHARED(shared);
    const int head_dim = static_cast<int>(p.head_dim);
    // Which run this block is of, and which block of it.
    uint32_t run = 0, start = 0, block = gridDim.y - 1 - blockIdx.y;
    for (;;) {
        const uint32_t blocks = (p.run_ends[run] - start + Block::kQueries - 1) / Block::kQueries;
        if (block < blocks) break;
        block -= blocks;
        start = p.run_ends[run++];
    }
    const int first = static_cast<int>(start + block * Block::kQueries);
    const int count = min(static_cast<int>(p.run_ends[run]) - first, Block::kQueries);
    const uint32_t* table = table_of(p, run);
    const uint32_t hidden = p.heads * p.head_dim, head = blockIdx.x;
    const size_t at = static_cast<size_t>(first) * hidden + head * p.head_dim;
    const uint32_t* positions = p.positions + first;
    uint32_t tokens = seen_tokens(positions, count, p.pages);
    const uint32_t wanted = (tokens + kTileKeys - 1) / kTileKeys, pages = known_pages(p, table, wanted);
    if (pages < wanted) tokens = seen_tokens(positions, count, pages);
    // A query that would see a page outside the cache sees no key at all, which makes its row NaN.
    int last[Block::kRowTiles][2];
#pragma unroll
    for (int i = 0; i < Block::kRowTiles * 2; i++) {
        const int query = query_of<Block>(i / 2, i % 2);
        const uint32_t position = positions[min(query, count - 1)];
        last[i / 2][i % 2] = position / kTileKeys < pages ? static_cast<int>(position) : -1;
    }
    Running<Block> running;
    if (tokens > 0) {
        const Keys keys = cached(p, table, head / (p.heads / p.kv_heads), static_cast<int>(tokens));
        attend(running, {p.q + at, hidden, count}, keys, 0, static_cast<int>(tokens + kTileKeys - 1) / kTileKeys, last,
               p.scale_log2, head_dim, reinterpret_cast<bf16*>(shared));
    } else {
        begin(running);
    }
    store_queries(running, p.out + at, hidden, count, head_dim);
}

// Where one (row, head, page) leaves its part.
__device__ __forceinline__ size_t part(const AttentionPagedParams& p, uint32_t row, uint32_t head) {
    return (static_cast<size_t>(row) * p.heads + head) * p.pages;
}

template <int kDim, bool kVectors>
__device__ __forceinline__ void decode(const AttentionPagedParams& p) {
    using Block = AttentionBlock<kDim, 1, 1, kVectors>;
    DYNAMIC_SHARED(shared);
    const uint32_t seen = p.positions[blockIdx.z] / kTileKeys;
    // What lies behind the position is not looked at; where it lies outside the table, merge looks at nothing.
    if (blockIdx.x > seen || seen >= p.pages) return;
    const int page = static_cast<int>(blockIdx.x), position = static_cast<int>(p.positions[blockIdx.z]);
    const uint32_t group = p.heads / p.kv_heads, parts = (group + Block::kQueries - 1) / Block::kQueries;
    const uint32_t kv_head = blockIdx.y / parts, within = blockIdx.y % parts * Block::kQueries;
    const uint32_t head = kv_head * group + within;
    const int count = min(static_cast<int>(group - within), Block::kQueries), head_dim = static_cast<int>(p.head_dim);
    const bf16* q = p.q + (static_cast<size_t>(blockIdx.z) * p.heads + head) * p.head_dim;
    Keys keys = cached(p, table_of(p, blockIdx.z), kv_head, position + 1);
    int last[1][2] = {{position, position}};
    if (keys.table[page] >= p.cache_pages) {
        // No key of the page exists and none is seen, which makes the sums and the row NaN.
        keys.tokens = 0;
        keys.k_tile = keys.v_tile = 0;
        last[0][0] = last[0][1] = -1;
    }
    Running<Block> running;
    attend(running, {q, p.head_dim, count}, keys, page, page + 1, last, p.scale_log2, head_dim,
           reinterpret_cast<bf16*>(shared));
    float* sums = p.partial + 2 * part(p, p.rows, 0);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int query = query_of<Block>(0, half);
        if (query >= count) continue;
        const size_t at = part(p, blockIdx.z, head + query) + page;
        const int lane = static_cast<int>(threadIdx.x) % 4;
        if (lane == 0)
            *reinterpret_cast<float2*>(p.partial + 2 * at) = make_float2(running.most[0][half], running.sum[0][half]);
#pragma unroll
        for (int n = 0; n < kDim / 8; n++)
            *reinterpret_cast<float2*>(sums + at * kDim + n * 8 + lane * 2) =
                make_float2(running.out[0][n][half * 2], running.out[0][n][half * 2 + 1]);
    }
}

// Adds the parts of a row and head in the order of pages, each brought to the highest score of all.
KERNEL(attention_paged_merge, AttentionPagedParams, kThreads) {
    const uint32_t head = blockIdx.x, row = blockIdx.y, padded = (p.head_dim + 31) / 32 * 32;
    // Outside the table there are no parts, and 0 / 0 is NaN.
    const uint32_t seen = p.positions[row] / kTileKeys, pages = seen < p.pages ? seen + 1 : 0;
    const size_t at = part(p, row, head);
    const float2* const stats = reinterpret_cast<const float2*>(p.partial) + at;
    const float* const sums = p.partial + 2 * part(p, p.rows, 0) + at * padded;
    float most = -INFINITY;
    for (uint32_t page = 0; page < pages; page++) most = fmaxf(most, stats[page].x);
    for (uint32_t column = threadIdx.x; column < p.head_dim; column += kThreads) {
        float total = 0.0f, value = 0.0f;
#pragma unroll 4
        for (uint32_t page = 0; page < pages; page++) {
            const float share = exp2_fast(stats[page].x - most);
            total += share * stats[page].y;
            value += share * sums[static_cast<size_t>(page) * padded + column];
        }
        p.out[(static_cast<size_t>(row) * p.heads + head) * p.head_dim + column] = to_bf16(value / total);
    }
}

KERNEL_RESIDENT(attention_paged_32, AttentionPagedParams, kThreads, 2) { prefill<32, true>(p); }
KERNEL_RESIDENT(attention_paged_64, AttentionPagedParams, kThreads, 2) { prefill<64, true>(p); }
KERNEL_RESIDENT(attention_paged_96, AttentionPagedParams, kThreads, 2) { prefill<96, true>(p); }
KERNEL_RESIDENT(attention_paged_128, AttentionPagedParams, kThreads, 2) { prefill<128, true>(p); }
KERNEL_RESIDENT(attention_paged_32_single, AttentionPagedParams, kThreads, 2) { prefill<32, false>(p); }
KERNEL_RESIDENT(attention_paged_64_single, AttentionPagedParams, kThreads, 2) { prefill<64, false>(p); }
KERNEL_RESIDENT(attention_paged_96_single, AttentionPagedParams, kThreads, 2) { prefill<96, false>(p); }
KERNEL_RESIDENT(attention_paged_128_single, AttentionPagedParams, kThreads, 2) { prefill<128, false>(p); }
KERNEL(attention_paged_decode_32, AttentionPagedParams, kWarp) { decode<32, true>(p); }
KERNEL(attention_paged_decode_64, AttentionPagedParams, kWarp) { decode<64, true>(p); }
KERNEL(attention_paged_decode_96, AttentionPagedParams, kWarp) { decode<96, true>(p); }
KERNEL(attention_paged_decode_128, AttentionPagedParams, kWarp) { decode<128, true>(p); }
KERNEL(attention_paged_decode_32_single, AttentionPagedParams, kWarp) { decode<32, false>(p); }
KERNEL(attention_paged_decode_64_single, AttentionPagedParams, kWarp) { decode<64, false>(p); }
KERNEL(attention_paged_decode_96_single, AttentionPagedParams, kWarp) { decode<96, false>(p); }
KERNEL(attention_paged_decode_128_single, AttentionPagedParams, kWarp) { decode<128, false>(p); }
