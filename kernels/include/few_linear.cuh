// The end of `linear` and `rms_linear` for up to sixteen rows.
#pragma once
#include "epilogue.cuh"
#include "few_rows.cuh"

struct FewLinearParams {
    FewInput in;
    const bf16* bias;
    void* out;
    uint32_t columns, floats;
};
static_assert(sizeof(FewInput) == 48 && sizeof(FewLinearParams) == 72 && offsetof(FewLinearParams, floats) == 68);

// Adds the bias, applies the epilogue and stores one column.
template <Epilogue kEpilogue>
__device__ __forceinline__ void few_store(const FewLinearParams& p, uint32_t row, uint32_t column, float v) {
    if (column >= p.columns) return;
    Out out{p.out, p.floats != 0};
    size_t at = static_cast<size_t>(row) * p.columns + column;
    if (p.bias != nullptr) v += to_float(p.bias[column]);
    v = activate<kEpilogue>(v);
    if constexpr (kEpilogue == kResidual) v += load_out(out, at);
    store_out(out, at, v);
}

// Columns of a block's tile that exist, from `first` on.
__device__ __forceinline__ uint32_t few_count(uint32_t columns, uint32_t first) {
    uint32_t left = columns > first ? columns - first : 0;
    return left < 8 ? left : 8;
}

// Block b has columns 16·b to 16·b + 16; with SwiGLU columns 8·b to 8·b + 8, whose gates and values are its two tiles.
template <Epilogue kEpilogue, bool kVectors, bool kNorm>
__device__ __forceinline__ void few_linear(const FewLinearParams& p) {
    constexpr uint32_t kWidth = kEpilogue == kSwiGlu ? 8 : 16;
    uint32_t first = blockIdx.x * kWidth, count = few_count(p.columns, first);
    FewColumns columns{first, count, first + 8, few_count(p.columns, first + 8)};
    if constexpr (kEpilogue == kSwiGlu) columns = {first, count, p.columns + first, count};
    FewSums sums = few_rows<kVectors, kNorm>(p.in, columns);
    if (!sums.exists) return;
    if constexpr (kEpilogue == kSwiGlu) {
        few_store<kEpilogue>(p, sums.row, first + sums.column, swiglu(sums.first, sums.second));
    } else {
        few_store<kEpilogue>(p, sums.row, first + sums.column, sums.first);
        few_store<kEpilogue>(p, sums.row, first + 8 + sums.column, sums.second);
    }
}
