// bf16 in memory, f32 in registers: single values, pairs in one word, eight in one 16-byte access or at a row's end.
#pragma once
#include "kernel.cuh"

__device__ __forceinline__ float to_float(bf16 value) { return __bfloat162float(value); }

// To the nearest, ties to even.
__device__ __forceinline__ bf16 to_bf16(float value) { return __float2bfloat16_rn(value); }

// The pair (low, high) in one word.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    uint32_t word;
    memcpy(&word, &pair, 4);
    return word;
}

__device__ __forceinline__ float2 unpack_bf16(uint32_t word) {
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
}

// Eight values from a 16-byte boundary.
__device__ __forceinline__ void load_bf16x8(float (&out)[8], const bf16* from) {
    uint4 words = *reinterpret_cast<const uint4*>(from);
    const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 pair = unpack_bf16(word[i]);
        out[2 * i] = pair.x;
        out[2 * i + 1] = pair.y;
    }
}

// Eight values, rounded, to a 16-byte boundary.
__device__ __forceinline__ void store_bf16x8(bf16* to, const float (&values)[8]) {
    *reinterpret_cast<uint4*>(to) =
        make_uint4(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]), pack_bf16(values[4], values[5]),
                   pack_bf16(values[6], values[7]));
}

// Eight values of a row from column `at`; columns past the row's end give 0. `vectors` says that rows start on 16-byte
// boundaries and `dim` divides by 8.
__device__ __forceinline__ void load_row8(float (&out)[8], const bf16* row, uint32_t at, uint32_t dim,
                                          uint32_t vectors) {
    if (vectors && at < dim) {
        load_bf16x8(out, row + at);
        return;
    }
#pragma unroll
    for (uint32_t j = 0; j < 8; j++) out[j] = at + j < dim ? to_float(row[at + j]) : 0.0f;
}

// Stores eight values of a row from column `at`, rounded; nothing past the row's end. `vectors` as above.
__device__ __forceinline__ void store_row8(bf16* row, uint32_t at, uint32_t dim, uint32_t vectors,
                                           const float (&values)[8]) {
    if (vectors && at < dim) {
        store_bf16x8(row + at, values);
        return;
    }
#pragma unroll
    for (uint32_t j = 0; j < 8; j++) {
        if (at + j < dim) row[at + j] = to_bf16(values[j]);
    }
}

// Eight values from any boundary, packed; the first `exist` are there, the others zeros.
__device__ __forceinline__ uint4 gather_bf16x8(const bf16* from, int exist) {
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float low = 2 * i < exist ? to_float(from[2 * i]) : 0.0f;
        float high = 2 * i + 1 < exist ? to_float(from[2 * i + 1]) : 0.0f;
        words[i] = pack_bf16(low, high);
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
}
