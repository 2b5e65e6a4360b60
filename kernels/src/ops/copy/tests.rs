//! Tests of `copy`, and of copies between the caller's bytes and tensors.
use super::Copy;
use crate::testing::*;
use crate::{DType, Device};
use half::bf16;

#[test]
fn copies_every_type_and_windows() {
    let x = tensor(&[3, 2], &[1.0, 2.0, 3.0, f32::INFINITY, -0.0, 6.0]);
    let mut out = poisoned(&[5, 2]);
    CPU.copy(Copy { x: x.view().rows(1..3), out: out.view_mut().rows(2..4) }).expect("valid");
    assert_eq!(values(&out)[4..8], [3.0, f32::INFINITY, -0.0, 6.0]);
    assert!([0, 1, 2, 3, 8, 9].iter().all(|&i| values(&out)[i].is_nan()), "rows outside the window are untouched");

    let device: &dyn Device = &CPU;
    for dtype in [DType::F32, DType::F16, DType::Bf16, DType::U32] {
        let mut from = device.tensor(&[2, 3], dtype).expect("memory");
        let bytes: Vec<u8> = (0..from.bytes().min(6 * dtype.bytes())).map(|b| b as u8 + 1).collect();
        device.copy_in(&mut from, &bytes).expect("sizes agree");
        let mut to = device.tensor(&[2, 3], dtype).expect("memory");
        CPU.copy(Copy { x: from.view(), out: to.view_mut() }).expect("valid");
        let mut back = vec![0u8; bytes.len()];
        device.copy_out(to.view(), &mut back).expect("sizes agree");
        assert_eq!(back, bytes, "{dtype:?}");
    }
}

#[test]
fn reads_floats_as_f32() {
    let device: &dyn Device = &CPU;
    let mut halves = device.tensor(&[2], DType::Bf16).expect("memory");
    device.write(&mut halves, &[bf16::from_f32(1.5), bf16::from_f32(-3.0)]).expect("sizes agree");
    assert_eq!(device.read(halves.view()).expect("floats"), [1.5, -3.0]);
    assert_eq!(device.read_u32(tensor_u32(&[7, 9]).view()).expect("ids"), [7, 9]);
}

#[test]
fn contract_errors() {
    let x = poisoned(&[2, 3]);
    let mut out = poisoned(&[2, 4]);
    assert_refused(CPU.copy(Copy { x: x.view(), out: out.view_mut() }), "copy: out.width is 4, but x.width is 3");
    let op = Copy { x: x.view(), out: out.view_mut().rows(0..1).reshape(&[1, 4]) };
    assert_refused(CPU.copy(op), "copy: out.rows is 1, but x.rows is 2");
    let mut ids = tensor_u32(&[0; 6]);
    let op = Copy { x: x.view(), out: ids.view_mut().reshape(&[2, 3]) };
    assert_refused(CPU.copy(op), "copy: x holds F32, wanted U32");
    let device: &dyn Device = &CPU;
    assert_refused(device.copy_in(&mut out, &[0; 31]), "copy_in: the tensor has 32 bytes, the host side 31");
    assert_refused(device.copy_out(x.view(), &mut [0; 25]), "copy_out: the tensor has 24 bytes, the host side 25");
}

/// A window of columns, whose rows lie apart, comes out as a GPU gives it: row after row without gaps.
#[test]
fn a_window_of_columns_is_read() {
    let values: Vec<f32> = (0..12).map(|value| value as f32).collect();
    let x = tensor(&[3, 4], &values);
    let device = &CPU as &dyn Device;
    assert_eq!(device.read(x.view().cols(1..3)).expect("readable"), [1.0, 2.0, 5.0, 6.0, 9.0, 10.0]);
    assert_eq!(device.read(x.view().rows(1..2).cols(3..4)).expect("readable"), [7.0]);
}
