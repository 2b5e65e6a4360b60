//! The kernel against the CPU.
use super::Copy;
use crate::DType;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// Exact, in units of 16, 4 and 2 bytes, from and to windows; rows outside the window are untouched.
#[test]
fn agrees_with_the_cpu() {
    for (seed, [rows, width], from, to) in [
        (1, [1, 1], 0, 0),
        (2, [3, 64], 1, 2),
        (3, [65, 24], 3, 1),
        (4, [5, 7], 1, 0),
        (5, [4, 6], 1, 1),
        (6, [2, 1030], 0, 1),
        (7, [63, 65], 0, 1),
        (8, [64, 63], 1, 0),
    ] {
        let (got, want) = on_gpu_and_cpu(|rig| {
            let x = rig.acts(&[rows + from, width], &numbers(seed, (rows + from) * width, 3.0));
            let mut out = rig.acts(&[rows + to + 1, width], &vec![7.0; (rows + to + 1) * width]);
            let op = Copy { x: x.view().rows(from..from + rows), out: out.view_mut().rows(to..to + rows) };
            rig.device.copy(op).expect("valid");
            rig.read(&out)
        });
        assert_eq!(got, want, "{rows} x {width}, from {from} to {to}");
    }
}

/// Every element type, NaN's bits included, and nothing at all.
#[test]
fn copies_every_type() {
    each_gpu(|gpu| copies_every_type_on(&Rig { device: gpu }));
}

fn copies_every_type_on(rig: &Rig<'_>) {
    for dtype in [DType::F32, DType::F16, DType::Bf16, DType::U32] {
        let [mut x, mut out] = [[3, 5], [3, 5]].map(|dims| rig.device.tensor(&dims, dtype).expect("memory"));
        let bytes: Vec<u8> = (0..15 * dtype.bytes()).map(|i| 255 - i as u8).collect();
        rig.device.copy_in(&mut x, &bytes).expect("sizes agree");
        rig.device.copy(Copy { x: x.view(), out: out.view_mut() }).expect("valid");
        let mut back = vec![0; bytes.len()];
        rig.device.copy_out(out.view(), &mut back).expect("sizes agree");
        assert_eq!(back, bytes, "{dtype:?}");
        rig.device.copy(Copy { x: x.view().rows(1..1), out: out.view_mut().rows(2..2) }).expect("nothing to do");
    }
}
