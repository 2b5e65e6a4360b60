// attention_full: out = softmax(q · kᵀ · scale) · v for each sequence and head; every token sees its whole sequence.
//
// Tensors   q, k, v windows of rows [sequences·tokens], each with its own stride; out [sequences·tokens,
//           heads·head_dim]; all bf16.
// Numerics  scores, softmax and sums in f32; weights rounded to bf16 before they meet v; one rounding at the store.
// Launch    blocks (queries/kQueries, heads, sequences) of 4 warps, 128 queries up to head_dim 64, else 64; any tokens;
//           any head_dim up to 128, padded to 32, 64, 96 or 128; two stages of dynamic shared memory, 512·kDim bytes.
// Traffic   4·tokens²·head_dim flops per head; q and out once, k and v once for every block of queries, from L2.
// Source    Dao 2023 (FlashAttention-2).
//
// At 2049 tokens × 12 heads × 64 a call has 12.9 GFLOP, 41 µs of an A100's tensor cores. What else must fit into that
// time, for one warp and one tile (128 mma of 8 cycles on the warp's quarter of an SM, 1024 cycles): about 730 issued
// instructions; 68 exponentials a lane, 544 cycles of the special function unit; 32 ldmatrix, 128 cycles of shared
// memory, which four quarters share, so 512. At 255 registers two blocks fit an SM, so each quarter has two warps and
// the exponentials of one run under the products of the other. The 204 blocks all run at once on 108 SMs, but not all
// SMs have two: 89 % of the time of one pass is work. With two thirds of the tensor rate within a block, as published
// kernels of this shape reach, that is 59 % of the peak, 70 µs. Predicted, not measured.
#include "attention.cuh"

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

struct AttentionFullParams {
    const bf16* q;
    const bf16* k;
    const bf16* v;
    bf16* out;
    uint32_t q_stride, k_stride, v_stride, out_stride;
    uint32_t tokens, head_dim;
    float scale_log2;
    uint32_t reserved;
};
static_assert(sizeof(AttentionFullParams) == 64 && offsetof(AttentionFullParams, reserved) == 60);

// Two tiles of queries for each warp while their registers last: every fragment of keys or values that is read from
// shared memory then feeds four mma instead of two, and shared memory is no longer as busy as the tensor cores.
template <int kDim>
constexpr int kRowTilesFor = kDim <= 64 ? 2 : 1;

template <int kDim, bool kVectors>
__device__ __forceinline__ void attend_full(const AttentionFullParams& p) {
    using Block = AttentionBlock<kDim, kWarps, kRowTilesFor<kDim>, kVectors>;
    DYNAMIC_SHARED(shared);
    const int tokens = static_cast<int>(p.tokens), head_dim = static_cast<int>(p.head_dim);
    const uint32_t first = blockIdx.x * Block::kQueries, column = blockIdx.y * p.head_dim;
    const int count = min(tokens - static_cast<int>(first), Block::kQueries);
    const size_t sequence = static_cast<size_t>(blockIdx.z) * p.tokens;
    const Queries queries{p.q + (sequence + first) * p.q_stride + column, p.q_stride, count};
    const Keys keys{p.k + sequence * p.k_stride + column,
                    p.v + sequence * p.v_stride + column,
                    nullptr,
                    static_cast<size_t>(kTileKeys) * p.k_stride,
                    static_cast<size_t>(kTileKeys) * p.v_stride,
                    p.k_stride,
                    p.v_stride,
                    tokens};
    int last[Block::kRowTiles][2];
#pragma unroll
    for (int i = 0; i < Block::kRowTiles * 2; i++) last[i / 2][i % 2] = tokens - 1;
    Running<Block> running;
    const int tiles = (tokens + kTileKeys - 1) / kTileKeys;
    attend(running, queries, keys, 0, tiles, last, p.scale_log2, head_dim, reinterpret_cast<bf16*>(shared));
    store_queries(running, p.out + (sequence + first) * p.out_stride + column, p.out_stride, count, head_dim);
}

KERNEL_RESIDENT(attention_full_32, AttentionFullParams, kThreads, 2) { attend_full<32, true>(p); }
KERNEL_RESIDENT(attention_full_64, AttentionFullParams, kThreads, 2) { attend_full<64, true>(p); }
KERNEL_RESIDENT(attention_full_96, AttentionFullParams, kThreads, 2) { attend_full<96, true>(p); }
KERNEL_RESIDENT(attention_full_128, AttentionFullParams, kThreads, 2) { attend_full<128, true>(p); }
KERNEL_RESIDENT(attention_full_32_single, AttentionFullParams, kThreads, 2) { attend_full<32, false>(p); }
KERNEL_RESIDENT(attention_full_64_single, AttentionFullParams, kThreads, 2) { attend_full<64, false>(p); }
KERNEL_RESIDENT(attention_full_96_single, AttentionFullParams, kThreads, 2) { attend_full<96, false>(p); }
KERNEL_RESIDENT(attention_full_128_single, AttentionFullParams, kThreads, 2) { attend_full<128, false>(p); }
