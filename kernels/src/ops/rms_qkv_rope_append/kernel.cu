// rms_qkv_rope_append: RMS norm, fused projection, rotation; queries to q, keys and values to the cache; few rows.
//
// Tensors   x [rows, inner], rows x_stride apart, norm [inner], weight [(heads + 2·kv_heads)·head_dim, inner], q [rows,
//           heads·head_dim], k_pages and v_pages [pages·kv_heads, 64, head_dim], all bf16; cos, sin [positions,
//           head_dim/2] f32; positions [rows], block_table [pages] u32, or one for each row,
//           table_stride entries apart.
// Numerics  as rms_linear; the rotation in f32 on f32 sums; one rounding, at the store. The queries of a row without a
//           place in the cache are NaN, and its keys and values go nowhere.
// Launch    one block of kFewThreads per eight pairs (i, i + head_dim/2) of one head: its two tiles are the pairs'
//           weight rows, so that the thread which has one half of a pair has the other. Any even head_dim.
// Traffic   2 bytes per weight, each read once; neither the normed row nor the projection is ever stored.
// Source    Su et al. 2021, eq. 34, in the half-split order of GPT-NeoX; few_rows.cuh.
#include "few_rows.cuh"
#include "pages.cuh"

struct RmsQkvRopeAppendParams {
    FewInput in;
    const float* cos;
    const float* sin;
    const uint32_t* positions;
    const uint32_t* block_table;
    bf16* q;
    bf16* k_pages;
    bf16* v_pages;
    CacheSizes sizes;
};
static_assert(sizeof(RmsQkvRopeAppendParams) == 136 && offsetof(RmsQkvRopeAppendParams, sizes) == 104);

template <bool kVectors>
__device__ __forceinline__ void append(const RmsQkvRopeAppendParams& p) {
    const CacheSizes& sizes = p.sizes;
    uint32_t half = sizes.head_dim / 2, octets = (half + 7) / 8;
    uint32_t head = blockIdx.x / octets, at = blockIdx.x % octets * 8, left = half - at;
    uint32_t first = head * sizes.head_dim + at, count = left < 8 ? left : 8;
    FewSums sums = few_rows<kVectors, true>(p.in, {first, count, first + half, count});
    if (!sums.exists || sums.column >= count) return;
    uint32_t pair = at + sums.column, position = p.positions[sums.row], page = own_page(p, sums.row, position);
    bf16* to = head_row(p, sums.row, position, page, head);
    if (to == nullptr) return;
    float a = sums.first, b = sums.second;
    if (page == kNoPage) {
        a = b = NAN;
    } else if (head < sizes.heads + sizes.kv_heads) {
        size_t angle = static_cast<size_t>(position) * half + pair;
        float cos = p.cos[angle], sin = p.sin[angle];
        a = sums.first * cos - sums.second * sin;
        b = sums.second * cos + sums.first * sin;
    }
    to[pair] = to_bf16(a);
    to[pair + half] = to_bf16(b);
}

KERNEL_RESIDENT(rms_qkv_rope_append_kernel, RmsQkvRopeAppendParams, kFewThreads, kFewBlocks) { append<true>(p); }
KERNEL(rms_qkv_rope_append_any_kernel, RmsQkvRopeAppendParams, kFewThreads) { append<false>(p); }
