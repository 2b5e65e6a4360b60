// Device code as a host compiler sees it: CUDA's names, with every thread a fiber of the emulator.
//
// Functions and kernels are `static`, so that one source can be compiled twice (plain and checked) into one program.
// Warp instructions collect one payload per lane; the last lane to arrive runs `exec` over all of them.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

struct SimtDim3 {
    uint32_t x, y, z;
};

// One emulated thread; the same layout as `Thread` in thread.rs.
struct SimtThread {
    SimtDim3 thread_idx, block_idx, block_dim, grid_dim;
    uint32_t linear, lane, warp, reserved;
    unsigned char* dynamic_shared;
    uintptr_t stack_low, stack_bytes;
};

#define SIMT_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define SIMT_UNSEEN __attribute__((noinline, no_sanitize("thread")))

// Warp instructions; the same numbers as `Collective` in collective.rs.
enum SimtKind : uint32_t { kSyncWarp, kShuffle, kVote, kLdMatrix, kMma };

struct SimtSite {
    const char* file;
    int line;
};
struct SimtShuffle {
    const void* in;
    void* out;
    uint32_t bytes, source;
    SimtSite site;
};
struct SimtVote {
    uint32_t predicate, out;
};
struct SimtLdMatrix {
    const void* row;
    uint32_t* out;
    uint32_t count, transposed, linear;
    const char* file;
    int line;
};
// D += A·B on one warp's fragments; `type` 0 bf16, 1 f16 (both m16n8k16, f32 sums), 2 int8 (m16n8k32, i32 sums).
struct SimtMma {
    void* d;
    const uint32_t *a, *b;
    uint32_t type;
};

extern "C" {
#ifdef __SANITIZE_THREAD__
// A function without effects instead of a variable, whose every read would be reported.
SimtThread* simt_current() __attribute__((const));
#define simt_self simt_current()
#else
extern __thread SimtThread* simt_self;
#endif
typedef void (*SimtExec)(void**, uint32_t);
void simt_barrier(uint32_t id, uint32_t threads, const char* file, int line);
void simt_collective(uint32_t mask, uint32_t kind, void* payload, SimtExec exec, const char* file, int line);
void simt_exec_nothing(void**, uint32_t);
void simt_exec_shuffle(void**, uint32_t);
void simt_exec_vote(void**, uint32_t);
void simt_exec_ldmatrix(void**, uint32_t);
void simt_exec_mma(void**, uint32_t);
void* simt_static_shared(const void* key, size_t bytes, size_t align, const char* file, int line);
void simt_copy_issue(void* dst, const void* src, uint32_t bytes, uint32_t src_bytes, const char* file, int line);
void simt_copy_commit();
void simt_copy_wait(uint32_t keep, const char* file, int line);
void simt_atomic_access(const void* address, uint32_t bytes, const char* file, int line);
void simt_trap(const char* what, const char* file, int line);
}

#define __device__ static __attribute__((unused))
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __align__(n) alignas(n)
#define threadIdx (simt_self->thread_idx)
#define blockIdx (simt_self->block_idx)
#define blockDim (simt_self->block_dim)
#define gridDim (simt_self->grid_dim)

// ---- synchronisation and warp exchange
__device__ inline void __syncthreads(SIMT_HERE) { simt_barrier(0, 0, file, line); }
__device__ inline void __syncwarp(uint32_t mask = 0xffffffffu, SIMT_HERE) {
    simt_collective(mask, kSyncWarp, nullptr, simt_exec_nothing, file, line);
}
template <class T>
__device__ inline T simt_shuffle(uint32_t mask, T value, uint32_t source, const char* file, int line) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    T out;
    SimtShuffle payload{&value, &out, sizeof(T), source, {file, line}};
    simt_collective(mask, kShuffle, &payload, simt_exec_shuffle, file, line);
    return out;
}
template <class T>
__device__ inline T __shfl_sync(uint32_t mask, T value, int source, int width = 32, SIMT_HERE) {
    uint32_t first = simt_self->lane & ~uint32_t(width - 1);
    return simt_shuffle(mask, value, first | (uint32_t(source) & uint32_t(width - 1)), file, line);
}
template <class T>
__device__ inline T __shfl_xor_sync(uint32_t mask, T value, int lanes, int width = 32, SIMT_HERE) {
    uint32_t lane = simt_self->lane, source = lane ^ uint32_t(lanes);
    bool inside = (source & ~uint32_t(width - 1)) == (lane & ~uint32_t(width - 1));
    return simt_shuffle(mask, value, inside ? source : lane, file, line);
}
template <class T>
__device__ inline T __shfl_up_sync(uint32_t mask, T value, uint32_t delta, int width = 32, SIMT_HERE) {
    uint32_t lane = simt_self->lane, within = lane & uint32_t(width - 1);
    return simt_shuffle(mask, value, within >= delta ? lane - delta : lane, file, line);
}
template <class T>
__device__ inline T __shfl_down_sync(uint32_t mask, T value, uint32_t delta, int width = 32, SIMT_HERE) {
    uint32_t lane = simt_self->lane, within = lane & uint32_t(width - 1);
    return simt_shuffle(mask, value, within + delta < uint32_t(width) ? lane + delta : lane, file, line);
}
__device__ inline uint32_t __ballot_sync(uint32_t mask, int predicate, SIMT_HERE) {
    SimtVote payload{predicate != 0, 0};
    simt_collective(mask, kVote, &payload, simt_exec_vote, file, line);
    return payload.out;
}
__device__ inline int __any_sync(uint32_t mask, int predicate, SIMT_HERE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}
__device__ inline int __all_sync(uint32_t mask, int predicate, SIMT_HERE) {
    return __ballot_sync(mask, predicate, file, line) == mask;
}

// ---- atomics; blocks may run on several OS threads
template <class T, class F>
SIMT_UNSEEN static T simt_update(T* address, F change) {
    using Word = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    Word old = __atomic_load_n(reinterpret_cast<Word*>(address), __ATOMIC_RELAXED), next;
    T before;
    do {
        memcpy(&before, &old, sizeof(T));
        T after = change(before);
        memcpy(&next, &after, sizeof(T));
    } while (!__atomic_compare_exchange_n(reinterpret_cast<Word*>(address), &old, next, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    return before;
}
template <class T>
__device__ inline T atomicAdd(T* address, T value, SIMT_HERE) {
    simt_atomic_access(address, sizeof(T), file, line);
    return simt_update(address, [=](T old) __attribute__((no_sanitize("thread"))) { return T(old + value); });
}
template <class T>
__device__ inline T atomicMax(T* address, T value, SIMT_HERE) {
    simt_atomic_access(address, sizeof(T), file, line);
    return simt_update(address,
                       [=](T old) __attribute__((no_sanitize("thread"))) { return old > value ? old : value; });
}
template <class T>
__device__ inline T atomicMin(T* address, T value, SIMT_HERE) {
    simt_atomic_access(address, sizeof(T), file, line);
    return simt_update(address,
                       [=](T old) __attribute__((no_sanitize("thread"))) { return old < value ? old : value; });
}
template <class T>
__device__ inline T atomicExch(T* address, T value, SIMT_HERE) {
    simt_atomic_access(address, sizeof(T), file, line);
    return simt_update(address, [=](T) __attribute__((no_sanitize("thread"))) { return value; });
}
template <class T>
__device__ inline T atomicCAS(T* address, T expected, T value, SIMT_HERE) {
    simt_atomic_access(address, sizeof(T), file, line);
    return simt_update(
        address, [=](T old) __attribute__((no_sanitize("thread"))) { return old == expected ? value : old; });
}

// ---- numbers
struct __nv_bfloat16 {
    uint16_t x;
};
struct __align__(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
struct __align__(8) float2 {
    float x, y;
};
struct __align__(16) float4 {
    float x, y, z, w;
};
struct __align__(8) uint2 {
    uint32_t x, y;
};
struct __align__(16) uint4 {
    uint32_t x, y, z, w;
};
__device__ inline float2 make_float2(float x, float y) { return {x, y}; }
__device__ inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
__device__ inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
__device__ inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
__device__ inline float __uint_as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
__device__ inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
__device__ inline float __bfloat162float(__nv_bfloat16 value) { return __uint_as_float(uint32_t(value.x) << 16); }
__device__ inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
    return {uint16_t((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16)};
}
__device__ inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
    return {__float2bfloat16_rn(low), __float2bfloat16_rn(high)};
}
__device__ inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
__device__ inline float __fdividef(float a, float b) { return a / b; }
__device__ inline int min(int a, int b) { return a < b ? a : b; }
__device__ inline int max(int a, int b) { return a > b ? a : b; }
__device__ inline int __popc(uint32_t bits) { return __builtin_popcount(bits); }
__device__ inline int __ffs(int bits) { return __builtin_ffs(bits); }
__device__ inline uint32_t __umulhi(uint32_t a, uint32_t b) { return uint32_t((uint64_t(a) * b) >> 32); }
template <class T>
__device__ inline T __ldg(const T* address) {
    return *address;
}
