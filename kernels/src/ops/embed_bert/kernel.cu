// embed_bert: out[r] = layer_norm(words[ids[r]] + types[0] + positions[r]), one row per token.
//
// Tensors   words [vocab, dim], positions [>= rows, dim], types [>= 1, dim], weight, bias [dim], out [rows, dim], bf16;
//           ids [rows], u32.
// Numerics  sums and statistics in f32, in a fixed order; one rounding, at the store. A row whose id is outside the
//           table is NaN, so that the mistake shows instead of another word.
// Launch    one warp per row, kThreads / 32 rows per block; any dim > 0; rows of up to 1024 values stay in registers.
// Traffic   6 bytes per element: word and position read, out written.
// Source    Devlin et al. 2019, fig. 2, with a single segment.
#include "norm.cuh"

constexpr int kThreads = 128;

struct EmbedBertParams {
    const bf16* words;
    const bf16* positions;
    const bf16* types;
    const uint32_t* ids;
    bf16* out;
    Norm norm;
    uint32_t vocab, rows, dim, vectors;
};
static_assert(sizeof(EmbedBertParams) == 80 && offsetof(EmbedBertParams, vectors) == 76);

KERNEL(embed_bert_kernel, EmbedBertParams, kThreads) {
    uint32_t row = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
    if (row >= p.rows) return;
    uint32_t id = p.ids[row];
    const bf16* word = p.words + static_cast<size_t>(id) * p.dim;
    const bf16* position = p.positions + static_cast<size_t>(row) * p.dim;
    auto load = [&](float(&values)[8], uint32_t at) {
        float kind[8], place[8];
        load_row8(kind, p.types, at, p.dim, p.vectors);
        load_row8(place, position, at, p.dim, p.vectors);
        if (id < p.vocab) {
            load_row8(values, word, at, p.dim, p.vectors);
        } else {
#pragma unroll
            for (int j = 0; j < 8; j++) values[j] = NAN;
        }
#pragma unroll
        for (int j = 0; j < 8; j++) values[j] += kind[j] + place[j];
    };
    layer_norm_row(p.out + static_cast<size_t>(row) * p.dim, p.dim, p.vectors, p.norm, load);
}
