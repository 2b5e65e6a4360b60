//! One thread per counter.
use super::Advance;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AdvanceParams {
    counters: Ptr,
    count: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<AdvanceParams>() == 16 && offset_of!(AdvanceParams, reserved) == 12);

const KERNEL: Kernel = kernel!(advance_kernel, 32);

pub(crate) fn run(gpu: &Gpu, mut op: Advance<'_>) -> Result<()> {
    let count = op.check()?;
    let args = gpu.args("advance")?;
    let counters = args.out_typed("counters", &mut op.counters, DType::U32)?;
    let params = AdvanceParams { counters, count: args.size("count", count)?, reserved: 0 };
    // SAFETY: the contract fixed [count] of u32; the layout is asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [params.count.div_ceil(KERNEL.threads), 1, 1], 0, &params) }
}
