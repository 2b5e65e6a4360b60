// qkv_rope_append: rotates queries and keys of the fused projection; queries to q, keys and values to the paged cache.
//
// Tensors   qkv [rows, (heads + 2·kv_heads)·head_dim], q [rows, heads·head_dim], k_pages and v_pages [pages·kv_heads,
//           64, head_dim], all bf16; cos, sin [positions, head_dim/2] f32; positions [rows], block_table [pages] u32,
//           or one for each row, table_stride entries apart.
// Numerics  the rotation in f32, rounded once at the store; values are copied bit for bit. The queries of a row
//           without a place in the cache are NaN, and its keys and values go nowhere.
// Launch    blocks (rows, items/kThreads); an item is kWide neighbouring pairs (i, i + head_dim/2) of one head. Eight
//           wide where head_dim divides by 16 and all addresses by 16 bytes, else one wide.
// Traffic   4 bytes per element of qkv and 8 per angle; the angles of a row come from cache after its first head, and
//           so do its position and the table's entries of the pages that the call appends to.
// Source    Su et al. 2021, eq. 34, in the half-split order of GPT-NeoX.
#include "pages.cuh"

constexpr int kThreads = 128;

struct QkvRopeAppendParams {
    const bf16* qkv;
    const float* cos;
    const float* sin;
    const uint32_t* positions;
    const uint32_t* block_table;
    bf16* q;
    bf16* k_pages;
    bf16* v_pages;
    CacheSizes sizes;
};
static_assert(sizeof(CacheSizes) == 32 && sizeof(QkvRopeAppendParams) == 96);
static_assert(offsetof(QkvRopeAppendParams, sizes) == 64);

__device__ __forceinline__ void load(float (&out)[1], const bf16* from) { out[0] = to_float(*from); }
__device__ __forceinline__ void load(float (&out)[8], const bf16* from) { load_bf16x8(out, from); }
__device__ __forceinline__ void load(float (&out)[1], const float* from) { out[0] = *from; }
__device__ __forceinline__ void load(float (&out)[8], const float* from) {
    const float4 low = reinterpret_cast<const float4*>(from)[0], high = reinterpret_cast<const float4*>(from)[1];
    const float all[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = all[i];
}
__device__ __forceinline__ void store(bf16* to, const float (&values)[1]) { *to = to_bf16(values[0]); }
__device__ __forceinline__ void store(bf16* to, const float (&values)[8]) { store_bf16x8(to, values); }

template <int kWide>
__device__ __forceinline__ void append(const QkvRopeAppendParams& p) {
    const CacheSizes& sizes = p.sizes;
    const uint32_t half = sizes.head_dim / 2, heads = sizes.heads + 2 * sizes.kv_heads, row = blockIdx.x;
    const uint32_t item = blockIdx.y * kThreads + threadIdx.x, head = item / (half / kWide);
    if (head >= heads) return;
    const uint32_t at = item % (half / kWide) * kWide, position = p.positions[row];
    const uint32_t page = own_page(p, row, position);
    bf16* to = head_row(p, row, position, page, head);
    if (to == nullptr) return;
    const bf16* from = p.qkv + (static_cast<size_t>(row) * heads + head) * sizes.head_dim + at;
    float a[kWide], b[kWide];
    load(a, from);
    load(b, from + half);
    if (page == kNoPage) {
#pragma unroll
        for (int i = 0; i < kWide; i++) a[i] = b[i] = NAN;
    } else if (head < sizes.heads + sizes.kv_heads) {
        float cos[kWide], sin[kWide];
        load(cos, p.cos + static_cast<size_t>(position) * half + at);
        load(sin, p.sin + static_cast<size_t>(position) * half + at);
#pragma unroll
        for (int i = 0; i < kWide; i++) {
            const float turned = a[i] * cos[i] - b[i] * sin[i];
            b[i] = b[i] * cos[i] + a[i] * sin[i];
            a[i] = turned;
        }
    }
    store(to + at, a);
    store(to + at + half, b);
}

// Ten blocks are what 48 registers allow; left to itself, the assembler spills on sm_90a to make room for two more.
KERNEL_RESIDENT(qkv_rope_append_vectors, QkvRopeAppendParams, kThreads, 10) { append<8>(p); }
KERNEL(qkv_rope_append_single, QkvRopeAppendParams, kThreads) { append<1>(p); }
