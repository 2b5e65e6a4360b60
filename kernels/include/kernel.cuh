// What every kernel.cu begins with: element types, shared memory, and how an entry point is declared.
//
// One source, three compilers: nvcc, NVRTC, and a host compiler with the emulator's simt.h (twice: plain, and with
// memory accesses reported to the emulator).
#pragma once
#ifdef __CUDACC__
#include <cuda_bf16.h>
#ifdef __CUDACC_RTC__
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using int32_t = int;
using uint64_t = unsigned long long;
using size_t = decltype(sizeof(0));
// NVRTC has no offsetof, and of the usual ways to write it its front end takes this alone for a constant.
#define offsetof(type, member) __INTADDR__(&(((type*)0)->member))
#else
#include <cstddef>
#include <cstdint>
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif
// An entry point: its name, its parameter block `p`, and the exact number of threads in a block.
#define KERNEL(name, Params, kBlockThreads) \
    extern "C" __global__ void __launch_bounds__(kBlockThreads) name(const __grid_constant__ Params p)
// As KERNEL, for at least `kBlocks` blocks on a multiprocessor at once.
#define KERNEL_RESIDENT(name, Params, kBlockThreads, kBlocks) \
    extern "C" __global__ void __launch_bounds__(kBlockThreads, kBlocks) name(const __grid_constant__ Params p)
// An array that the block shares.
#define SHARED(Type, name, count) __shared__ __align__(16) Type name[count]
// The shared memory that the launch asked for, on a 128-byte boundary.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
// Where a primitive was called; only the emulator wants to know.
#define HERE
#define HERE_ONLY
#define PASS_HERE
#else
#include "simt.h"
#define SIMT_JOIN_(a, b) a##b
#define SIMT_JOIN(a, b) SIMT_JOIN_(a, b)
#define KERNEL(name, Params, kBlockThreads)                                                        \
    static_assert((kBlockThreads) % 32 == 0 && (kBlockThreads) <= 1024);                           \
    static void __attribute__((noipa)) SIMT_JOIN(name, _body)(const Params& p);                    \
    extern "C" uint32_t SIMT_JOIN(SIMT_PREFIX, SIMT_JOIN(name, _threads))() { return kBlockThreads; } \
    extern "C" SIMT_UNSEEN void SIMT_JOIN(SIMT_PREFIX, name)(const void* params) {                 \
        SIMT_JOIN(name, _body)(*static_cast<const Params*>(params));                               \
    }                                                                                              \
    static void SIMT_JOIN(name, _body)(const Params& p)
#define KERNEL_RESIDENT(name, Params, kBlockThreads, kBlocks) KERNEL(name, Params, kBlockThreads)
#define SHARED(Type, name, count)                                                                  \
    static const char name##_key = 0;                                                              \
    Type* name = static_cast<Type*>(                                                               \
        simt_static_shared(&name##_key, sizeof(Type) * (count), alignof(Type), __FILE__, __LINE__))
#define DYNAMIC_SHARED(name) unsigned char* name = simt_self->dynamic_shared
#define HERE , SIMT_HERE
#define HERE_ONLY SIMT_HERE
#define PASS_HERE , file, line
#endif

using bf16 = __nv_bfloat16;

constexpr uint32_t kAllLanes = 0xffffffffu;
constexpr int kWarp = 32;
