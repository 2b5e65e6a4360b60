//! `x · Wᵀ` with a fused end, straight from weights in the checkpoint's own type.
//!
//! Few rows stream the weights once (`gemv`), in either precision, so that a decoding step of one answer and of sixteen
//! give each the same bits; many rows widen panels of them into a thread's scratch and multiply
//! register tiles (`gemm`), or multiply in bf16 (`fast`) if allowed. Each sum runs over the inner dimension in an order
//! that depends on neither the other rows nor the number of threads, so results repeat bit for bit.
use super::fast;
use super::lanes::Isa;
use crate::cpu::Precision;
use crate::ops::Epilogue;
use crate::{DECODE_ROWS_MAX, DType, Error, Result, View};
use half::{bf16, f16};

mod finish;
mod gemm;
mod gemv;
pub(crate) mod pack;

pub(crate) use finish::{Stretch, finish};

/// Weights as the checkpoint stores them.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> Weights<'a> {
    pub fn of(view: &View<'a>) -> Result<Self> {
        match view.dtype() {
            DType::F32 => view.host().map(Weights::F32),
            DType::F16 => view.host().map(Weights::F16),
            DType::Bf16 => view.host().map(Weights::Bf16),
            DType::U32 => Err(Error::Contract { op: "linear", detail: "weights are U32, wanted a float type".into() }),
        }
    }
}

/// One product and its end. All slices have exactly the sizes that `rows`, `inner` and `columns` give.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    /// `[rows, inner]`.
    pub x: &'a [f32],
    /// `[columns, inner]`, twice as many rows for SwiGLU.
    pub weights: Weights<'a>,
    /// `[columns]`.
    pub bias: Option<&'a [f32]>,
    pub epilogue: Epilogue,
    pub rows: usize,
    pub inner: usize,
    /// Columns of the output.
    pub columns: usize,
}

impl Product<'_> {
    /// Writes `[rows, columns]`; rounds x to bf16 where `precision` allows and the processor gains by it.
    pub fn run(&self, isa: Isa, precision: Precision, out: &mut [f32]) {
        let double = usize::from(self.epilogue == Epilogue::SwiGlu);
        let weights = match self.weights {
            Weights::F32(w) => w.len(),
            Weights::F16(w) => w.len(),
            Weights::Bf16(w) => w.len(),
        };
        assert_eq!(self.x.len(), self.rows * self.inner, "x");
        assert_eq!(weights, (self.columns << double) * self.inner, "weights");
        assert_eq!(out.len(), self.rows * self.columns, "out");
        assert!(self.bias.is_none_or(|bias| bias.len() == self.columns), "bias");
        if self.rows <= DECODE_ROWS_MAX {
            match self.weights {
                Weights::F32(w) => gemv::run(isa, self, w, out),
                Weights::F16(w) => gemv::run(isa, self, w, out),
                Weights::Bf16(w) => gemv::run(isa, self, w, out),
            }
        } else {
            if let (Weights::Bf16(w), Some(way)) = (self.weights, fast::way(precision))
                && fast::suits(self)
            {
                return fast::run(way, isa, self, w, out);
            }
            match self.weights {
                Weights::F32(w) => gemm::run(isa, self, w, out),
                Weights::F16(w) => gemm::run(isa, self, w, out),
                Weights::Bf16(w) => gemm::run(isa, self, w, out),
            }
        }
    }

    /// Whether weight rows come in pairs, gate and value.
    pub fn gated(&self) -> bool {
        self.epilogue == Epilogue::SwiGlu
    }
}

/// An output that tasks write disjoint parts of.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub *mut f32);

// SAFETY: a plain address; whoever writes through it argues that no other task touches the same elements.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}
