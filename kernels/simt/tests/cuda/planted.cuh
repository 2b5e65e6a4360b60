// What the emulator's test kernels share. A kernel with a defect takes `fixed`, which mends it: its twin is itself.
#pragma once
#include "ptx.cuh"

struct Params {
    float* a;
    float* b;
    uint32_t fixed, size;
};
