// embed_tokens: out[r] = table[ids[r]], one row per token.
//
// Tensors   table [vocab, dim], out [rows, dim], bf16; ids [rows], u32.
// Numerics  exact; a row whose id is outside the table is NaN, so that the mistake shows instead of another word.
// Launch    one block of kThreads per row; any dim; 16-byte accesses where `vectors` allows them.
// Traffic   4 bytes per element of out.
// Source    none.
#include "bf16.cuh"

constexpr int kThreads = 128;

struct EmbedTokensParams {
    const bf16* table;
    const uint32_t* ids;
    bf16* out;
    uint32_t vocab, dim, vectors;
};
static_assert(sizeof(EmbedTokensParams) == 40 && offsetof(EmbedTokensParams, vectors) == 32);

KERNEL(embed_tokens_kernel, EmbedTokensParams, kThreads) {
    uint32_t id = p.ids[blockIdx.x];
    bf16* out = p.out + static_cast<size_t>(blockIdx.x) * p.dim;
    const bf16* row = p.table + static_cast<size_t>(id) * p.dim;
    for (uint32_t at = threadIdx.x * 8; at < p.dim; at += kThreads * 8) {
        float values[8];
        if (id < p.vocab) {
            load_row8(values, row, at, p.dim, p.vectors);
        } else {
#pragma unroll
            for (int j = 0; j < 8; j++) values[j] = NAN;
        }
        store_row8(out, at, p.dim, p.vectors, values);
    }
}
