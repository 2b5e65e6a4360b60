// Where the rows of the paged KV cache lie.
#pragma once
#include "bf16.cuh"

// Tokens of a page; `PAGE_TOKENS` in lib.rs.
constexpr uint32_t kPageTokens = 64;

// Where head `head` of a row, counted through queries, keys and values, goes: to q, or to its page of the cache.
// `Params` has q, k_pages, v_pages, block_table, table_stride, heads, kv_heads and head_dim.
template <class Params>
__device__ __forceinline__ bf16* head_row(const Params& p, uint32_t row, uint32_t position, uint32_t head) {
    if (head < p.heads) return p.q + (static_cast<size_t>(row) * p.heads + head) * p.head_dim;
    const uint32_t kv_head = (head - p.heads) % p.kv_heads;
    const uint32_t* table = p.block_table + row * p.table_stride;
    const size_t page = static_cast<size_t>(table[position / kPageTokens]) * p.kv_heads + kv_head;
    bf16* pages = head < p.heads + p.kv_heads ? p.k_pages : p.v_pages;
    return pages + (page * kPageTokens + position % kPageTokens) * p.head_dim;
}
