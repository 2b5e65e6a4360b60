// The compiled half of the emulator: which emulated thread runs here, and the compiler's memory hooks.
//
// Kernels of the checked build are compiled with -fsanitize=thread but not linked to its library: these are the hooks.
// They sort out a fiber's own stack and its thread record, which need no check, and hand on the rest.
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>

#include "simt.h"

extern "C" {
__thread SimtThread* simt_self = nullptr;

SimtThread** simt_self_slot() { return &simt_self; }

// The same thread for as long as a kernel's function runs: declared `const` to kernels.
SimtThread* simt_current() { return simt_self; }

// Whether an address belongs to the program or a library: a constant of a kernel.
int simt_in_program(const void* address) {
    Dl_info info;
    return dladdr(address, &info);
}

// check.rs; kind 0 reads, 1 writes. `aligned` where the compiler relies on the natural boundary.
void simt_access(const void* address, uint64_t bytes, uint32_t kind, uint32_t aligned, const void* pc);
}

static inline bool is_private(const void* address) {
    const SimtThread* self = simt_self;
    uintptr_t at = reinterpret_cast<uintptr_t>(address);
    return at - self->stack_low < self->stack_bytes || at - reinterpret_cast<uintptr_t>(self) < sizeof(SimtThread);
}

#define HOOK(name, bytes, kind, aligned)                                                     \
    extern "C" void name(const void* address) {                                              \
        if (!is_private(address)) simt_access(address, bytes, kind, aligned, __builtin_return_address(0)); \
    }
#define HOOKS(bytes)                                \
    HOOK(__tsan_read##bytes, bytes, 0, 1)           \
    HOOK(__tsan_write##bytes, bytes, 1, 1)          \
    HOOK(__tsan_unaligned_read##bytes, bytes, 0, 0) \
    HOOK(__tsan_unaligned_write##bytes, bytes, 1, 0)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

extern "C" void __tsan_read_range(const void* address, size_t bytes) {
    if (!is_private(address)) simt_access(address, bytes, 0, 0, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(const void* address, size_t bytes) {
    if (!is_private(address)) simt_access(address, bytes, 1, 0, __builtin_return_address(0));
}
extern "C" void __tsan_init() {}
