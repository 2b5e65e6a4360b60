// patch_gather: patches of a volume as rows of a matrix, and every token's position where `linear` will add the
// product.
//
// Tensors   volume [grid * patch], f32; gathered [patches, patch voxels], positions [places, hidden], class_token
//           [hidden] or null, out [class token and patches, hidden], bf16; patch t has position t modulo `places`.
// Numerics  voxels are rounded to bf16, once; positions and class token are copied.
// Launch    one block of kThreads per patch, and one for the class token where there is one; any patch and hidden.
// Traffic   6 bytes per voxel, 4 per element of out: 12 + 6 MB for the 3D tokens, 12 + 34 MB for the 2D ones (32 slices
//           of 256 x 256 to 8192 x 1024), where the reads of positions come from the cache.
// Source    MONAI's "perceptron" embedding; Dosovitskiy et al. 2021.
#include "bf16.cuh"

constexpr int kThreads = 128;

struct PatchGatherParams {
    const float* volume;
    const bf16* positions;
    const bf16* class_token;
    bf16* gathered;
    bf16* out;
    uint32_t grid[3];
    uint32_t patch[3];
    uint32_t hidden, places, vectors;
};
static_assert(sizeof(PatchGatherParams) == 80 && offsetof(PatchGatherParams, vectors) == 72);

__device__ __forceinline__ void copy_row(const PatchGatherParams& p, bf16* to, const bf16* from) {
    for (uint32_t at = threadIdx.x * 8; at < p.hidden; at += kThreads * 8) {
        float values[8];
        load_row8(values, from, at, p.hidden, p.vectors);
        store_row8(to, at, p.hidden, p.vectors, values);
    }
}

KERNEL(patch_gather_kernel, PatchGatherParams, kThreads) {
    uint32_t token = blockIdx.x;
    bf16* out = p.out + static_cast<size_t>(token) * p.hidden;
    if (p.class_token != nullptr) {
        if (token == 0) {
            copy_row(p, out, p.class_token);
            return;
        }
        token--;
    }
    copy_row(p, out, p.positions + static_cast<size_t>(token % p.places) * p.hidden);
    uint32_t voxels = p.patch[0] * p.patch[1] * p.patch[2];
    uint32_t x = token % p.grid[2], y = token / p.grid[2] % p.grid[1], n = token / p.grid[2] / p.grid[1];
    size_t height = static_cast<size_t>(p.grid[1]) * p.patch[1], width = static_cast<size_t>(p.grid[2]) * p.patch[2];
    const float* corner = p.volume + (n * p.patch[0] * height + y * p.patch[1]) * width + x * p.patch[2];
    bf16* gathered = p.gathered + static_cast<size_t>(token) * voxels;
    for (uint32_t i = threadIdx.x; i < voxels; i += kThreads) {
        uint32_t column = i % p.patch[2], row = i / p.patch[2] % p.patch[1], slice = i / p.patch[2] / p.patch[1];
        gathered[i] = to_bf16(corner[(slice * height + row) * width + column]);
    }
}
