// Where the rows of the paged KV cache lie.
//
// Positions and page numbers come from memory that the host has not looked at, so none is trusted: a row without a
// place of its own in the cache is not appended, and its queries are NaN (`places.rs` of qkv_rope_append defines
// which).
#pragma once
#include "bf16.cuh"

// Tokens of a page; `PAGE_TOKENS` in lib.rs.
constexpr uint32_t kPageTokens = 64;

// The page of a position that has none.
constexpr uint32_t kNoPage = ~0u;

// What the launcher knows about the cache, about how rows find their places in it, and about the angles.
struct CacheSizes {
    uint32_t heads, kv_heads, head_dim;
    uint32_t rows;
    // Entries from one row's block_table to the next one's; 0 where all rows are of one sequence.
    uint32_t table_stride;
    // Entries of one sequence's block_table, pages in the cache, rows of cos and sin.
    uint32_t table_pages, cache_pages, angles;
};

// The page that a row at `position` would go to.
template <class Params>
__device__ __forceinline__ uint32_t page_of(const Params& p, uint32_t row, uint32_t position) {
    const CacheSizes& sizes = p.sizes;
    const uint32_t first = p.positions[0], logical = position / kPageTokens;
    const bool in_order = sizes.table_stride != 0 || (position >= first && position - first == row);
    const bool covered = in_order && position < sizes.angles && logical < sizes.table_pages;
    const uint32_t page = covered ? p.block_table[static_cast<size_t>(row) * sizes.table_stride + logical] : kNoPage;
    return page < sizes.cache_pages ? page : kNoPage;
}

// The same, kNoPage if another row of the call would go to the same place: the two would race. Rows of one sequence are
// in order, so that of them only each 64th can.
template <class Params>
__device__ __forceinline__ uint32_t own_page(const Params& p, uint32_t row, uint32_t position) {
    const bool own_tables = p.sizes.table_stride != 0;
    const uint32_t page = page_of(p, row, position), step = own_tables ? 1 : kPageTokens;
    bool taken = false;
    for (uint32_t other = own_tables ? 0 : row % kPageTokens; other < p.sizes.rows; other += step) {
        const uint32_t its = p.positions[other];
        taken |= other != row && its % kPageTokens == position % kPageTokens && page_of(p, other, its) == page;
    }
    return taken ? kNoPage : page;
}

// Where head `head` of a row, counted through queries, keys and values, goes: to q, or to its page of the cache; null
// for keys and values of a row without a place.
template <class Params>
__device__ __forceinline__ bf16* head_row(const Params& p, uint32_t row, uint32_t position, uint32_t page,
                                          uint32_t head) {
    const CacheSizes& sizes = p.sizes;
    if (head < sizes.heads) return p.q + (static_cast<size_t>(row) * sizes.heads + head) * sizes.head_dim;
    if (page == kNoPage) return nullptr;
    const uint32_t kv_head = (head - sizes.heads) % sizes.kv_heads;
    const size_t page_head = static_cast<size_t>(page) * sizes.kv_heads + kv_head;
    bf16* pages = head < sizes.heads + sizes.kv_heads ? p.k_pages : p.v_pages;
    return pages + (page_head * kPageTokens + position % kPageTokens) * sizes.head_dim;
}
