// What happens to a sum of `linear` before it is stored, and the store: bf16 activations or f32 logits.
#pragma once
#include "bf16.cuh"
#include "finite.cuh"
#include "ptx.cuh"

// In the order of `Epilogue` in linear/mod.rs.
enum Epilogue { kNone, kGeluErf, kGeluTanh, kTanh, kResidual, kSwiGlu };

// e^v, infinite above 88.7, zero below -104.
__device__ __forceinline__ float exp_fast(float v) { return exp2_fast(v * 1.4426950408889634f); }

// The epilogues of one value. No intermediate turns into NaN where the value is finite: an overflow of the cube or of
// the exponential ends as a division by infinity. An infinite value gives none that is finite: -inf · 0 and -inf / inf
// are NaN, and tanh is asked.
template <Epilogue kEpilogue>
__device__ __forceinline__ float activate(float v) {
    if constexpr (kEpilogue == kGeluErf) return 0.5f * v * (1.0f + erff(v * 0.70710678118654752f));
    // v/2 · (1 + tanh u) = v / (1 + e^(-2u)), u = √(2/π)(v + 0.044715 v³)
    if constexpr (kEpilogue == kGeluTanh) return v / (1.0f + exp_fast(v * (-0.0713548163f * (v * v) - 1.5957691216f)));
    if constexpr (kEpilogue == kTanh) return is_finite(v) ? tanhf(v) : NAN;
    return v;
}

__device__ __forceinline__ float swiglu(float gate, float value) {
    return value * (gate / (1.0f + exp_fast(-gate)));
}

// An output in either element type; `floats` is the same for all threads.
struct Out {
    void* data;
    bool floats;
};

__device__ __forceinline__ float load_out(Out out, size_t at) {
    return out.floats ? static_cast<const float*>(out.data)[at] : to_float(static_cast<const bf16*>(out.data)[at]);
}

__device__ __forceinline__ void store_out(Out out, size_t at, float value) {
    if (out.floats) {
        static_cast<float*>(out.data)[at] = value;
    } else {
        static_cast<bf16*>(out.data)[at] = to_bf16(value);
    }
}

// Four at once, from a boundary of four elements.
__device__ __forceinline__ float4 load_four(const bf16* from) {
    uint2 words = *reinterpret_cast<const uint2*>(from);
    float2 low = unpack_bf16(words.x), high = unpack_bf16(words.y);
    return make_float4(low.x, low.y, high.x, high.y);
}

__device__ __forceinline__ float4 load_out_four(Out out, size_t at) {
    if (out.floats) return *reinterpret_cast<const float4*>(static_cast<const float*>(out.data) + at);
    return load_four(static_cast<const bf16*>(out.data) + at);
}

__device__ __forceinline__ void store_out_four(Out out, size_t at, const float (&v)[4]) {
    if (out.floats) {
        *reinterpret_cast<float4*>(static_cast<float*>(out.data) + at) = make_float4(v[0], v[1], v[2], v[3]);
    } else {
        *reinterpret_cast<uint2*>(static_cast<bf16*>(out.data) + at) =
            make_uint2(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]));
    }
}

__device__ __forceinline__ void add_four(float (&v)[4], float4 more) {
    v[0] += more.x;
    v[1] += more.y;
    v[2] += more.z;
    v[3] += more.w;
}
