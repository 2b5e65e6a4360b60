//! The definition, in f64.
use super::Epilogue;

/// The epilogues that act on one value; NaN for one that is not finite.
pub fn activate(epilogue: Epilogue, v: f64) -> f64 {
    match epilogue {
        _ if !v.is_finite() => f64::NAN,
        Epilogue::GeluErf => 0.5 * v * (1.0 + libm::erf(v * std::f64::consts::FRAC_1_SQRT_2)),
        Epilogue::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v);
            0.5 * v * (1.0 + inner.tanh())
        }
        Epilogue::Tanh => v.tanh(),
        Epilogue::None | Epilogue::Residual | Epilogue::SwiGlu => v,
    }
}

/// `x` is `[rows, inner]`, `weight` `[out, inner]` (`[2·out, inner]` for SwiGLU), `old` the output before the call.
pub fn linear(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    epilogue: Epilogue,
    old: &[f32],
    [inner, out]: [usize; 2],
) -> Vec<f64> {
    let dot = |row: &[f32], o: usize| -> f64 {
        row.iter().zip(&weight[o * inner..][..inner]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let value = |row: &[f32], at: usize, o: usize| {
        let sum = dot(row, o) + bias.map_or(0.0, |bias| f64::from(bias[o]));
        match epilogue {
            Epilogue::SwiGlu => dot(row, out + o) * sum / (1.0 + (-sum).exp()),
            Epilogue::Residual => f64::from(old[at]) + sum,
            _ => activate(epilogue, sum),
        }
    };
    let rows = x.chunks_exact(inner).enumerate();
    rows.flat_map(|(r, row)| (0..out).map(move |o| (r, row, o))).map(|(r, row, o)| value(row, r * out + o, o)).collect()
}
