//! The kernels against the CPU.
use super::launch::{Way, run_as};
use super::{Epilogue, Linear};
use crate::testing::numbers;
use crate::testing_gpu::*;
use crate::{Emulation, Gpu, Tensor};
use half::bf16;

const EPILOGUES: [Epilogue; 6] =
    [Epilogue::None, Epilogue::GeluErf, Epilogue::GeluTanh, Epilogue::Tanh, Epilogue::Residual, Epilogue::SwiGlu];

/// One product. `x` is the last `inner` columns of a tensor that has `cut` more.
#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u32,
    sizes: [usize; 3],
    epilogue: Epilogue,
    bias: bool,
    floats: bool,
    cut: usize,
}

/// The tensors of a case on one device.
struct Tensors {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    out: Tensor,
}

impl Case {
    fn tensors(&self, rig: &Rig<'_>) -> Tensors {
        let [rows, inner, columns] = self.sizes;
        let weight_rows = columns << usize::from(self.epilogue == Epilogue::SwiGlu);
        let scale = 2.0 / (inner as f32).sqrt();
        let old = match self.epilogue {
            Epilogue::Residual => numbers(self.seed + 3, rows * columns, 3.0),
            _ => vec![f32::NAN; rows * columns],
        };
        let dims = [rows, columns];
        Tensors {
            x: rig.acts(&[rows, self.cut + inner], &numbers(self.seed, rows * (self.cut + inner), 2.0)),
            weight: rig.weight(&[weight_rows, inner], &numbers(self.seed + 1, weight_rows * inner, scale)),
            bias: self.bias.then(|| rig.weight(&[columns], &numbers(self.seed + 2, columns, 1.0))),
            out: if self.floats { rig.floats(&dims, &rounded(&old)) } else { rig.acts(&dims, &old) },
        }
    }

    fn op<'a>(&self, tensors: &'a mut Tensors) -> Linear<'a> {
        let whole = self.cut + self.sizes[1];
        Linear {
            x: if self.cut == 0 { tensors.x.view() } else { tensors.x.view().cols(self.cut..whole) },
            weight: tensors.weight.view(),
            bias: tensors.bias.as_ref().map(Tensor::view),
            epilogue: self.epilogue,
            out: tensors.out.view_mut(),
        }
    }

    fn run(&self, rig: &Rig<'_>) -> Vec<f32> {
        let mut tensors = self.tensors(rig);
        // The CPU takes contiguous rows only: it gets the window as a tensor of its own.
        if self.cut > 0 && rig.device.activation() == crate::DType::F32 {
            let whole = self.cut + self.sizes[1];
            let values = rig.read(&tensors.x);
            let window: Vec<f32> = values.chunks(whole).flat_map(|row| row[self.cut..].to_vec()).collect();
            tensors.x = rig.acts(&[self.sizes[0], self.sizes[1]], &window);
            let contiguous = Self { cut: 0, ..*self };
            rig.device.linear(contiguous.op(&mut tensors)).expect("valid");
        } else {
            rig.device.linear(self.op(&mut tensors)).expect("valid");
        }
        rig.read(&tensors.out)
    }

    /// On the GPU that the tests were given or on this emulation, cut in a given way.
    fn run_as(&self, emulation: Emulation, way: Way) -> Vec<f32> {
        one_gpu(emulation, |gpu| {
            let rig = Rig { device: gpu };
            let mut tensors = self.tensors(&rig);
            run_as(gpu, self.op(&mut tensors), way).expect("valid");
            rig.read(&tensors.out)
        })
    }

    /// Compares with the CPU.
    ///
    /// Both sum in f32: on the GPU at most inner/16 partial sums one after the other, each of sixteen products, on the
    /// CPU fewer. A rounding is at most 2^-24 of a partial sum, which Σ|x·w| bounds; they have no common sign, so four
    /// times the root of their number (at most 16 + inner/16 in a chain) covers them: |x| ≤ 2 and |w| ≤ 2/√inner make
    /// Σ|x·w| ≤ √inner on average, four times that at most. Bias and residual add two roundings of sums below 4 + 4.
    /// Activations have slopes of at most 1.13 and err by 2^-21 of their result; 1 + erf cancels, an error of 2^-23 of
    /// v. In a gated product each factor's error meets the other factor. Then half a unit of bf16, or nothing for f32.
    fn check(&self) {
        let (got, want) = on_gpu_and_cpu(|rig| self.run(rig));
        let inner = self.sizes[1] as f64;
        let unit = 2f64.powi(-24);
        let sums = 4.0 * (16.0 + inner / 16.0).min(inner + 1.0).sqrt() * unit * (4.0 * inner.sqrt()).min(4.0 * inner);
        let factor = if self.epilogue == Epilogue::SwiGlu { 2.0 * 4.0 } else { 1.13 };
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let slack = factor * sums + 16.0 * unit + 8.0 * unit * f64::from(want).abs();
            let half = if self.floats { 0.0 } else { f64::from(want).abs() / 256.0 };
            let error = (f64::from(got) - f64::from(want)).abs();
            assert!(error <= half + slack, "{self:?}: element {i} is {got}, wanted {want} within {half} + {slack}");
        }
        let exact = |(&got, &want): (&f32, &f32)| got == bf16::from_f32(want).to_f32();
        let same = got.iter().zip(&want).filter(|&pair| exact(pair)).count();
        assert!(self.floats || same * 100 >= got.len() * 99, "{self:?}: only {same} of {} are exact", got.len());
    }
}

/// Every epilogue with every size class: one element, less than a step, edges of tiles, several stages and tiles.
#[test]
fn tiles_agree_with_the_cpu() {
    let sizes = [
        [17, 1, 1],
        [17, 8, 8],
        [19, 7, 5],
        [63, 64, 65],
        [64, 40, 64],
        [65, 72, 63],
        [130, 72, 200],
        [33, 200, 24],
        [40, 20, 72],
    ];
    for (index, sizes) in sizes.into_iter().enumerate() {
        for (kind, epilogue) in EPILOGUES.into_iter().enumerate() {
            let seed = (index * 60 + kind * 10) as u32;
            let bias = (index + kind) % 2 == 0 && epilogue != Epilogue::SwiGlu;
            Case { seed, sizes, epilogue, bias, floats: (index + kind) % 3 == 0, cut: 0 }.check();
        }
    }
}

/// One row to sixteen, edges of eight rows and of pieces (32), turns (128) and rounds of turns (1024) along the sum.
#[test]
fn few_rows_agree_with_the_cpu() {
    let sizes = [
        [1, 1, 1],
        [1, 8, 8],
        [3, 7, 5],
        [16, 33, 17],
        [8, 64, 63],
        [9, 72, 64],
        [5, 136, 65],
        [2, 1024, 16],
        [1, 1160, 24],
        [16, 1032, 9],
    ];
    for (index, sizes) in sizes.into_iter().enumerate() {
        for (kind, epilogue) in EPILOGUES.into_iter().enumerate() {
            let seed = 1000 + (index * 60 + kind * 10) as u32;
            let bias = (index + kind) % 2 == 0 && epilogue != Epilogue::SwiGlu;
            Case { seed, sizes, epilogue, bias, floats: (index + kind) % 3 == 0, cut: 0 }.check();
        }
    }
}

/// A row of sixteen has the bits that it has alone: an answer does not depend on what else runs.
#[test]
fn few_rows_are_independent() {
    one_gpu(Emulation::default(), |gpu| few_rows_are_independent_on(&Rig { device: gpu }));
}

fn few_rows_are_independent_on(rig: &Rig<'_>) {
    let inner = 200;
    let columns = 40;
    let values = numbers(1700, 16 * inner, 2.0);
    let weight = rig.weight(&[2 * columns, inner], &numbers(1701, 2 * columns * inner, 0.1));
    let run = |first: usize, rows: usize| {
        let x = rig.acts(&[rows, inner], &values[first * inner..][..rows * inner]);
        let mut out = rig.poisoned_floats(&[rows, columns]);
        let x = x.view();
        let weight = weight.view();
        let epilogue = Epilogue::SwiGlu;
        rig.device.linear(Linear { x, weight, bias: None, epilogue, out: out.view_mut() }).expect("valid");
        rig.read(&out)
    };
    let whole = run(0, 16);
    let others = [(7, 1), (8, 1), (15, 1), (3, 9)];
    for (first, rows) in (1..16).map(|rows| (0, rows)).chain(others) {
        assert_eq!(run(first, rows), whole[first * columns..][..rows * columns], "rows {first} and {rows} on");
    }
}

/// Inner sizes of the released model, and one that ends within a stage.
#[test]
fn long_sums_agree_with_the_cpu() {
    let case = |seed, sizes, epilogue, bias| Case { seed, sizes, epilogue, bias, floats: false, cut: 0 }.check();
    case(700, [20, 3072, 16], Epilogue::Residual, false);
    case(710, [20, 1160, 40], Epilogue::GeluTanh, true);
    case(720, [18, 768, 24], Epilogue::SwiGlu, false);
    case(730, [1, 8192, 24], Epilogue::Residual, false);
    case(740, [4, 3072, 16], Epilogue::SwiGlu, false);
}

/// Windows of columns: on 16-byte boundaries, off them, and with a stride that leaves them.
#[test]
fn windows_agree_with_the_cpu() {
    for (seed, cut, sizes) in
        [(800, 8, [20, 40, 9]), (810, 3, [20, 40, 8]), (820, 4, [37, 24, 70]), (830, 1, [3, 7, 5])]
    {
        Case { seed, sizes, epilogue: Epilogue::GeluErf, bias: true, floats: false, cut }.check();
    }
}

/// The tile changes no bit: 128 × 128, 64 × 64 and the element-wise path give the same, in several groups of tile rows
/// and tile columns, under schedules of their own.
#[test]
fn every_tile_gives_the_same_bits() {
    for (kind, epilogue) in EPILOGUES.into_iter().enumerate() {
        let bias = epilogue != Epilogue::SwiGlu;
        let case = Case { seed: 900 + kind as u32, sizes: [137, 136, 150], epilogue, bias, floats: true, cut: 0 };
        let bits = |seed, checked, way| -> Vec<u32> {
            case.run_as(Emulation { seed, checked }, way).iter().map(|v| v.to_bits()).collect()
        };
        let small = bits(0, false, Way::Small);
        for (seed, checked, way) in [(1, false, Way::Large), (2, true, Way::Large), (3, false, Way::Any)] {
            assert!(bits(seed, checked, way) == small, "{case:?}: {way:?} against 64 × 64");
        }
    }
    // The 3D tokens' rows: more rows of tiles than a group has, and a last one of a single row.
    let case = Case { seed: 950, sizes: [2049, 8, 140], epilogue: Epilogue::None, bias: true, floats: false, cut: 0 };
    let [small, large] = [Way::Small, Way::Large].map(|way| case.run_as(Emulation::default(), way));
    assert!(small == large && small.iter().all(|v| v.is_finite()), "more tile rows than a group has");
}

/// Few blocks take small tiles; the large products of the released model large ones.
#[test]
fn the_tile_follows_the_shape() {
    let gpu = Gpu::emulated(Emulation::default());
    let rig = Rig { device: &gpu };
    for (rows, columns, way) in
        [(17, 64, Way::Small), (550, 3072, Way::Small), (2049, 3072, Way::Large), (8192, 1152, Way::Large)]
    {
        let x = rig.poisoned(&[rows, 8]);
        let weight = rig.poisoned(&[columns, 8]);
        let shape = super::Shape { rows, inner: 8, out: columns };
        assert_eq!(Way::of([&x.view(), &weight.view()], Epilogue::None, shape), way, "{rows} × {columns}");
    }
}

/// The limits of the activations, past the overflow of their intermediates.
#[test]
fn activations_saturate() {
    let extremes = [1e4, -1e4, 0.0, 3e38, -3e38, 100.0, -100.0, -0.0];
    let values: Vec<f32> = extremes.into_iter().cycle().take(24).collect();
    for epilogue in [Epilogue::GeluErf, Epilogue::GeluTanh, Epilogue::Tanh] {
        let (got, _) = on_gpu_and_cpu(|rig| {
            let x = rig.acts(&[24, 1], &values);
            let weight = rig.weight(&[1, 1], &[1.0]);
            let mut out = rig.poisoned(&[24, 1]);
            let op = Linear { x: x.view(), weight: weight.view(), bias: None, epilogue, out: out.view_mut() };
            rig.device.linear(op).expect("valid");
            rig.read(&out)
        });
        let limit = |v: f32| if epilogue == Epilogue::Tanh { v.clamp(-1.0, 1.0) } else { v.max(0.0) };
        let want = rounded(&values.iter().map(|&v| limit(v)).collect::<Vec<f32>>());
        assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-30), "{epilogue:?}: {got:?}");
    }
    // Gates of ±1e4 and 3e38: the value, or nothing.
    let (got, _) = on_gpu_and_cpu(|rig| {
        let x = rig.acts(&[20, 2], &[1e4, 2.0, -1e4, 2.0, 3e38, 1.0, -3e38, 1.0].repeat(5));
        let weight = rig.weight(&[2, 2], &[1.0, 0.0, 0.0, 1.0]);
        let mut out = rig.poisoned(&[20, 1]);
        let op =
            Linear { x: x.view(), weight: weight.view(), bias: None, epilogue: Epilogue::SwiGlu, out: out.view_mut() };
        rig.device.linear(op).expect("valid");
        rig.read(&out)
    });
    let want = [2.0 * rounded(&[1e4])[0], 0.0, rounded(&[3e38])[0], 0.0];
    assert!(got.chunks(4).all(|got| got == want), "gated: {got:?}");
}

/// No epilogue turns NaN or an infinity into a number, for few rows and for many; the neighbours stay finite.
#[test]
fn what_is_not_finite_stays_so() {
    for (kind, epilogue) in EPILOGUES.into_iter().enumerate() {
        for rows in [2, 20] {
            let value = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            let (got, want) = on_gpu_and_cpu(|rig| {
                let columns = 8;
                let mut weight = vec![0.25; columns << usize::from(epilogue == Epilogue::SwiGlu)];
                weight[..3].copy_from_slice(&value);
                let x = rig.acts(&[rows, 1], &vec![1.0; rows]);
                let weight = rig.weight(&[weight.len(), 1], &weight);
                let mut out = rig.acts(&[rows, columns], &vec![1.0; rows * columns]);
                let op = Linear { x: x.view(), weight: weight.view(), bias: None, epilogue, out: out.view_mut() };
                rig.device.linear(op).expect("valid");
                rig.read(&out).iter().map(|v| f32::from(u8::from(v.is_finite()))).collect()
            });
            let row = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0].repeat(rows);
            assert_eq!((got, want), (row.clone(), row), "{kind}: {epilogue:?}, {rows} rows");
        }
    }
}

/// What only the GPU refuses.
#[test]
fn contract_errors() {
    let gpu = Gpu::emulated(Emulation::default());
    let rig = Rig { device: &gpu };
    let x = rig.poisoned(&[2, 8]);
    let weight = rig.poisoned(&[3, 8]);
    let mut out = rig.poisoned_floats(&[2, 3]);
    let mut refused = |x: &Tensor, weight: &Tensor| {
        let x = x.view();
        let weight = weight.view();
        let out = out.view_mut();
        let result = rig.device.linear(Linear { x, weight, bias: None, epilogue: Epilogue::None, out });
        result.expect_err("refused").to_string()
    };
    assert_eq!(refused(&rig.floats(&[2, 8], &[0.0; 16]), &weight), "linear: x holds F32, wanted Bf16");
    assert_eq!(refused(&x, &rig.floats(&[3, 8], &[0.0; 24])), "linear: weight holds F32, wanted Bf16");
    let elsewhere = Gpu::emulated(Emulation::default());
    let text = refused(&x, &Rig { device: &elsewhere }.poisoned(&[3, 8]));
    assert!(text.starts_with("linear: weight lies in the memory of Gpu("), "{text}");
    assert!(rig.read(&out).iter().all(|v| v.is_nan()), "the output is untouched");
}
