// preprocess_volume: scales intensities, crops to the box of voxels above 0 and resizes it, in four launches.
//
// Tensors   volume [slices, height, width], out [out slices, out height, out width], f32; crop [6], u32; state, between
//           the launches.
// Numerics  intensities scaled in f64, rounded to f32; places along an axis in f32, every operation rounded, as PyTorch
//           has them; blends in f32. Range and box are minima and maxima of whole numbers, the same in any order.
// Launch    start: one warp. range, box: a warp per row, any number of blocks. resize: a thread per voxel of out.
// Traffic   volume read twice, its box once more where it is shrunk, out written. 512 x 512 x 512 to 32 x 256 x 256:
//           2 * 537 + 67 + 8 MB, 0.6 ms at 2.04 TB/s.
// Source    MONAI 1.3, CropForeground and Resize(mode="trilinear").
#include "order.cuh"

constexpr int kThreads = 256;
constexpr uint32_t kWarps = kThreads / kWarp;

// Lowest and highest voxel as keys; first index and one past the last along each axis.
struct PreprocessState {
    uint32_t low, high;
    uint32_t first[3], end[3];
};

struct PreprocessParams {
    const float* volume;
    float* out;
    uint32_t* crop;
    PreprocessState* state;
    uint32_t size[3];
    uint32_t out_size[3];
    float window_low, window_high;
    uint32_t scales;
};
static_assert(sizeof(PreprocessParams) == 72 && offsetof(PreprocessParams, scales) == 64);

// Clipping to low..high, and what becomes 0 and 1.
struct Scaling {
    float low, high;
    double base, span;
};

__device__ __forceinline__ Scaling scaling_of(const PreprocessParams& p) {
    if (!p.scales) return {-INFINITY, INFINITY, 0.0, 1.0};
    float low = fminf(fmaxf(value_of(p.state->low), p.window_low), p.window_high);
    float high = fminf(fmaxf(value_of(p.state->high), p.window_low), p.window_high);
    return {low, high, low, static_cast<double>(high) - static_cast<double>(low)};
}

__device__ __forceinline__ float scaled(const Scaling& scaling, float voxel) {
    float clipped = fminf(fmaxf(voxel, scaling.low), scaling.high);
    return static_cast<float>((static_cast<double>(clipped) - scaling.base) / scaling.span);
}

KERNEL(preprocess_start_kernel, PreprocessParams, kWarp) {
    if (threadIdx.x == 0) *p.state = {~0u, 0, {~0u, ~0u, ~0u}, {0, 0, 0}};
}

KERNEL(preprocess_range_kernel, PreprocessParams, kThreads) {
    SHARED(uint32_t, found, 2);
    if (threadIdx.x == 0) {
        found[0] = ~0u;
        found[1] = 0;
    }
    __syncthreads();  // the block's range is empty
    uint64_t voxels = static_cast<uint64_t>(p.size[0]) * p.size[1] * p.size[2];
    uint64_t step = static_cast<uint64_t>(gridDim.x) * kThreads;
    float low = INFINITY, high = -INFINITY;
#pragma unroll 4
    for (uint64_t i = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x; i < voxels; i += step) {
        low = fminf(low, p.volume[i]);
        high = fmaxf(high, p.volume[i]);
    }
    atomicMin(&found[0], order_key(low));
    atomicMax(&found[1], order_key(high));
    __syncthreads();  // the block's range is complete: one atomic per block goes to global memory
    if (threadIdx.x == 0) {
        atomicMin(&p.state->low, found[0]);
        atomicMax(&p.state->high, found[1]);
    }
}

KERNEL(preprocess_box_kernel, PreprocessParams, kThreads) {
    SHARED(uint32_t, first, 3);
    SHARED(uint32_t, end, 3);
    if (threadIdx.x < 3) {
        first[threadIdx.x] = ~0u;
        end[threadIdx.x] = 0;
    }
    __syncthreads();  // the block's box is empty
    Scaling scaling = scaling_of(p);
    // The share of 2^-150 that f32 rounds to 0 after the division; nothing is above an infinite bound.
    double least = scaling.span > 0.0 ? scaling.span * 7.006492321624085e-46 : INFINITY;
    uint64_t rows = static_cast<uint64_t>(p.size[0]) * p.size[1];
    // Every thread keeps a box of its own until the end: atomics in every row would take longer than the memory.
    uint32_t own_first[3] = {~0u, ~0u, ~0u}, own_end[3] = {0, 0, 0};
    auto widen = [&](int axis, uint32_t place) {
        own_first[axis] = own_first[axis] < place ? own_first[axis] : place;
        own_end[axis] = own_end[axis] > place ? own_end[axis] : place + 1;
    };
    for (uint64_t row = static_cast<uint64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp; row < rows;
         row += static_cast<uint64_t>(gridDim.x) * kWarps) {
        const float* line = p.volume + row * p.size[2];
        bool any = false;
#pragma unroll 4
        for (uint32_t column = threadIdx.x % kWarp; column < p.size[2]; column += kWarp) {
            float clipped = fminf(fmaxf(line[column], scaling.low), scaling.high);
            if (static_cast<double>(clipped) - scaling.base > least) {
                any = true;
                widen(2, column);
            }
        }
        if (any) {
            widen(0, static_cast<uint32_t>(row / p.size[1]));
            widen(1, static_cast<uint32_t>(row % p.size[1]));
        }
    }
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
        atomicMin(&first[axis], own_first[axis]);
        atomicMax(&end[axis], own_end[axis]);
    }
    __syncthreads();  // the block's box is complete: one atomic per block goes to global memory
    if (threadIdx.x < 3) {
        atomicMin(&p.state->first[threadIdx.x], first[threadIdx.x]);
        atomicMax(&p.state->end[threadIdx.x], end[threadIdx.x]);
    }
}

// Where an output index samples its axis: `weight` belongs to `second`.
struct Tap {
    uint32_t first, second;
    float weight;
};

// f32 products and differences go through f64, where they are exact or rounded far below f32: no compiler may then fuse
// them, which would move a place by a rounding of its size.
__device__ __forceinline__ Tap tap_of(uint32_t start, uint32_t end, uint32_t size, uint32_t index) {
    uint32_t length = end - start;
    float ratio = static_cast<float>(length) / static_cast<float>(size);
    double centre = static_cast<double>(static_cast<float>(index) + 0.5f);
    float along = static_cast<float>(centre * static_cast<double>(ratio));
    float place = fmaxf(static_cast<float>(static_cast<double>(along) - 0.5), 0.0f);
    uint32_t first = static_cast<uint32_t>(place);
    first = first < length - 1 ? first : length - 1;
    float weight = fminf(fmaxf(place - static_cast<float>(first), 0.0f), 1.0f);
    return {start + first, start + (first + 1 < length - 1 ? first + 1 : length - 1), weight};
}

KERNEL(preprocess_resize_kernel, PreprocessParams, kThreads) {
    const PreprocessState& state = *p.state;
    bool empty = state.end[0] == 0;
    if (blockIdx.x == 0 && threadIdx.x < 6) {
        uint32_t axis = threadIdx.x / 2;
        p.crop[threadIdx.x] = empty ? 0 : threadIdx.x % 2 == 0 ? state.first[axis] : state.end[axis];
    }
    uint64_t index = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (index >= static_cast<uint64_t>(p.out_size[0]) * p.out_size[1] * p.out_size[2]) return;
    if (empty) {
        p.out[index] = NAN;
        return;
    }
    const uint64_t place[3] = {index / p.out_size[2] / p.out_size[1], index / p.out_size[2] % p.out_size[1],
                               index % p.out_size[2]};
    Tap taps[3];
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
        uint32_t at = static_cast<uint32_t>(place[axis]);
        taps[axis] = tap_of(state.first[axis], state.end[axis], p.out_size[axis], at);
    }
    Scaling scaling = scaling_of(p);
    auto along = [&](uint32_t slice, uint32_t row) {
        const float* line = p.volume + (static_cast<size_t>(slice) * p.size[1] + row) * p.size[2];
        float left = scaled(scaling, line[taps[2].first]), right = scaled(scaling, line[taps[2].second]);
        return left * (1.0f - taps[2].weight) + right * taps[2].weight;
    };
    auto across = [&](uint32_t row) {
        float near = along(taps[0].first, row), far = along(taps[0].second, row);
        return near * (1.0f - taps[0].weight) + far * taps[0].weight;
    };
    float above = across(taps[1].first), below = across(taps[1].second);
    p.out[index] = above * (1.0f - taps[1].weight) + below * taps[1].weight;
}
