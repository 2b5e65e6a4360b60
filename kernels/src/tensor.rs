//! Owned device memory (`Mem`, `Tensor`) and borrowed, shaped windows into it (`View`, `ViewMut`).
use crate::{DType, Elem, Error, Result};
use std::any::Any;
use std::marker::PhantomData;
use std::ops::Range;

/// Row-major dims, slowest first. Rank is at most 4.
///
/// The product of all dims, each 0 counted as 1, is at most [`Dims::ELEMENTS_MAX`]: neither the count of any of their
/// parts nor its bytes overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    rank: usize,
    size: [usize; 4],
}

impl Dims {
    /// Elements of the widest type, four bytes, that one allocation could hold.
    pub const ELEMENTS_MAX: usize = isize::MAX as usize / 4;

    /// # Panics
    /// Where [`Dims::checked`] gives an error: for sizes that are known to be sound.
    pub fn new(dims: &[usize]) -> Self {
        Self::checked(dims).unwrap_or_else(|error| panic!("{error}"))
    }

    /// # Errors
    /// [`Error::Contract`] if there are more than four dims, or their product exceeds [`Dims::ELEMENTS_MAX`] with each
    /// 0 counted as 1.
    pub fn checked(dims: &[usize]) -> Result<Self> {
        let refuse = |detail| Err(Error::Contract { op: "dims", detail });
        if dims.len() > 4 {
            return refuse(format!("rank {} exceeds 4", dims.len()));
        }
        let product = dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size.max(1)));
        if product.is_none_or(|product| product > Self::ELEMENTS_MAX) {
            return refuse(format!("{dims:?} are more elements than memory can hold"));
        }
        let mut size = [1; 4];
        size[..dims.len()].copy_from_slice(dims);
        Ok(Self { rank: dims.len(), size })
    }

    /// The sizes, slowest first.
    pub fn as_slice(&self) -> &[usize] {
        &self.size[..self.rank]
    }

    /// How many elements.
    pub fn count(&self) -> usize {
        self.as_slice().iter().product()
    }

    /// Elements from one row (first dim) to the next.
    fn row(&self) -> usize {
        self.as_slice()[1..].iter().product()
    }

    fn with_first(&self, rows: usize) -> Self {
        let mut dims = *self;
        dims.size[0] = rows;
        dims
    }
}

/// Where an address may be dereferenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Ordinary memory that Rust code may read and write.
    Host,
    /// Memory of the GPU with this number, counted from the start of the process.
    Gpu(u64),
}

/// One allocation; dropping it drops `owner`, which releases the memory.
pub struct Mem {
    addr: *mut u8,
    bytes: usize,
    space: Space,
    writable: bool,
    _owner: Box<dyn Any + Send + Sync>,
}

// SAFETY: `Mem` is a plain owner of bytes; all access goes through `View` (shared) and `ViewMut` (unique) borrows.
unsafe impl Send for Mem {}
// SAFETY: as above; `&Mem` only hands out shared views.
unsafe impl Sync for Mem {}

impl Mem {
    /// # Safety
    /// Until `owner` is dropped, `bytes` bytes from `addr` on, at most `isize::MAX`, must be valid in `space`, which
    /// for [`Space::Host`] means initialised and not written by other code; if `writable`, no other code may read them.
    pub unsafe fn from_raw(
        addr: *mut u8,
        bytes: usize,
        space: Space,
        writable: bool,
        owner: Box<dyn Any + Send + Sync>,
    ) -> Self {
        Self { addr, bytes, space, writable, _owner: owner }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// An owned tensor: memory, dims and element type.
pub struct Tensor {
    mem: Mem,
    dims: Dims,
    dtype: DType,
}

impl Tensor {
    /// # Panics
    /// If the memory is smaller than the dims say, or the host's memory does not begin on a boundary of the element
    /// type: a device of ours is broken.
    pub fn new(mem: Mem, dims: Dims, dtype: DType) -> Self {
        assert!(mem.bytes >= dims.count() * dtype.bytes(), "memory is smaller than the tensor in it");
        let aligned = mem.space != Space::Host || mem.addr.addr().is_multiple_of(dtype.bytes());
        assert!(aligned, "memory that does not begin on a boundary of its element type");
        Self { mem, dims, dtype }
    }

    /// Its dims.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes of device memory behind it.
    pub fn bytes(&self) -> usize {
        self.mem.bytes
    }

    /// Borrows it for reading.
    pub fn view(&self) -> View<'_> {
        let stride = self.dims.as_slice().last().copied().unwrap_or(1);
        View {
            addr: self.mem.addr,
            dims: self.dims,
            stride,
            dtype: self.dtype,
            space: self.mem.space,
            life: PhantomData,
        }
    }

    /// Borrows its first bytes as another tensor.
    ///
    /// # Panics
    /// If the memory is smaller than the dims say, or the element type is wider than the tensor's own.
    pub(crate) fn view_as(&self, dims: Dims, dtype: DType) -> View<'_> {
        assert!(self.mem.bytes >= dims.count() * dtype.bytes(), "memory is smaller than the tensor in it");
        assert!(dtype.bytes() <= self.dtype.bytes(), "elements wider than those that the memory is aligned for");
        let stride = dims.as_slice().last().copied().unwrap_or(1);
        View { addr: self.mem.addr, dims, stride, dtype, space: self.mem.space, life: PhantomData }
    }

    /// Whether it may be written: not if it is a weight that borrows the checkpoint's memory.
    pub(crate) fn is_writable(&self) -> bool {
        self.mem.writable
    }

    /// Borrows it for writing.
    ///
    /// # Panics
    /// If it is a weight that borrows the checkpoint's memory: those are read-only.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        assert!(self.mem.writable, "a borrowed weight is read-only");
        ViewMut { addr: self.mem.addr, dims: self.dims, dtype: self.dtype, space: self.mem.space, life: PhantomData }
    }
}

/// A shared window: rows of a tensor, or a range of columns of every row.
#[derive(Clone, Copy)]
pub struct View<'a> {
    addr: *const u8,
    dims: Dims,
    /// Elements between neighbouring entries of the second last dim; the last dim's size unless columns were cut.
    stride: usize,
    dtype: DType,
    space: Space,
    life: PhantomData<&'a [u8]>,
}

// SAFETY: a view is a shared borrow of plain bytes.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}

impl<'a> View<'a> {
    /// Its dims.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Bytes of its elements, without gaps between rows.
    pub fn bytes(&self) -> usize {
        self.dims.count() * self.dtype.bytes()
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Elements between neighbouring rows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Where its memory lies.
    pub fn space(&self) -> Space {
        self.space
    }

    /// The device address; only launchers use it.
    pub fn addr(&self) -> *const u8 {
        self.addr
    }

    /// Rows `rows` of the first dim.
    ///
    /// # Panics
    /// If the range leaves the tensor, or the view's columns were cut.
    pub fn rows(self, rows: Range<usize>) -> Self {
        assert!(self.is_contiguous(), "rows of a view whose columns were cut");
        let first = self.dims.as_slice()[0];
        assert!(rows.start <= rows.end && rows.end <= first, "rows {rows:?} outside {first}");
        let offset = rows.start * self.dims.row() * self.dtype.bytes();
        let dims = self.dims.with_first(rows.end - rows.start);
        let stride = dims.as_slice().last().copied().unwrap_or(1);
        Self { addr: self.addr.wrapping_add(offset), dims, stride, ..self }
    }

    /// Columns `cols` of every row of a two-dimensional tensor.
    ///
    /// # Panics
    /// If the tensor is not two-dimensional or the range leaves it.
    pub fn cols(self, cols: Range<usize>) -> Self {
        let &[rows, width] = self.dims.as_slice() else { panic!("columns of a tensor of rank {}", self.dims.rank) };
        assert!(cols.start <= cols.end && cols.end <= width, "columns {cols:?} outside {width}");
        let addr = self.addr.wrapping_add(cols.start * self.dtype.bytes());
        Self { addr, dims: Dims::new(&[rows, cols.end - cols.start]), ..self }
    }

    /// The same elements under other dims of the same count.
    ///
    /// # Panics
    /// If the counts differ, the view's columns were cut, or [`Dims::checked`] refuses the dims.
    pub fn reshape(self, dims: &[usize]) -> Self {
        assert!(self.is_contiguous(), "reshape of a view whose columns were cut");
        let dims = Dims::new(dims);
        assert_eq!(dims.count(), self.dims.count(), "reshape {:?} to {dims:?}", self.dims);
        let stride = dims.as_slice().last().copied().unwrap_or(1);
        Self { dims, stride, ..self }
    }

    pub(crate) fn is_contiguous(&self) -> bool {
        self.dims.as_slice().last().is_none_or(|&width| width == self.stride)
    }

    /// The addresses from its first byte to its last, with the gaps between cut rows.
    pub(crate) fn span(&self) -> Range<usize> {
        let start = self.addr.addr();
        let count = self.dims.count();
        let width = self.dims.as_slice().last().copied().unwrap_or(1);
        let elements = if count == 0 { 0 } else { (count / width - 1) * self.stride + width };
        start..start + elements * self.dtype.bytes()
    }

    /// All elements, contiguous.
    ///
    /// # Errors
    /// If the element type differs, the columns were cut, or Rust cannot read the memory.
    pub fn host<T: Elem>(&self) -> Result<&'a [T]> {
        if !self.is_contiguous() {
            return Err(contract(format!("a view with stride {} where contiguous rows are wanted", self.stride)));
        }
        self.host_strided().map(|(elements, _)| elements)
    }

    /// The elements from the first to the last one of the window, and the stride between rows.
    ///
    /// # Errors
    /// If the element type differs or Rust cannot read the memory.
    pub fn host_strided<T: Elem>(&self) -> Result<(&'a [T], usize)> {
        readable(self.space, self.dtype, T::DTYPE)?;
        let count = match self.dims.as_slice() {
            [rows, width] if *rows > 0 => (rows - 1) * self.stride + width,
            _ => self.dims.count(),
        };
        // SAFETY: initialised host memory that no code writes for 'a: `Mem::from_raw`'s caller vouched for the tensor's
        // bytes, `Tensor::new` compared them with its dims, and `rows`, `cols` and `reshape` only shrink the window.
        // `Dims` keep the count from overflowing. `Elem` is sealed: `T` is the element type itself, on whose boundary
        // `Tensor::new` found the memory to begin.
        Ok((unsafe { std::slice::from_raw_parts(self.addr.cast(), count) }, self.stride))
    }
}

/// A unique, contiguous window.
pub struct ViewMut<'a> {
    addr: *mut u8,
    dims: Dims,
    dtype: DType,
    space: Space,
    life: PhantomData<&'a mut [u8]>,
}

// SAFETY: a unique borrow of plain bytes.
unsafe impl Send for ViewMut<'_> {}

impl<'a> ViewMut<'a> {
    /// Its dims.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// As [`View::bytes`].
    pub fn bytes(&self) -> usize {
        self.dims.count() * self.dtype.bytes()
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where its memory lies.
    pub fn space(&self) -> Space {
        self.space
    }

    /// The device address; only launchers use it.
    pub fn addr(&mut self) -> *mut u8 {
        self.addr
    }

    /// Rows `rows` of the first dim.
    ///
    /// # Panics
    /// If the range leaves the tensor.
    pub fn rows(self, rows: Range<usize>) -> Self {
        let first = self.dims.as_slice()[0];
        assert!(rows.start <= rows.end && rows.end <= first, "rows {rows:?} outside {first}");
        let offset = rows.start * self.dims.row() * self.dtype.bytes();
        let addr = self.addr.wrapping_add(offset);
        Self { addr, dims: self.dims.with_first(rows.end - rows.start), ..self }
    }

    /// The same window for reading.
    pub fn as_view(&self) -> View<'_> {
        let stride = self.dims.as_slice().last().copied().unwrap_or(1);
        View { addr: self.addr, dims: self.dims, stride, dtype: self.dtype, space: self.space, life: PhantomData }
    }

    /// The same window, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut { addr: self.addr, dims: self.dims, dtype: self.dtype, space: self.space, life: PhantomData }
    }

    /// The same elements under other dims of the same count.
    ///
    /// # Panics
    /// If the counts differ, or [`Dims::checked`] refuses the dims.
    pub fn reshape(self, dims: &[usize]) -> Self {
        let dims = Dims::new(dims);
        assert_eq!(dims.count(), self.dims.count(), "reshape {:?} to {dims:?}", self.dims);
        Self { dims, ..self }
    }

    /// All elements for writing.
    ///
    /// # Errors
    /// If the element type differs or Rust cannot write the memory.
    pub fn host<T: Elem>(&mut self) -> Result<&mut [T]> {
        readable(self.space, self.dtype, T::DTYPE)?;
        // SAFETY: as for `View::host_strided`; a `ViewMut` borrows the writable tensor uniquely, and its elements lie
        // side by side.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.addr.cast(), self.dims.count()) })
    }
}

fn readable(space: Space, found: DType, wanted: DType) -> Result<()> {
    if space != Space::Host {
        return Err(contract("a tensor in GPU memory where host memory is wanted".into()));
    }
    if found != wanted {
        return Err(contract(format!("elements are {found:?}, wanted {wanted:?}")));
    }
    Ok(())
}

fn contract(detail: String) -> Error {
    Error::Contract { op: "view", detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{tensor, tensor_u32};

    #[test]
    fn dims_hold_what_memory_could() {
        let most = Dims::ELEMENTS_MAX;
        for dims in [&[][..], &[0], &[0, 0, 0, 0], &[most], &[0, most], &[most, 0, 1], &[most / 3, 3], &[2, 3, 4, 5]] {
            let made = Dims::checked(dims).expect("it fits");
            assert_eq!((made.as_slice(), made.count()), (dims, dims.iter().product()));
        }
        let huge: [&[usize]; 6] =
            [&[most + 1], &[0, most + 1], &[most, 2], &[4, 1 << 62], &[1 << 32; 2], &[2, 0, most]];
        for dims in huge {
            let refused = Dims::checked(dims).expect_err("too large").to_string();
            assert_eq!(refused, format!("dims: {dims:?} are more elements than memory can hold"));
        }
        assert_eq!(Dims::checked(&[1; 5]).expect_err("too many").to_string(), "dims: rank 5 exceeds 4");
    }

    /// Every window of a small tensor, read through its slice.
    #[test]
    fn windows_hold_their_elements() {
        let rows = 4;
        let width = 5;
        let values: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let whole = tensor(&[rows, width], &values);
        for (first, last) in (0..=rows).flat_map(|first| (first..=rows).map(move |last| (first, last))) {
            let view = whole.view().rows(first..last);
            assert_eq!(view.host::<f32>().expect("contiguous"), &values[first * width..last * width]);
            for (left, right) in (0..=width).flat_map(|left| (left..=width).map(move |right| (left, right))) {
                let cut = view.cols(left..right);
                let (elements, stride) = cut.host_strided::<f32>().expect("host memory");
                for (row, want) in values[first * width..last * width].chunks_exact(width).enumerate() {
                    assert_eq!(elements[row * stride..][..right - left], want[left..right]);
                }
                assert_eq!(cut.host::<f32>().is_ok(), right - left == width, "{left}..{right}");
                let span = cut.span();
                assert_eq!(span.len(), if cut.dims().count() == 0 { 0 } else { 4 * elements.len() });
            }
        }
    }

    #[test]
    fn windows_are_written_in_their_place() {
        let mut whole = tensor(&[3, 4], &[0.0; 12]);
        let mut rows = whole.view_mut().rows(1..2).reshape(&[2, 2]);
        rows.reborrow().host::<f32>().expect("writable")[1] = 7.0;
        assert_eq!(rows.as_view().host::<f32>().expect("readable"), [0.0, 7.0, 0.0, 0.0]);
        assert!(rows.host::<u32>().is_err(), "of another type");
        assert_eq!(whole.view().host::<f32>().expect("readable")[5], 7.0);
        let none = whole.view_mut().rows(3..3);
        assert!(none.as_view().host::<f32>().expect("nothing").is_empty());
    }

    /// What Miri called a slice of 2^62 elements out of an empty tensor.
    #[test]
    #[should_panic(expected = "more elements than memory can hold")]
    fn empty_tensors_stay_empty() {
        let empty = tensor_u32(&[]);
        let elements = empty.view().reshape(&[4, 1 << 62]).rows(0..1).host::<u32>();
        unreachable!("a slice of {} elements", elements.expect("host memory").len());
    }
}
