//! `avg_pool`: plain means over boxes of a token grid.
use crate::{DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// Means over `window[0]·window[1]·window[2]` neighbouring tokens of each grid; no padding, stride = window.
///
/// 3D connector: one grid, window (2, 2, 2). Plane pooling: a grid per slice, window (1, 2, 2). Mean of all tokens:
/// the whole grid as window.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below or a window does not divide its grid.
pub struct AvgPool<'a> {
    /// `[grids·depth·height·width, dim]`, activations; width varies fastest.
    pub x: View<'a>,
    /// `[depth, height, width]` of one grid, in tokens.
    pub grid: [usize; 3],
    /// Tokens per mean along each axis.
    pub window: [usize; 3],
    /// `[grids·(depth/w0)·(height/w1)·(width/w2), dim]`, activations.
    pub out: ViewMut<'a>,
}

impl AvgPool<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work::of(&[&self.x], &[&self.out], self.x.dims().count())
    }

    /// Checks the contract; gives the number of grids.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("avg_pool");
        dims.input("x", &self.x, &["tokens", "dim"])?;
        let grid = self.grid;
        let window = self.window;
        let divides = grid.iter().zip(&window).all(|(&size, &part)| part > 0 && size > 0 && size % part == 0);
        dims.require(divides, || format!("window {window:?} does not divide the grid {grid:?}"))?;
        let tokens = dims.size("tokens");
        let volume = dims.product("grid", &grid)?;
        dims.require(tokens.is_multiple_of(volume), || format!("{tokens} tokens do not fill grids {grid:?}"))?;
        let grids = tokens / volume;
        dims.bind("window", "means", grids * volume / window.iter().product::<usize>())?;
        dims.output("out", &self.out, &["means", "dim"])?;
        Ok(grids)
    }
}
