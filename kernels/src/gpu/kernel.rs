//! A compiled entry point, and the checked addresses that its parameter block is made of.
use super::Gpu;
use super::turn::Turn;
use crate::{DType, Error, Result, View, ViewMut};
use std::cell::RefCell;
use std::ops::Range;

/// What one launch runs.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block along x, y and z.
    pub threads: [u32; 3],
    /// Bytes of dynamic shared memory of each block.
    pub shared_bytes: u32,
}

/// An entry point of a `kernel.cu`: by name in the driver's module, by address in the emulator.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// The name in the module.
    pub name: &'static str,
    /// Threads of a block; the source says the same.
    pub threads: u32,
    /// What the emulator runs. A kernel of instructions that it lacks has none.
    #[cfg(feature = "emulator")]
    pub twin: Option<Twin>,
}

/// A kernel as the host's C++ compiler built it.
#[cfg(feature = "emulator")]
#[derive(Clone, Copy)]
pub struct Twin {
    /// As it is.
    pub plain: med2e3_simt::Entry,
    /// The same, reporting every memory access.
    pub checked: med2e3_simt::Entry,
    /// Threads of a block as the source has it.
    pub threads: unsafe extern "C" fn() -> u32,
}

/// `kernel!(name, THREADS)`: the [`Kernel`] of the entry point `name`.
#[cfg(feature = "emulator")]
macro_rules! kernel {
    ($name:ident, $threads:expr) => {{
        unsafe extern "C" {
            #[link_name = concat!("simt_plain_", stringify!($name))]
            fn plain(params: *const std::ffi::c_void);
            #[link_name = concat!("simt_checked_", stringify!($name))]
            fn checked(params: *const std::ffi::c_void);
            #[link_name = concat!("simt_plain_", stringify!($name), "_threads")]
            fn threads() -> u32;
        }
        let twin = Some($crate::gpu::kernel::Twin { plain, checked, threads });
        $crate::gpu::kernel::Kernel { name: stringify!($name), threads: $threads, twin }
    }};
}

/// `kernel!(name, THREADS)`: the [`Kernel`] of the entry point `name`.
#[cfg(not(feature = "emulator"))]
macro_rules! kernel {
    ($name:ident, $threads:expr) => {
        $crate::gpu::kernel::Kernel { name: stringify!($name), threads: $threads }
    };
}
pub(crate) use kernel;

/// A device address inside a parameter block; null stands for an absent tensor.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Ptr(u64);

impl Ptr {
    /// No tensor.
    pub const NULL: Self = Self(0);

    /// The start of a window of the device's own memory.
    pub(super) fn of(view: &mut ViewMut<'_>) -> Self {
        Self(view.addr().addr() as u64)
    }

    /// Whether it lies on a boundary of `bytes`.
    pub fn is_aligned(self, bytes: u64) -> bool {
        self.0.is_multiple_of(bytes)
    }
}

/// The flag of kernels that read eight elements of bf16 at once: 1 if rows of `width` elements that start at these
/// addresses all lie on 16-byte boundaries.
pub(crate) fn vectors(width: usize, tensors: &[Ptr]) -> u32 {
    u32::from(width.is_multiple_of(8) && tensors.iter().all(|tensor| tensor.is_aligned(16)))
}

/// The largest size that a kernel is handed.
const SIZE_MAX: usize = 1 << 30;

/// Checks the tensors of one op call and turns them into addresses.
pub(crate) struct Args<'a> {
    pub gpu: &'a Gpu,
    pub op: &'static str,
    /// Where the tensors lie so far.
    spans: RefCell<Vec<Span>>,
    /// Until the op has enqueued its last launch.
    _turn: Turn<'a>,
}

/// One tensor's bytes.
struct Span {
    tensor: &'static str,
    bytes: Range<usize>,
    is_output: bool,
}

impl<'a> Args<'a> {
    /// For a call of `op`.
    pub(super) fn new(gpu: &'a Gpu, op: &'static str) -> Self {
        Self { gpu, op, spans: RefCell::new(Vec::with_capacity(16)), _turn: gpu.turns.take() }
    }

    /// The address of an input of activations or weights.
    pub fn bf16(&self, tensor: &'static str, view: &View<'_>) -> Result<Ptr> {
        self.typed(tensor, view, DType::Bf16)
    }

    /// The address of an input, or null.
    pub fn optional(&self, tensor: &'static str, view: &Option<View<'_>>) -> Result<Ptr> {
        view.as_ref().map_or(Ok(Ptr::NULL), |view| self.bf16(tensor, view))
    }

    /// The address of an input of the given element type, whose rows follow each other without gaps.
    pub fn typed(&self, tensor: &'static str, view: &View<'_>, dtype: DType) -> Result<Ptr> {
        if !view.is_contiguous() {
            return self.refuse(format!("{tensor}'s rows lie {} elements apart, wanted no gaps", view.stride()));
        }
        self.strided(tensor, view, dtype)
    }

    /// The address of an input whose rows may lie apart: for kernels that are told the stride.
    pub fn strided(&self, tensor: &'static str, view: &View<'_>, dtype: DType) -> Result<Ptr> {
        self.address(tensor, view, dtype, false)
    }

    /// The address of an output of activations.
    pub fn out(&self, tensor: &'static str, view: &mut ViewMut<'_>) -> Result<Ptr> {
        self.out_typed(tensor, view, DType::Bf16)
    }

    /// The address of an output of the given element type.
    pub fn out_typed(&self, tensor: &'static str, view: &mut ViewMut<'_>, dtype: DType) -> Result<Ptr> {
        self.address(tensor, &view.as_view(), dtype, true)
    }

    fn address(&self, tensor: &'static str, view: &View<'_>, wanted: DType, is_output: bool) -> Result<Ptr> {
        let at = view.addr().addr();
        let space = view.space();
        let found = view.dtype();
        if space != self.gpu.space() {
            let own = self.gpu.space();
            return self.refuse(format!("{tensor} lies in the memory of {space:?}, but the op runs on {own:?}"));
        }
        if found != wanted {
            return self.refuse(format!("{tensor} holds {found:?}, wanted {wanted:?}"));
        }
        if !at.is_multiple_of(found.bytes()) {
            let step = found.bytes();
            return self.refuse(format!("{tensor} starts at {at:#x}, wanted a multiple of {step}"));
        }
        self.place(Span { tensor, bytes: view.span(), is_output })?;
        Ok(Ptr(at as u64))
    }

    /// Notes where a tensor lies. Borrows keep what an op writes apart from what it reads, unless unsafe code made two
    /// tensors of the same memory.
    fn place(&self, span: Span) -> Result<()> {
        let mut spans = self.spans.borrow_mut();
        let meets = |other: &&Span| {
            (span.is_output || other.is_output)
                && span.bytes.start.max(other.bytes.start) < span.bytes.end.min(other.bytes.end)
        };
        if let Some(other) = spans.iter().find(meets) {
            let [first, second] = [other, &span].map(|span| format!("{} at {:#x?}", span.tensor, span.bytes));
            return self.refuse(format!("{first} and {second} overlap, and one of them is written"));
        }
        self.gpu.note_use(span.bytes.clone());
        spans.push(span);
        Ok(())
    }

    /// A size as kernels take it: they count in `u32` and `int`, and add a tile's size to it.
    pub fn size(&self, name: &str, size: usize) -> Result<u32> {
        if size > SIZE_MAX {
            return self.refuse(format!("{name} is {size}, more than {SIZE_MAX}"));
        }
        Ok(size as u32)
    }

    /// An error of this op.
    pub fn refuse<T>(&self, detail: String) -> Result<T> {
        Err(Error::Contract { op: self.op, detail })
    }
}
