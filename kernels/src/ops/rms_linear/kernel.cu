// rms_linear: out = epilogue(x / √(mean(x²) + eps) · norm · Wᵀ) for up to sixteen rows, weights read once.
//
// Tensors   x [rows, inner] bf16, rows x_stride apart; norm [inner] bf16; weight [columns, inner] bf16 (SwiGLU: the
//           gate's rows, then the value's); out [rows, columns] bf16 or f32.
// Numerics  x · norm rounded to bf16, as a norm of its own would round; products and squares summed in f32 in a fixed
//           order; the division by the root, one number a row, and the epilogue in f32; one rounding at the store.
// Launch    one block of kFewThreads per sixteen columns (SwiGLU: eight); any sizes; `any` kernels load element by
//           element where a row is not on a 16-byte boundary or inner does not divide by 8.
// Traffic   2 bytes per weight, each read once. The norm costs no pass of its own: no launch, and no wait before the
//           first weights are asked for. Its arithmetic, some 60 instructions for 2 KiB of weights, hides behind them.
// Source    Zhang and Sennrich 2019, eq. 4; the division after the sum is ours.
#include "few_linear.cuh"

KERNEL_RESIDENT(rms_linear_none_kernel, FewLinearParams, kFewThreads, kFewBlocks) { few_linear<kNone, true, true>(p); }
KERNEL_RESIDENT(rms_linear_swiglu_kernel, FewLinearParams, kFewThreads, kFewBlocks) {
    few_linear<kSwiGlu, true, true>(p);
}
KERNEL(rms_linear_any_none_kernel, FewLinearParams, kFewThreads) { few_linear<kNone, false, true>(p); }
KERNEL(rms_linear_any_swiglu_kernel, FewLinearParams, kFewThreads) { few_linear<kSwiGlu, false, true>(p); }
