//! Owned device memory (`Mem`, `Tensor`) and borrowed, shaped windows into it (`View`, `ViewMut`).
use crate::{DType, Elem, Error, Result};
use std::any::Any;
use std::marker::PhantomData;
use std::ops::Range;

/// Row-major dims, slowest first. Rank is at most 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    rank: usize,
    size: [usize; 4],
}

impl Dims {
    /// # Panics
    /// If there are more than four dims: an op contract of ours is broken.
    pub fn new(dims: &[usize]) -> Self {
        assert!(dims.len() <= 4, "rank {} exceeds 4", dims.len());
        let mut size = [1; 4];
        size[..dims.len()].copy_from_slice(dims);
        Self { rank: dims.len(), size }
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
    Gpu(u32),
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
    /// `addr` must stay valid for `bytes` bytes, and unaliased if `writable`, until `owner` is dropped.
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
    /// If the memory is smaller than the dims say: a device of ours is broken.
    pub fn new(mem: Mem, dims: Dims, dtype: DType) -> Self {
        assert!(mem.bytes >= dims.count() * dtype.bytes(), "memory is smaller than the tensor in it");
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
    /// If the memory is smaller than the dims say.
    pub(crate) fn view_as(&self, dims: Dims, dtype: DType) -> View<'_> {
        assert!(self.mem.bytes >= dims.count() * dtype.bytes(), "memory is smaller than the tensor in it");
        let stride = dims.as_slice().last().copied().unwrap_or(1);
        View { addr: self.mem.addr, dims, stride, dtype, space: self.mem.space, life: PhantomData }
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
    /// If the counts differ, or the view's columns were cut.
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
        let (start, count) = (self.addr.addr(), self.dims.count());
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
        // SAFETY: host memory that holds the window for 'a by construction; `T` is plain bits of this dtype, and
        // devices align every tensor to its element size.
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
    /// If the counts differ.
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
        // SAFETY: host memory of `count` elements, uniquely borrowed; alignment as for `View`.
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
