// linear: out = epilogue(x · Wᵀ + b) for up to sixteen rows, weights streamed from memory once.
//
// Tensors   x [rows, inner] bf16, rows x_stride apart; weight [columns, inner] bf16 (SwiGLU: the gate's rows, then the
//           value's), rows weight_stride apart; bias [columns] bf16 or null; out [rows, columns] bf16 or f32.
// Numerics  products of bf16 summed in f32: eight warps' shares along k, then these in order; bias and epilogue in f32;
//           one rounding, at the store. A row's bits do not depend on the other rows.
// Launch    one block of kFewThreads per sixteen columns (SwiGLU: eight); any sizes; `any` kernels load element by
//           element where a row is not on a 16-byte boundary or inner does not divide by 8.
// Traffic   2 bytes per weight, each read once; x from cache, at most as often as the weights' 16 bytes: 2 bytes of
//           first-level cache per weight and eight rows. Predicted: 90 % of what memory gives, from 64 KiB in flight.
// Source    the reading order is ours; see few_rows.cuh.
#include "few_linear.cuh"

#define FEW_KERNELS(name, kEpilogue)                                                            \
    KERNEL_RESIDENT(linear_few_##name##_kernel, FewLinearParams, kFewThreads, kFewBlocks) {     \
        few_linear<kEpilogue, true, false>(p);                                                  \
    }                                                                                           \
    KERNEL(linear_few_any_##name##_kernel, FewLinearParams, kFewThreads) {                      \
        few_linear<kEpilogue, false, false>(p);                                                 \
    }
FEW_KERNELS(none, kNone)
FEW_KERNELS(gelu_erf, kGeluErf)
FEW_KERNELS(gelu_tanh, kGeluTanh)
FEW_KERNELS(tanh, kTanh)
FEW_KERNELS(residual, kResidual)
FEW_KERNELS(swiglu, kSwiGlu)
