//! Tests of `advance`.
use super::Advance;
use crate::Device;
use crate::testing::*;

#[test]
fn counts_and_wraps() {
    let mut counters = tensor_u32(&[0, 7, u32::MAX]);
    CPU.advance(Advance { counters: counters.view_mut() }).expect("valid");
    assert_eq!((&CPU as &dyn Device).read_u32(counters.view()).expect("readable"), [1, 8, 0]);
}

#[test]
fn contract_errors() {
    let mut floats = poisoned(&[2]);
    let mut matrix = poisoned(&[2, 1]);
    assert_refused(CPU.advance(Advance { counters: floats.view_mut() }), "advance: counters hold F32, wanted U32");
    let text = r#"advance: counters has dims [2, 1], wanted ["count"]"#;
    assert_refused(CPU.advance(Advance { counters: matrix.view_mut() }), text);
}
