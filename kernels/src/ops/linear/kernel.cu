// linear: out = epilogue(x · Wᵀ + b) for more than sixteen rows, by tiles on the tensor cores.
//
// Tensors   x [rows, inner] bf16, rows x_stride apart; weight [columns, inner] bf16 (SwiGLU: the gate's rows, then the
//           value's), rows weight_stride apart; bias [columns] bf16 or null; out [rows, columns] bf16 or f32.
// Numerics  products of bf16 summed in f32, sixteen at a time in the order of k whatever the tile, so that the tile
//           changes no bit; bias and epilogue in f32; one rounding, at the store.
// Launch    one block of kThreads per tile, in groups of kGroup tile rows; any sizes; `any` kernels load element by
//           element where a row is not on a 16-byte boundary or inner does not divide by 8.
// Traffic   a 128 × 128 tile reads 512 · inner bytes for 32768 · inner flops: 64 flops a byte of L2. Tiles that run at
//           once share 8 strips of x with about 27 of W, so memory sees 64/5 of that; beyond, W stays in the 40 MB L2.
//           Shared memory moves 24 KiB for 128 products a step of 16: 192 of the 256 cycles that these take.
// Source    the multi-stage pipeline of CUTLASS's sm_80 kernels.
#include "epilogue.cuh"
#include "pieces.cuh"

constexpr int kThreads = 128;
constexpr int kStages = 4;
// Elements of the inner dimension in a stage: two steps of the tensor cores, rows of 64 bytes.
constexpr int kTileK = 32;
constexpr int kChunks = kTileK / 8;
// Tile rows that take turns before the next tile column.
constexpr uint32_t kGroup = 8;

struct LinearParams {
    const bf16* x;
    const bf16* weight;
    const bf16* bias;
    void* out;
    uint32_t rows, inner, columns, x_stride, weight_stride;
    // Whether out is f32; whether columns 4i of out and bias lie on boundaries of four elements.
    uint32_t floats, fours;
};
static_assert(sizeof(LinearParams) == 64 && offsetof(LinearParams, fours) == 56);

// A tile of kM × kN sums: two by two warps, each with a quarter of it.
template <int kTileM, int kTileN>
struct Tile {
    static constexpr int kM = kTileM, kN = kTileN;
    static constexpr int kRowTiles = kM / 2 / 16, kColumnTiles = kN / 2 / 8;
    static constexpr int kStage = (kM + kN) * kTileK;
};
using Large = Tile<128, 128>;
using Small = Tile<64, 64>;

// Operands of one step of the tensor cores.
template <class T>
struct Fragments {
    uint32_t x[T::kRowTiles][4];
    uint32_t w[T::kColumnTiles / 2][4];
};

// Where chunk `chunk` (16 bytes) of a tile's row lies. Eight rows of one chunk fall into eight different sixteenths of
// 128 bytes, and so do two rows of four chunks: neither ldmatrix nor the copies meet in a bank. Sixteen rows on, all
// repeats.
__device__ __forceinline__ int swizzled(int row, int chunk) {
    return row * kTileK + (chunk ^ (row >> 1 & (kChunks - 1))) * 8;
}

// Eight elements to shared memory: those of `row` that exist, zeros for the others.
template <bool kVectors>
__device__ __forceinline__ void copy_chunk(bf16* to, const bf16* from, int exist) {
    if constexpr (kVectors) {
        copy_async16(to, from, exist > 0 ? 16 : 0);
    } else {
        *reinterpret_cast<uint4*>(to) = gather_bf16x8(from, exist);
    }
}

// What one thread copies of every stage: chunk threadIdx % kChunks of each kRowStep-th row. Addresses of rows that do
// not exist are never read.
struct Source {
    const bf16* x;
    const bf16* w;
    // Rows from the thread's first one to the end.
    int x_rows, w_rows;
};
constexpr int kRowStep = kThreads / kChunks;

// SwiGLU's tile takes turns, eight rows of the gate and the same eight of the value, so that a thread's neighbouring
// fragments hold both.
template <class T, Epilogue kEpilogue>
__device__ __forceinline__ Source own_source(const LinearParams& p, uint2 tile) {
    uint32_t row = threadIdx.x / kChunks, k = threadIdx.x % kChunks * 8;
    uint32_t x_row = tile.x * T::kM + row, w_row = tile.y * T::kN + row, column = w_row;
    if constexpr (kEpilogue == kSwiGlu) {
        column = tile.y * (T::kN / 2) + row / 16 * 8 + row % 8;
        w_row = row / 8 % 2 * p.columns + column;
    }
    return {p.x + static_cast<size_t>(x_row) * p.x_stride + k,
            p.weight + static_cast<size_t>(w_row) * p.weight_stride + k, static_cast<int>(p.rows - x_row),
            static_cast<int>(p.columns - column)};
}

// Starts the copies of the stage that begins at element `k`.
template <class T, Epilogue kEpilogue, bool kVectors>
__device__ __forceinline__ void copy_stage(bf16* stage, const LinearParams& p, const Source& source, uint32_t k) {
    constexpr int kColumnStep = kEpilogue == kSwiGlu ? kRowStep / 2 : kRowStep;
    int row = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
    int exist = static_cast<int>(p.inner - k) - chunk * 8;
    bf16* to = stage + swizzled(row, chunk);
#pragma unroll
    for (int i = 0; i < T::kM / kRowStep; i++) {
        const bf16* from = source.x + k + static_cast<size_t>(i * kRowStep) * p.x_stride;
        copy_chunk<kVectors>(to + i * kRowStep * kTileK, from, source.x_rows > i * kRowStep ? exist : 0);
    }
#pragma unroll
    for (int i = 0; i < T::kN / kRowStep; i++) {
        const bf16* from = source.w + k + static_cast<size_t>(i * kColumnStep) * p.weight_stride;
        int rows = source.w_rows - i * kColumnStep;
        copy_chunk<kVectors>(to + (T::kM + i * kRowStep) * kTileK, from, rows > 0 ? exist : 0);
    }
}

// Reads the operands of step `step` (0 or 1) of a stage.
template <class T>
__device__ __forceinline__ void load_fragments(Fragments<T>& to, const bf16* stage, int step) {
    int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    int x_row = warp / 2 * (T::kM / 2) + lane % 16, w_row = warp % 2 * (T::kN / 2) + lane / 16 * 8 + lane % 8;
#pragma unroll
    for (int i = 0; i < T::kRowTiles; i++)
        load_matrix_x4(to.x[i], stage + swizzled(x_row, step * 2 + lane / 16) + i * 16 * kTileK);
#pragma unroll
    for (int i = 0; i < T::kColumnTiles / 2; i++)
        load_matrix_x4(to.w[i], stage + swizzled(w_row, step * 2 + lane / 8 % 2) + (T::kM + i * 16) * kTileK);
}

template <class T>
__device__ __forceinline__ void multiply(float (&sums)[T::kRowTiles][T::kColumnTiles][4], const Fragments<T>& from) {
#pragma unroll
    for (int i = 0; i < T::kRowTiles; i++)
#pragma unroll
        for (int j = 0; j < T::kColumnTiles; j++)
            mma_bf16(sums[i][j], from.x[i], from.w[j / 2][j % 2 * 2], from.w[j / 2][j % 2 * 2 + 1]);
}

// Adds bias, applies the epilogue and stores `column` and the three after it, where they exist.
template <Epilogue kEpilogue>
__device__ __forceinline__ void finish_four(const LinearParams& p, uint32_t row, uint32_t column, float4 sums) {
    if (row >= p.rows || column >= p.columns) return;
    Out out{p.out, p.floats != 0};
    size_t at = static_cast<size_t>(row) * p.columns + column;
    float v[4] = {sums.x, sums.y, sums.z, sums.w};
    if (p.fours) {
        if (p.bias != nullptr) add_four(v, load_four(p.bias + column));
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = activate<kEpilogue>(v[i]);
        if constexpr (kEpilogue == kResidual) add_four(v, load_out_four(out, at));
        return store_out_four(out, at, v);
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        if (column + i >= p.columns) return;
        if (p.bias != nullptr) v[i] += to_float(p.bias[column + i]);
        float value = activate<kEpilogue>(v[i]);
        store_out(out, at + i, kEpilogue == kResidual ? load_out(out, at + i) + value : value);
    }
}

// The end of a tile: a thread holds pairs of columns of rows lane/4 and lane/4 + 8 of each 16 × 8 piece.
template <class T, Epilogue kEpilogue>
__device__ __forceinline__ void finish(const LinearParams& p, uint2 tile,
                                       const float (&sums)[T::kRowTiles][T::kColumnTiles][4]) {
    int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    uint32_t row = tile.x * T::kM + warp / 2 * (T::kM / 2) + lane / 4;
    // Pieces of outputs: a gate's and a value's make one.
    constexpr int kEach = kEpilogue == kSwiGlu ? 2 : 1;
    uint32_t column = (tile.y * T::kN + warp % 2 * (T::kN / 2)) / kEach + traded_column();
#pragma unroll
    for (int i = 0; i < T::kRowTiles; i++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            auto piece = [&](int j) {
                const float* v = sums[i][j * kEach] + 2 * half;
                if constexpr (kEpilogue == kSwiGlu) {
                    const float* value = sums[i][j * kEach + 1] + 2 * half;
                    return make_float2(swiglu(v[0], value[0]), swiglu(v[1], value[1]));
                } else {
                    return make_float2(v[0], v[1]);
                }
            };
#pragma unroll
            for (int j = 0; j < T::kColumnTiles / kEach; j += 2)
                finish_four<kEpilogue>(p, row + i * 16 + half * 8, column + j * 8, trade(piece(j), piece(j + 1)));
        }
    }
}

// The tile of this block: kGroup tile rows take turns before the next tile column, so that blocks which run at the same
// time share strips of both x and W.
template <class T, Epilogue kEpilogue>
__device__ __forceinline__ uint2 own_tile(const LinearParams& p) {
    constexpr uint32_t kWidth = kEpilogue == kSwiGlu ? T::kN / 2 : T::kN;
    uint32_t tile_rows = (p.rows + T::kM - 1) / T::kM, tile_columns = (p.columns + kWidth - 1) / kWidth;
    uint32_t group = blockIdx.x / (kGroup * tile_columns), within = blockIdx.x % (kGroup * tile_columns);
    uint32_t left = tile_rows - group * kGroup, height = left < kGroup ? left : kGroup;
    return make_uint2(group * kGroup + within % height, within / height);
}

template <class T, Epilogue kEpilogue, bool kVectors>
__device__ __forceinline__ void tiled(const LinearParams& p, bf16* stages) {
    uint2 tile = own_tile<T, kEpilogue>(p);
    Source source = own_source<T, kEpilogue>(p, tile);
    // One stage of zeros where there is nothing to sum.
    int count = p.inner == 0 ? 1 : static_cast<int>((p.inner + kTileK - 1) / kTileK);
    auto copy = [&](int stage) {
        if (stage < count) {
            bf16* to = stages + stage % kStages * T::kStage;
            copy_stage<T, kEpilogue, kVectors>(to, p, source, static_cast<uint32_t>(stage) * kTileK);
        }
        copy_async_commit();  // one group a stage, even if empty: the waits below count groups
    };
    float sums[T::kRowTiles][T::kColumnTiles][4] = {};
    Fragments<T> fragments[2];
#pragma unroll
    for (int stage = 0; stage < kStages - 1; stage++) copy(stage);
    copy_async_wait<kStages - 2>();
    __syncthreads();  // stage 0 is there for everyone
    load_fragments<T>(fragments[0], stages, 0);
    for (int stage = 0; stage < count; stage++) {
        // The second step's operands arrive while the tensor cores work on the first's.
        load_fragments<T>(fragments[1], stages + stage % kStages * T::kStage, 1);
        copy(stage + kStages - 1);  // into the place of the last stage, which everyone has left
        multiply<T>(sums, fragments[0]);
        if (stage + 1 < count) {
            copy_async_wait<kStages - 2>();
            __syncthreads();  // the next stage is there for everyone, and everyone has read this one
            load_fragments<T>(fragments[0], stages + (stage + 1) % kStages * T::kStage, 0);
        }
        multiply<T>(sums, fragments[1]);
    }
    finish<T, kEpilogue>(p, tile, sums);
}

// Large tiles: 128 sums and 64 operands a thread, two blocks on a multiprocessor (64 KiB each). Small ones for grids
// that would leave multiprocessors idle: 32 sums, 32 operands, 32 KiB.
#define LINEAR_KERNELS(name, kEpilogue)                                      \
    KERNEL_RESIDENT(linear_large_##name##_kernel, LinearParams, kThreads, 2) { \
        DYNAMIC_SHARED(memory);                                              \
        tiled<Large, kEpilogue, true>(p, reinterpret_cast<bf16*>(memory));   \
    }                                                                        \
    KERNEL_RESIDENT(linear_small_##name##_kernel, LinearParams, kThreads, 4) { \
        DYNAMIC_SHARED(memory);                                              \
        tiled<Small, kEpilogue, true>(p, reinterpret_cast<bf16*>(memory));   \
    }                                                                        \
    KERNEL_RESIDENT(linear_any_##name##_kernel, LinearParams, kThreads, 3) { \
        DYNAMIC_SHARED(memory);                                              \
        tiled<Small, kEpilogue, false>(p, reinterpret_cast<bf16*>(memory));  \
    }
LINEAR_KERNELS(none, kNone)
LINEAR_KERNELS(gelu_erf, kGeluErf)
LINEAR_KERNELS(gelu_tanh, kGeluTanh)
LINEAR_KERNELS(tanh, kTanh)
LINEAR_KERNELS(residual, kResidual)
LINEAR_KERNELS(swiglu, kSwiGlu)
