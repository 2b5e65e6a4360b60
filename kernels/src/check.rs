//! Shape contracts by name: a dim takes its size from the first tensor that mentions it.
use crate::{DType, Dims, Error, Result, View, ViewMut};

/// Collects the named dims of one op call and refuses the first contradiction.
pub struct DimCheck {
    op: &'static str,
    bound: Vec<(&'static str, usize, &'static str)>,
}

impl DimCheck {
    /// Starts the check of one call of `op`.
    pub fn new(op: &'static str) -> Self {
        Self { op, bound: Vec::with_capacity(12) }
    }

    /// Binds the dims of an input tensor of float elements.
    ///
    /// # Errors
    /// If rank or a dim contradicts what was bound before, or the elements are not floats.
    pub fn input(&mut self, tensor: &'static str, view: &View<'_>, names: &[&'static str]) -> Result<()> {
        if !view.dtype().is_float() {
            return self.fail(format!("{tensor} holds {:?}, wanted a float type", view.dtype()));
        }
        self.dims(tensor, view.dims(), names)
    }

    /// Binds the dims of an optional input.
    ///
    /// # Errors
    /// As [`DimCheck::input`].
    pub fn optional(&mut self, tensor: &'static str, view: &Option<View<'_>>, names: &[&'static str]) -> Result<()> {
        view.as_ref().map_or(Ok(()), |view| self.input(tensor, view, names))
    }

    /// Binds the dims of an input whose element type the contract fixes.
    ///
    /// # Errors
    /// As [`DimCheck::input`], and if the element type differs.
    pub fn typed(&mut self, tensor: &'static str, view: &View<'_>, dtype: DType, names: &[&'static str]) -> Result<()> {
        if view.dtype() != dtype {
            return self.fail(format!("{tensor} holds {:?}, wanted {dtype:?}", view.dtype()));
        }
        self.dims(tensor, view.dims(), names)
    }

    /// Binds the dims of the output.
    ///
    /// # Errors
    /// As [`DimCheck::input`].
    pub fn output(&mut self, tensor: &'static str, view: &ViewMut<'_>, names: &[&'static str]) -> Result<()> {
        self.dims(tensor, view.dims(), names)
    }

    fn dims(&mut self, tensor: &'static str, dims: Dims, names: &[&'static str]) -> Result<()> {
        let sizes = dims.as_slice();
        if sizes.len() != names.len() {
            return self.fail(format!("{tensor} has dims {sizes:?}, wanted {names:?}"));
        }
        for (&name, &size) in names.iter().zip(sizes) {
            self.bind(tensor, name, size)?;
        }
        Ok(())
    }

    /// Binds one dim that a scalar argument or a product determines.
    ///
    /// # Errors
    /// If the name was bound to another size.
    pub fn bind(&mut self, tensor: &'static str, name: &'static str, size: usize) -> Result<()> {
        match self.bound.iter().find(|bound| bound.0 == name) {
            Some(&(_, first, by)) if first != size && by == tensor => {
                self.fail(format!("{tensor}.{name} is {size}, wanted {first}"))
            }
            Some(&(_, first, by)) if first != size => {
                self.fail(format!("{tensor}.{name} is {size}, but {by}.{name} is {first}"))
            }
            Some(_) => Ok(()),
            None => {
                self.bound.push((name, size, tensor));
                Ok(())
            }
        }
    }

    /// The size bound to `name`.
    ///
    /// # Panics
    /// If no tensor mentioned it: the op's own contract is broken.
    pub fn size(&self, name: &str) -> usize {
        self.bound.iter().find(|bound| bound.0 == name).expect("the contract binds this dim").1
    }

    /// The product of sizes that come from scalar arguments.
    ///
    /// # Errors
    /// If it exceeds [`Dims::ELEMENTS_MAX`].
    pub fn product(&self, name: &str, sizes: &[usize]) -> Result<usize> {
        let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        match product.filter(|&product| product <= Dims::ELEMENTS_MAX) {
            Some(product) => Ok(product),
            None => {
                Err(Error::Contract { op: self.op, detail: format!("{name} is the product of {sizes:?}, too large") })
            }
        }
    }

    /// Requires a condition of the sizes.
    ///
    /// # Errors
    /// With `detail` where the condition does not hold.
    pub fn require(&self, holds: bool, detail: impl FnOnce() -> String) -> Result<()> {
        if holds { Ok(()) } else { self.fail(detail()) }
    }

    fn fail(&self, detail: String) -> Result<()> {
        Err(Error::Contract { op: self.op, detail })
    }
}
