// slice_keys: what is scored, the mean of the 3D and the 2D tokens that stand for a slice (paper, Eq. 4 and Table 5).
//
// Tensors   z_3d [layers, layer tokens, dim] or null, z_2d_slices [slices, slice tokens, dim] or null, bf16;
//           keys [slices, dim], f32.
// Numerics  sums in f32: each warp every eighth 2D token, then every eighth 3D token, then the warps in order.
// Launch    blocks (slices, column tiles of 256) of kSumThreads; any dim; 16-byte loads where `vectors` allows them.
//           The released shape, 32 slices of 3072 columns, makes 384 blocks: all resident on 108 multiprocessors.
// Traffic   2 bytes per element of z_2d_slices, once; a layer of z_3d again for each of its slices, from the L2 cache.
// Source    the definition.
#include "token_sum.cuh"

struct SliceKeysParams {
    const bf16* z_3d;
    const bf16* z_2d_slices;
    float* keys;
    uint32_t layer_tokens, slices_per_layer, slice_tokens, dim, vectors;
};
static_assert(sizeof(SliceKeysParams) == 48 && offsetof(SliceKeysParams, vectors) == 40);

KERNEL(slice_keys_kernel, SliceKeysParams, kSumThreads) {
    uint32_t slice = blockIdx.x, column = first_column();
    size_t first_2d = static_cast<size_t>(slice) * p.slice_tokens;
    size_t first_3d = static_cast<size_t>(slice / p.slices_per_layer) * p.layer_tokens;
    float sums[8] = {};
    add_tokens(sums, p.slice_tokens, column, p.dim, p.vectors,
               [&](uint32_t token) { return p.z_2d_slices + (first_2d + token) * p.dim; });
    add_tokens(sums, p.layer_tokens, column, p.dim, p.vectors,
               [&](uint32_t token) { return p.z_3d + (first_3d + token) * p.dim; });
    float mean = column_total(sums) / static_cast<float>(p.slice_tokens + p.layer_tokens);
    column = blockIdx.y * kSumColumns + threadIdx.x;
    if (column < p.dim) p.keys[static_cast<size_t>(slice) * p.dim + column] = mean;
}
