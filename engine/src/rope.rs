//! Rotary tables: cos and sin of every position the model may reach.
use crate::Result;
use med2e3_kernels::{DType, Device, Tensor, View};
use med2e3_loaders::config::{LlmConfig, Rope};

/// The tables of a model. longrope has two sets of factors, and a prompt's length decides which are in force.
pub(crate) struct RopeTables {
    short: Table,
    /// Only where the model's limit lies beyond the positions that the short factors serve.
    long: Option<Table>,
    /// Positions that `short` serves.
    short_positions: usize,
    /// Positions of the whole model.
    positions: usize,
}

/// `[positions, head_dim/2]` each, f32, the attention factor multiplied in.
struct Table {
    cos: Tensor,
    sin: Tensor,
}

impl RopeTables {
    /// Tables for positions `0..positions`.
    pub fn new(device: &dyn Device, config: &LlmConfig, positions: usize) -> Result<Self> {
        let half = config.head_dim / 2;
        let (short, long, short_positions) = match &config.rope {
            Rope::Plain => (Table::new(device, config, &vec![1.0; half], 1.0, positions)?, None, positions),
            Rope::Longrope {
                short_factor, long_factor, original_max_position_embeddings, attention_factor, ..
            } => {
                let table = |factors| Table::new(device, config, factors, *attention_factor, positions);
                let served = positions.min(*original_max_position_embeddings);
                (table(short_factor)?, (served < positions).then(|| table(long_factor)).transpose()?, served)
            }
        };
        Ok(Self { short, long, short_positions, positions })
    }

    /// The most positions that the factors serve: past them they would change and the cached keys would no longer fit.
    pub fn limit(&self, long: bool) -> usize {
        if long { self.positions } else { self.short_positions }
    }

    /// cos and sin of the factors.
    pub fn angles(&self, long: bool) -> [View<'_>; 2] {
        let table = self.long.as_ref().filter(|_| long).unwrap_or(&self.short);
        [table.cos.view(), table.sin.view()]
    }
}

impl Table {
    /// Frequencies and angles are rounded to f32 where transformers rounds them, so that an angle at position 767 does
    /// not drift from its value there.
    fn new(device: &dyn Device, config: &LlmConfig, factors: &[f32], scale: f32, positions: usize) -> Result<Self> {
        let half = factors.len();
        let power = |i: usize| f64::from(config.rope_theta).powf(2.0 * i as f64 / config.head_dim as f64) as f32;
        let frequencies: Vec<f32> = factors.iter().enumerate().map(|(i, factor)| 1.0 / (factor * power(i))).collect();
        let angle = |at: usize| f64::from((at / half) as f32 * frequencies[at % half]);
        let table = |turn: fn(f64) -> f64| -> Result<Tensor> {
            let values: Vec<f32> = (0..positions * half).map(|at| turn(angle(at)) as f32 * scale).collect();
            let mut tensor = device.tensor(&[positions, half], DType::F32)?;
            device.write(&mut tensor, &values)?;
            Ok(tensor)
        };
        Ok(Self { cos: table(f64::cos)?, sin: table(f64::sin)? })
    }
}
