//! The block with AMX: 2 × 2 tiles of 16 × 16 sums. Rust has no stable intrinsics for it, so this is assembly.
use super::{BLOCK, Sums};
use half::bf16;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

/// Palette 1; every tile has 16 rows of 64 bytes: 16 × 16 sums, 16 × 32 weights, 16 pairs deep × 16 pairs of x.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = {
    let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    let mut tile = 0;
    while tile < 8 {
        (config.row_bytes[tile], config.rows[tile]) = (64, 16);
        tile += 1;
    }
    config
};

/// Whether the processor has AMX for bf16 and the system lets this process use it.
pub(super) fn available() -> bool {
    const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
    is_x86_feature_detected!("avx512f") && __cpuid_count(7, 0).edx & BF16_AND_TILES == BF16_AND_TILES && permitted()
}

/// Asks Linux for the tile registers' state (`arch_prctl`, ARCH_REQ_XCOMP_PERM of XTILEDATA), for all threads to come
/// and all there are.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    let (arch_prctl, request, tile_data) = (158i64, 0x1023i64, 18i64);
    let status: i64;
    // SAFETY: the call takes two integers, touches no memory of ours and clobbers what is named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") arch_prctl => status,
            in("rdi") request,
            in("rsi") tile_data,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    status == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// # Safety
/// [`available`]; `w` and `x` hold the block, and `inner` is a multiple of 32 above 0.
pub(super) unsafe fn block(w: &[bf16], stride: usize, x: &[bf16], inner: usize, sums: &mut Sums) {
    let half = 16 * inner * size_of::<bf16>();
    // SAFETY: weight tiles read 16 rows of 64 bytes at `stride`, x tiles 16 pairs deep in each packed half, both
    // `inner / 32` times; four tiles of sums are stored to 32 rows of 128 bytes. Tile state is released at the end.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{w} + {w_stride}]",
            "tileloadd tmm6, [{x} + {x_stride}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{x_high} + {x_stride}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{w_high} + {w_stride}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {w}, 64",
            "add {w_high}, 64",
            "add {x}, 1024",
            "add {x_high}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {sums_stride}], tmm0",
            "tilestored [{sums} + {sums_stride} + 64], tmm1",
            "tilestored [{sums_high} + {sums_stride}], tmm2",
            "tilestored [{sums_high} + {sums_stride} + 64], tmm3",
            "tilerelease",
            config = in(reg) &raw const CONFIG,
            w = inout(reg) w.as_ptr() => _,
            w_high = inout(reg) w.as_ptr().add(16 * stride) => _,
            w_stride = in(reg) stride * size_of::<bf16>(),
            x = inout(reg) x.as_ptr() => _,
            x_high = inout(reg) x.as_ptr().byte_add(half) => _,
            x_stride = in(reg) 64usize,
            steps = inout(reg) inner / super::STEP => _,
            sums = in(reg) sums.as_mut_ptr(),
            sums_high = in(reg) sums.as_mut_ptr().add(16 * BLOCK),
            sums_stride = in(reg) BLOCK * size_of::<f32>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}
