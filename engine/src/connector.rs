//! The projections from encoder tokens to the LLM's width.
use crate::Result;
use crate::weights::{Affine, Loading};
use med2e3_kernels::ops::{AvgPool, Epilogue};
use med2e3_kernels::{Device, Tensor, View, ViewMut};
use med2e3_loaders::Checkpoint;

/// Pooling, then one or two linear layers; GELU between two.
pub(crate) struct Connector {
    /// Token grid and window of the mean, or none.
    pool: Option<Pool>,
    first: Affine,
    second: Option<Second>,
}

struct Pool {
    grid: [usize; 3],
    window: [usize; 3],
    /// `[pooled rows, encoder width]`.
    pooled: Tensor,
}

struct Second {
    layer: Affine,
    /// `[rows, LLM width]`: GELU of the first layer.
    hidden: Tensor,
}

/// What a connector looks like.
pub(crate) struct Shape {
    /// Grid of one group of tokens (a volume or a slice) and the window of its mean.
    pub pool: Option<([usize; 3], [usize; 3])>,
    /// Whether a second layer follows.
    pub mlp: bool,
    /// Most encoder tokens of one call.
    pub rows: usize,
}

impl Connector {
    pub fn load(loading: &mut Loading<'_>, part: &Checkpoint, shape: &Shape) -> Result<Self> {
        let device = loading.device;
        let (first, second) = if shape.mlp { ("_connector.0", Some("_connector.2")) } else { ("_connector", None) };
        let first = loading.affine(part, first)?;
        let &[width, inner] = first.weight.dims().as_slice() else { unreachable!("checked with the checkpoint") };
        let ratio = shape.pool.map_or(1, |(_, window)| window.iter().product());
        let rows = shape.rows / ratio;
        let pool = shape.pool.map(|(grid, window)| {
            Ok::<_, crate::Error>(Pool { grid, window, pooled: device.activations(&[rows, inner])? })
        });
        let second = second.map(|name| {
            Ok::<_, crate::Error>(Second {
                layer: loading.affine(part, name)?,
                hidden: device.activations(&[rows, width])?,
            })
        });
        Ok(Self { pool: pool.transpose()?, first, second: second.transpose()? })
    }

    /// Encoder tokens per output token.
    pub fn ratio(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.window.iter().product())
    }

    /// Projects `[tokens, encoder width]` into `out`, `[tokens / ratio, LLM width]`.
    pub fn project(&mut self, device: &dyn Device, tokens: View<'_>, out: ViewMut<'_>) -> Result<()> {
        let rows = tokens.dims().as_slice()[0] / self.ratio();
        let x = match &mut self.pool {
            None => tokens,
            Some(pool) => {
                let pooled = pool.pooled.view_mut().rows(0..rows);
                device.avg_pool(AvgPool { x: tokens, grid: pool.grid, window: pool.window, out: pooled })?;
                pool.pooled.view().rows(0..rows)
            }
        };
        match &mut self.second {
            None => device.linear(self.first.linear(x, Epilogue::None, out))?,
            Some(Second { layer, hidden }) => {
                device.linear(self.first.linear(x, Epilogue::GeluErf, hidden.view_mut().rows(0..rows)))?;
                device.linear(layer.linear(hidden.view().rows(0..rows), Epilogue::None, out))?;
            }
        }
        Ok(())
    }
}
