//! Element types that may live in device memory.

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    /// Token ids, positions and page numbers.
    U32,
}

impl DType {
    /// Size of one element in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 | DType::Bf16 => 2,
        }
    }

    /// Whether elements are real numbers.
    pub const fn is_float(self) -> bool {
        !matches!(self, DType::U32)
    }
}

mod sealed {
    /// Keeps [`super::Elem`] to the types below: views hand out slices of them, so their size and alignment must be
    /// those of their [`super::DType`].
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for u32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

/// A Rust type that stands for one [`DType`]; other crates cannot implement it.
pub trait Elem: bytemuck::Pod + Send + Sync + sealed::Sealed {
    /// The element type it stands for.
    const DTYPE: DType;
}

impl Elem for f32 {
    const DTYPE: DType = DType::F32;
}
impl Elem for u32 {
    const DTYPE: DType = DType::U32;
}
impl Elem for half::f16 {
    const DTYPE: DType = DType::F16;
}
impl Elem for half::bf16 {
    const DTYPE: DType = DType::Bf16;
}
