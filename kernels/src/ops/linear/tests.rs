//! Tests of `linear`: every epilogue, weight type, instruction set and both ways to multiply.
use super::{Epilogue, Linear, reference};
use crate::cpu::lanes::Isa;
use crate::cpu::product::{Product, Weights};
use crate::testing::*;
use crate::{DECODE_ROWS_MAX, DType, Device, Precision, Tensor};

const EPILOGUES: [Epilogue; 6] =
    [Epilogue::None, Epilogue::GeluErf, Epilogue::GeluTanh, Epilogue::Tanh, Epilogue::Residual, Epilogue::SwiGlu];

/// One product with its inputs and what f64 makes of them.
struct Case {
    epilogue: Epilogue,
    sizes: [usize; 3],
    x: Vec<f32>,
    weight: (Tensor, Vec<f32>),
    bias: Option<Vec<f32>>,
    old: Vec<f32>,
}

impl Case {
    fn new(seed: u32, sizes: [usize; 3], epilogue: Epilogue, dtype: DType) -> Self {
        let [rows, inner, out] = sizes;
        let weight_rows = out * (1 + usize::from(epilogue == Epilogue::SwiGlu));
        let scale = 2.0 / (inner.max(1) as f32).sqrt();
        Self {
            epilogue,
            sizes,
            x: numbers(seed, rows * inner, 2.0),
            weight: weight(&[weight_rows, inner], dtype, &numbers(seed + 1, weight_rows * inner, scale)),
            bias: (epilogue != Epilogue::SwiGlu && seed.is_multiple_of(2)).then(|| numbers(seed + 2, out, 1.0)),
            old: numbers(seed + 3, rows * out, 3.0),
        }
    }

    fn run(&self, isa: Isa) -> Vec<f32> {
        self.run_in(Precision::Exact, isa)
    }

    fn run_in(&self, precision: Precision, isa: Isa) -> Vec<f32> {
        let [rows, inner, columns] = self.sizes;
        let weights = Weights::of(&self.weight.0.view()).expect("floats");
        let x = &self.x;
        let bias = self.bias.as_deref();
        let epilogue = self.epilogue;
        // Only a residual reads what is there.
        let poison = vec![f32::NAN; rows * columns];
        let mut out = if epilogue == Epilogue::Residual { self.old.clone() } else { poison };
        Product { x, weights, bias, epilogue, rows, inner, columns }.run(isa, precision, &mut out);
        out
    }

    /// Compares with f64.
    ///
    /// A sum is made of at most 256 + inner/256 roundings one after the other, each at most 2^-24 of a partial sum
    /// that Σ|x·w| bounds. They have no common sign, so four times the root of their number covers them. The end adds
    /// three roundings and, for activations, whose slope is at most 1.13, six units of 2^-24; gate and value errors
    /// meet in a product.
    fn check(&self, got: &[f32], what: &str) {
        let [_, inner, out] = self.sizes;
        let x = &self.x;
        let w = &self.weight.1;
        let bias = self.bias.as_deref();
        let want = reference::linear(x, w, bias, self.epilogue, &self.old, [inner, out]);
        let absolute = |values: &[f32]| values.iter().map(|v| v.abs()).collect::<Vec<f32>>();
        let x_size = absolute(x);
        let w_size = absolute(w);
        let b_size = bias.map(absolute);
        let size = |half: usize| {
            let w = &w_size[half * out * inner..][..out * inner];
            reference::linear(&x_size, w, b_size.as_deref(), Epilogue::None, &[], [inner, out])
        };
        let unit = 2f64.powi(-24);
        let sums = 4.0 * (256.0 + inner as f64 / 256.0).min(inner as f64 + 1.0).sqrt() * unit;
        if self.epilogue == Epilogue::SwiGlu {
            let gate = size(0);
            let value = size(1);
            let bound = |i: usize| 2.0 * sums * gate[i] * value[i] + 8.0 * unit * want[i].abs();
            assert_within(what, got, &want, bound);
        } else {
            let size = size(0);
            let old = |i: usize| if self.epilogue == Epilogue::Residual { f64::from(self.old[i]).abs() } else { 0.0 };
            let bound = |i: usize| (1.13 * sums + 3.0 * unit) * (size[i] + old(i)) + 6.0 * unit * want[i].abs();
            assert_within(what, got, &want, bound);
        }
    }
}

#[test]
fn worked_by_hand() {
    let x = tensor(&[2, 3], &[1.0, 2.0, 3.0, -1.0, 0.5, 2.0]);
    let w = tensor(&[2, 3], &[1.0, 0.0, -1.0, 2.0, 1.0, 0.5]);
    let bias = tensor(&[2], &[10.0, 20.0]);
    let mut out = tensor(&[2, 2], &[100.0, 200.0, 300.0, 400.0]);
    for (epilogue, want) in
        [(Epilogue::Residual, [108.0, 225.5, 307.0, 419.5]), (Epilogue::None, [8.0, 25.5, 7.0, 19.5])]
    {
        let bias = Some(bias.view());
        CPU.linear(Linear { x: x.view(), weight: w.view(), bias, epilogue, out: out.view_mut() }).expect("valid");
        assert_eq!(values(&out), want);
    }
    let mut gated = poisoned(&[2, 1]);
    let op = Linear { x: x.view(), weight: w.view(), bias: None, epilogue: Epilogue::SwiGlu, out: gated.view_mut() };
    CPU.linear(op).expect("valid");
    // Gates -2 and -3, values 5.5 and -0.5.
    let want = [5.5 * -2.0 / (1.0 + 2f64.exp()), -0.5 * -3.0 / (1.0 + 3f64.exp())];
    assert_close("gated", &values(&gated), &want, 1e-6);
}

/// Odd and tiny sizes, edges of tiles (6 and 12 rows, 16 and 32 columns), of passes (256) and of strips (96 rows).
#[test]
fn agrees_with_f64() {
    let sizes = [
        [1, 1, 1],
        [1, 7, 3],
        [3, 1, 17],
        [1, 300, 33],
        [8, 40, 70],
        [9, 8, 16],
        [12, 256, 32],
        [16, 70, 33],
        [17, 40, 16],
        [24, 256, 32],
        [25, 257, 31],
        [97, 5, 19],
        [100, 520, 50],
        [200, 64, 33],
    ];
    for (index, sizes) in sizes.into_iter().enumerate() {
        for (kind, epilogue) in EPILOGUES.into_iter().enumerate() {
            let case = Case::new((index * 10 + kind) as u32, sizes, epilogue, WEIGHT_TYPES[(index + kind) % 3]);
            for isa in Isa::all() {
                let got = case.run(isa);
                case.check(&got, &format!("{sizes:?} {epilogue:?} {:?} {isa:?}", case.weight.0.dtype()));
                let again = case.run(isa);
                assert!(got.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()), "{sizes:?} repeats");
            }
        }
    }
}

/// What Miri can run: every epilogue and weight type, streamed and tiled, by vectors that Rust alone computes.
#[test]
fn small_sizes() {
    for (index, sizes) in [[3, 9, 5], [DECODE_ROWS_MAX + 1, 2, 3]].into_iter().enumerate() {
        for (kind, epilogue) in EPILOGUES.into_iter().enumerate() {
            let case = Case::new((600 + index * 10 + kind) as u32, sizes, epilogue, WEIGHT_TYPES[(index + kind) % 3]);
            for isa in Isa::all() {
                case.check(&case.run(isa), &format!("{sizes:?} {epilogue:?} {isa:?}"));
            }
        }
    }
}

/// Every weight type, streamed and tiled, at an inner size of the released model.
#[test]
fn agrees_at_model_sizes() {
    for (seed, dtype) in (100..).zip(WEIGHT_TYPES) {
        for (sizes, epilogue) in [([1, 3072, 40], Epilogue::None), ([30, 4096, 24], Epilogue::Residual)] {
            let case = Case::new(seed * 2, sizes, epilogue, dtype);
            case.check(&case.run(Isa::best()), &format!("{sizes:?} {dtype:?}"));
        }
    }
}

/// A row's result depends on no other row of the same call, streamed or tiled.
#[test]
fn rows_are_independent() {
    for rows in [8, 50] {
        let whole = Case::new(7, [rows, 300, 21], Epilogue::GeluErf, DType::Bf16);
        let mut part = Case::new(7, [rows, 300, 21], Epilogue::GeluErf, DType::Bf16);
        let kept = if rows == 8 { 3 } else { 27 };
        part.sizes[0] = kept;
        part.x.drain(..(rows - kept) * 300);
        assert_eq!(part.run(Isa::best()), whole.run(Isa::best())[(rows - kept) * 21..]);
    }
}

/// A row has the bits that it has alone in a step of any size, in every precision: sizes that `fast` would take.
#[test]
fn a_row_of_a_step_is_computed_as_alone() {
    let precisions = [Precision::Exact, Precision::Fast, Precision::FastTwin];
    for (seed, epilogue) in (20..).zip(EPILOGUES) {
        let of = |first: usize, rows: usize| {
            let mut case = Case::new(seed, [DECODE_ROWS_MAX, 96, 64], epilogue, DType::Bf16);
            case.sizes[0] = rows;
            case.x = case.x[first * 96..][..rows * 96].to_vec();
            case.old = case.old[first * 64..][..rows * 64].to_vec();
            case
        };
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
        for (isa, precision) in Isa::all().into_iter().flat_map(|isa| precisions.map(|precision| (isa, precision))) {
            let alone: Vec<u32> =
                (0..DECODE_ROWS_MAX).flat_map(|row| bits(of(row, 1).run_in(precision, isa))).collect();
            for rows in [2, 8, 9, DECODE_ROWS_MAX] {
                let got = bits(of(0, rows).run_in(precision, isa));
                assert!(got == alone[..rows * 64], "{rows} rows, {epilogue:?}, {precision:?}, {isa:?}");
            }
        }
    }
}

/// One thread or several: the same bits.
#[test]
fn threads_do_not_matter() {
    let case = Case::new(8, [150, 700, 90], Epilogue::GeluTanh, DType::F16);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| case.run(Isa::best()))
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(5));
}

/// Saturated activations: exact limits, no NaN.
#[test]
fn activations_saturate() {
    let x = tensor(&[4, 1], &[1e4, -1e4, 0.0, 3e38]);
    let w = tensor(&[1, 1], &[1.0]);
    for (epilogue, want) in [
        (Epilogue::GeluErf, [1e4, 0.0, 0.0, 3e38]),
        (Epilogue::GeluTanh, [1e4, 0.0, 0.0, 3e38]),
        (Epilogue::Tanh, [1.0, -1.0, 0.0, 1.0]),
    ] {
        let mut out = poisoned(&[4, 1]);
        let op = Linear { x: x.view(), weight: w.view(), bias: None, epilogue, out: out.view_mut() };
        CPU.linear(op).expect("valid");
        let got = values(&out);
        assert!(got.iter().zip(want).all(|(&got, want)| (got - want).abs() < 1e-30), "{epilogue:?}: {got:?}");
    }
}

/// No epilogue turns NaN or an infinity into a number, in whole vectors and in the rest of a row, exact and `fast`.
#[test]
fn what_is_not_finite_stays_so() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for epilogue in EPILOGUES {
            for (rows, columns) in [(3, 1), (3, 37), (40, 64)] {
                let weight_rows = columns << usize::from(epilogue == Epilogue::SwiGlu);
                let x = vec![1.0; rows * 32];
                let weight = vec![0.01; weight_rows * 32];
                for at in [0, columns - 1] {
                    let mut weight = weight.clone();
                    weight[at * 32 + 5] = value;
                    let weight = self::weight(&[weight_rows, 32], DType::Bf16, &weight).0;
                    let weights = Weights::of(&weight.view()).expect("floats");
                    for (isa, precision) in Isa::all()
                        .into_iter()
                        .flat_map(|isa| [Precision::Exact, Precision::Fast].map(|precision| (isa, precision)))
                    {
                        let mut out = vec![1.0; rows * columns];
                        let product = Product { x: &x, weights, bias: None, epilogue, rows, inner: 32, columns };
                        product.run(isa, precision, &mut out);
                        let lost = (0..out.len()).find(|i| out[*i].is_finite() == (i % columns == at));
                        assert_eq!(lost, None, "{value} in column {at}, {epilogue:?} {isa:?} {precision:?}: {out:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn contract_errors() {
    let x = tensor(&[2, 3], &[0.0; 6]);
    let w = tensor(&[4, 3], &[0.0; 12]);
    let bias = tensor(&[4], &[0.0; 4]);
    let ids = tensor_u32(&[0; 4]);
    let refused = |x: &Tensor, w: &Tensor, bias: Option<&Tensor>, epilogue, dims: &[usize], text: &str| {
        let mut out = poisoned(dims);
        let bias = bias.map(Tensor::view);
        let op = Linear { x: x.view(), weight: w.view(), bias, epilogue, out: out.view_mut() };
        assert_refused(CPU.linear(op), text);
        assert!(values(&out).iter().all(|v| v.is_nan()), "the output is untouched");
    };
    use Epilogue::{None as Plain, SwiGlu};
    refused(&x, &w, None, Plain, &[3, 4], "linear: out.rows is 3, but x.rows is 2");
    refused(&x, &w, None, Plain, &[2, 5], "linear: weight.out is 4, but out.out is 5");
    refused(&w, &bias, None, Plain, &[4, 4], r#"linear: weight has dims [4], wanted ["out", "in"]"#);
    refused(&tensor(&[2, 2], &[0.0; 4]), &w, None, Plain, &[2, 4], "linear: weight.in is 3, but x.in is 2");
    refused(&x, &w, Some(&tensor(&[3], &[0.0; 3])), Plain, &[2, 4], "linear: bias.out is 3, but out.out is 4");
    refused(&x, &w, None, SwiGlu, &[2, 4], "linear: weight.2·out is 4, but out.2·out is 8");
    refused(&x, &w, Some(&bias), SwiGlu, &[2, 2], "linear: SwiGLU takes no bias");
    refused(&x, &ids, None, Plain, &[2, 4], "linear: weight holds U32, wanted a float type");
    let mut out = (&CPU as &dyn Device).tensor(&[2, 4], DType::Bf16).expect("memory");
    let op = Linear { x: x.view(), weight: w.view(), bias: None, epilogue: Plain, out: out.view_mut() };
    assert_refused(CPU.linear(op), "linear: out holds Bf16, wanted F32 or x's F32");
}

/// The kernels count on the same limit.
#[test]
fn the_kernels_have_the_same_limit() {
    let line = format!("constexpr uint32_t kDecodeRowsMax = {DECODE_ROWS_MAX};");
    assert!(include_str!("../../../include/few_rows.cuh").lines().any(|found| found == line), "wanted {line}");
}
