//! `mma.sync` on one warp's fragments, in the layout of the PTX manual.
use crate::block::WARP;
use half::{bf16, f16};
use std::ffi::c_void;

#[repr(C)]
struct Mma {
    d: *mut u32,
    a: *const u32,
    b: *const u32,
    kind: u32,
}

/// Row and first column of the pair or quad in register `register` of A, for elements `per` to a register.
fn place_a(lane: usize, register: usize, per: usize) -> [usize; 2] {
    [lane / 4 + register % 2 * 8, (lane % 4 + register / 2 * 4) * per]
}

/// First row (of K) and column of register `register` of B.
fn place_b(lane: usize, register: usize, per: usize) -> [usize; 2] {
    [(lane % 4 + register * 4) * per, lane / 4]
}

/// Row and column of accumulator `register`.
fn place_d(lane: usize, register: usize) -> [usize; 2] {
    [lane / 4 + register / 2 * 8, lane % 4 * 2 + register % 2]
}

/// D += A·B of 16 × K by K × 8.
fn multiply<T: Copy + std::ops::AddAssign + std::ops::Mul<Output = T>, const K: usize>(
    a: &[[T; K]; 16],
    b: &[[T; 8]; K],
    d: &mut [[T; 8]; 16],
) {
    for (a, d) in a.iter().zip(d) {
        for (&a, b) in a.iter().zip(b) {
            for (d, &b) in d.iter_mut().zip(b) {
                *d += a * b;
            }
        }
    }
}

/// Gathers fragments, multiplies, scatters. `widen` splits a register into its elements.
///
/// # Safety
/// All 32 payloads are `Mma`s with 4 registers of `d`, 4 of `a` and 2 of `b`.
unsafe fn run<T, const K: usize, const PER: usize>(
    payloads: *mut *mut c_void,
    zero: T,
    widen: impl Fn(u32) -> [T; PER],
    bits: impl Fn(T) -> u32,
    value: impl Fn(u32) -> T,
) where
    T: Copy + std::ops::AddAssign + std::ops::Mul<Output = T>,
{
    let mut a = [[zero; K]; 16];
    let mut b = [[zero; 8]; K];
    let mut d = [[zero; 8]; 16];
    // SAFETY: as the caller promises; lanes are suspended, so their fragments are nobody else's.
    unsafe {
        let payload = |lane: usize| &*(*payloads.add(lane)).cast::<Mma>();
        for lane in 0..WARP {
            let from = payload(lane);
            for register in 0..4 {
                let [row, column] = place_a(lane, register, PER);
                a[row][column..column + PER].copy_from_slice(&widen(*from.a.add(register)));
                let [row, column] = place_d(lane, register);
                d[row][column] = value(*from.d.add(register));
            }
            for register in 0..2 {
                let [row, column] = place_b(lane, register, PER);
                for (i, element) in widen(*from.b.add(register)).into_iter().enumerate() {
                    b[row + i][column] = element;
                }
            }
        }
        multiply(&a, &b, &mut d);
        for lane in 0..WARP {
            for register in 0..4 {
                let [row, column] = place_d(lane, register);
                *payload(lane).d.add(register) = bits(d[row][column]);
            }
        }
    }
}

fn bf16_pair(word: u32) -> [f32; 2] {
    [f32::from_bits(word << 16), bf16::from_bits((word >> 16) as u16).to_f32()]
}

fn f16_pair(word: u32) -> [f32; 2] {
    [word as u16, (word >> 16) as u16].map(|bits| f16::from_bits(bits).to_f32())
}

fn i8_quad(word: u32) -> [i32; 4] {
    word.to_le_bytes().map(|byte| i32::from(byte as i8))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_exec_mma(payloads: *mut *mut c_void, _mask: u32) {
    // SAFETY: `mma.sync` is executed by all lanes, which handed in `Mma`s of one kind.
    unsafe {
        match (*(*payloads).cast::<Mma>()).kind {
            0 => run::<f32, 16, 2>(payloads, 0.0, bf16_pair, f32::to_bits, f32::from_bits),
            1 => run::<f32, 16, 2>(payloads, 0.0, f16_pair, f32::to_bits, f32::from_bits),
            _ => run::<i32, 32, 4>(payloads, 0, i8_quad, |v| v as u32, |v| v as i32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The identity in A, so that D becomes the rows of B; what D held before is added.
    #[test]
    fn fragments_are_where_the_manual_has_them() {
        let one = |row: usize, column: usize| if row == column { 0x3f80u32 } else { 0 };
        let number = |row: usize, column: usize| (row * 8 + column) as f32;
        let mut lanes: Vec<([u32; 4], [u32; 4], [u32; 2])> = Vec::new();
        for lane in 0..WARP {
            let a = std::array::from_fn(|register| {
                let [row, column] = place_a(lane, register, 2);
                one(row, column) | one(row, column + 1) << 16
            });
            let b = std::array::from_fn(|register| {
                let [row, column] = place_b(lane, register, 2);
                let bits = |row| u32::from(bf16::from_f32(number(row, column)).to_bits());
                bits(row) | bits(row + 1) << 16
            });
            lanes.push(([1000f32.to_bits(); 4], a, b));
        }
        let mut payloads: Vec<Mma> = lanes
            .iter_mut()
            .map(|(d, a, b)| Mma { d: d.as_mut_ptr(), a: a.as_ptr(), b: b.as_ptr(), kind: 0 })
            .collect();
        let mut pointers: Vec<*mut c_void> = payloads.iter_mut().map(|payload| (&raw mut *payload).cast()).collect();
        // SAFETY: 32 payloads with fragments of the right sizes.
        unsafe { simt_exec_mma(pointers.as_mut_ptr(), !0) };
        for (lane, (d, ..)) in lanes.iter().enumerate() {
            for (register, &bits) in d.iter().enumerate() {
                let [row, column] = place_d(lane, register);
                assert_eq!(f32::from_bits(bits), 1000.0 + number(row, column), "lane {lane}, register {register}");
            }
        }
    }
}
