//! The vector primitives that the CPU kernels are written over, and which implementation of them this machine runs.
use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

/// Vectors of `WIDTH` f32 values.
///
/// Every method is inlined into a caller that was compiled for the instructions it uses; only [`Isa::run`] makes such
/// callers.
///
/// # Safety
/// Of all methods: the processor has the instructions, and pointers are valid for the elements that the text names;
/// they need no alignment beyond their element's.
pub(crate) trait Lanes: Copy {
    /// Values in a vector.
    const WIDTH: usize;
    /// Rows of `x` that [`Lanes::multiply_tile`] multiplies at once: as many as the registers hold sums for.
    const TILE_ROWS: usize;
    /// A vector.
    type V: Copy;

    unsafe fn splat(value: f32) -> Self::V;
    /// Reads `WIDTH` values.
    unsafe fn load(at: *const f32) -> Self::V;
    /// Reads `WIDTH` values, exactly widened.
    unsafe fn load_bf16(at: *const bf16) -> Self::V;
    /// Reads `WIDTH` values, exactly widened.
    unsafe fn load_f16(at: *const f16) -> Self::V;
    /// Writes `WIDTH` values.
    unsafe fn store(at: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the processor can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of both; `b` where either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of both; `b` where either is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest integer, halves to even.
    unsafe fn round(v: Self::V) -> Self::V;
    /// `2^v` for integral `v` from -126 to 127.
    unsafe fn pow2(v: Self::V) -> Self::V;
    /// Eight runs of eight values, `stride` elements apart, to `to` with rows and columns exchanged; the rows of `to`
    /// are `to_stride` values apart.
    unsafe fn transpose8<S: Stored>(from: *const S, stride: usize, to: *mut f32, to_stride: usize);
    /// `out (+)= x · w`: `TILE_ROWS` rows of `x`, `x_stride` apart, by a packed panel `[depth, 2·WIDTH]`; `out` has
    /// `TILE_ROWS` rows of `2·WIDTH` values, `out_stride` apart. Sums run over `depth` in order.
    unsafe fn multiply_tile(depth: usize, x: Rows, w: *const f32, out: RowsMut, add: bool);
}

/// Rows of f32 values, `stride` values apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub at: *const f32,
    pub stride: usize,
}

/// As [`Rows`], for writing.
#[derive(Clone, Copy)]
pub(crate) struct RowsMut {
    pub at: *mut f32,
    pub stride: usize,
}

/// Element types that weights are stored in.
pub(crate) trait Stored: bytemuck::Pod + Send + Sync {
    /// Reads a vector of elements.
    ///
    /// # Safety
    /// As [`Lanes`].
    unsafe fn load<L: Lanes>(at: *const Self) -> L::V;
    /// One element.
    fn widen(self) -> f32;
}

impl Stored for f32 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(at: *const Self) -> L::V {
        // SAFETY: the caller's promise.
        unsafe { L::load(at) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(at: *const Self) -> L::V {
        // SAFETY: the caller's promise.
        unsafe { L::load_bf16(at) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Stored for f16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(at: *const Self) -> L::V {
        // SAFETY: the caller's promise.
        unsafe { L::load_f16(at) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32_const()
    }
}

/// A register tile of a product: `ROWS × 2` vectors of sums live in registers while `depth` runs.
///
/// # Safety
/// As [`Lanes::multiply_tile`], with `ROWS` rows.
#[inline(always)]
unsafe fn tile<L: Lanes, const ROWS: usize>(depth: usize, x: Rows, w: *const f32, out: RowsMut, add: bool) {
    // SAFETY: all addresses lie within the rows and the panel that the caller promised.
    unsafe {
        let mut sums = [[L::splat(0.0); 2]; ROWS];
        for k in 0..depth {
            let w0 = L::load(w.add(k * 2 * L::WIDTH));
            let w1 = L::load(w.add(k * 2 * L::WIDTH + L::WIDTH));
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = L::splat(*x.at.add(r * x.stride + k));
                sums[0] = L::fma(value, w0, sums[0]);
                sums[1] = L::fma(value, w1, sums[1]);
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                let at = out.at.add(r * out.stride + half * L::WIDTH);
                L::store(at, if add { L::add(L::load(at), sum) } else { sum });
            }
        }
    }
}

/// Eight values: what a target without vectors, or with short ones, handles well.
type Narrow = plain::Plain<8, 4>;

/// The width and the tile of AVX-512.
#[cfg(test)]
type Wide = plain::Plain<16, 12>;

/// Work that is written once for all vector widths.
pub(crate) trait Job {
    /// Does it; `#[inline(always)]`, and so must be all that it calls with vectors, closures included.
    ///
    /// # Safety
    /// The processor has `L`'s instructions, and the job's addresses are what its type says.
    unsafe fn run<L: Lanes>(self);
}

/// An instruction set that has [`Lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// What the target has by default.
    Plain,
    /// The same, as wide as AVX-512: runs what depends on the width where no processor is as wide.
    #[cfg(test)]
    PlainWide,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The widest that this processor has.
    pub fn best() -> Self {
        *Self::all().last().expect("Plain runs everywhere")
    }

    /// All that this processor has, the narrowest first.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Isa::Plain];
        #[cfg(test)]
        all.push(Isa::PlainWide);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
            all.push(Isa::Avx2);
            let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            if wide && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") {
                all.push(Isa::Avx512);
            }
        }
        all
    }

    /// Values in one of its vectors.
    pub fn width(self) -> usize {
        match self {
            Isa::Plain => Narrow::WIDTH,
            #[cfg(test)]
            Isa::PlainWide => Wide::WIDTH,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::Avx2::WIDTH,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::Avx512::WIDTH,
        }
    }

    /// Runs a job compiled for this instruction set.
    ///
    /// # Safety
    /// The job's addresses are what its type says.
    pub unsafe fn run(self, job: impl Job) {
        match self {
            // SAFETY: `Plain` uses no special instruction; the caller vouches for the addresses.
            Isa::Plain => unsafe { job.run::<Narrow>() },
            // SAFETY: as above.
            #[cfg(test)]
            Isa::PlainWide => unsafe { job.run::<Wide>() },
            // SAFETY: `all` detected the instructions; nothing else makes this value. The addresses as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::run(job) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::run(job) },
        }
    }
}
