//! The block with AMX: 2 × 2 tiles of 16 × 16 sums. Rust has no stable intrinsics for it, so this is assembly.
use super::{Block, Sums};
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
    let arch_prctl = 158i64;
    let request = 0x1023i64;
    let tile_data = 18i64;
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

/// Configures this thread's tiles: far too slow to do for every block.
///
/// # Safety
/// [`available`].
pub(super) unsafe fn configure() {
    // SAFETY: reads the 64 bytes of the configuration.
    unsafe { asm!("ldtilecfg [{config}]", config = in(reg) &raw const CONFIG, options(nostack, readonly)) }
}

/// Ends the use of this thread's tiles, so that the system need not save them.
///
/// # Safety
/// [`available`].
pub(super) unsafe fn release() {
    // SAFETY: touches no memory.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// # Safety
/// Tiles are configured on this thread; the block's slices hold it.
pub(super) unsafe fn block(block: &Block<'_>, sums: &mut Sums) {
    // SAFETY: weight tiles read 16 rows of 64 bytes at `w_stride`, x tiles 16 rows of 64 bytes in order, both for each
    // of `steps`; four tiles of sums are read and stored as 32 rows of 128 bytes. Prefetches never fault.
    unsafe {
        asm!(
            "test {add}, {add}",
            "jnz 3f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 4f",
            "3:",
            "tileloadd tmm0, [{sums} + {line}]",
            "tileloadd tmm1, [{sums} + {line} + 64]",
            "tileloadd tmm2, [{sums} + {line} + 2048]",
            "tileloadd tmm3, [{sums} + {line} + 2112]",
            "4:",
            "mov {line}, 64",
            // From here on `add` is the last of the rows ahead.
            "lea {add}, [{w_stride} + 2 * {w_stride}]",
            "add {add}, {ahead}",
            "2:",
            "tileloadd tmm4, [{w} + {w_stride}]",
            "tileloadd tmm6, [{x} + {line}]",
            "prefetcht1 [{ahead}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{x} + {line} + 1024]",
            "prefetcht1 [{ahead} + {w_stride}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{w_high} + {w_stride}]",
            "prefetcht1 [{ahead} + 2 * {w_stride}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "prefetcht1 [{add}]",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {w}, 64",
            "add {w_high}, 64",
            "add {x}, 2048",
            "add {ahead}, 64",
            "add {add}, 64",
            "dec {steps}",
            "jnz 2b",
            "mov {line}, 128",
            "tilestored [{sums} + {line}], tmm0",
            "tilestored [{sums} + {line} + 64], tmm1",
            "tilestored [{sums} + {line} + 2048], tmm2",
            "tilestored [{sums} + {line} + 2112], tmm3",
            line = inout(reg) 128usize => _,
            add = inout(reg) usize::from(block.add) => _,
            w = inout(reg) block.w.as_ptr() => _,
            w_high = inout(reg) block.w.as_ptr().add(16 * block.stride) => _,
            w_stride = in(reg) block.stride * size_of::<bf16>(),
            ahead = inout(reg) block.ahead => _,
            x = inout(reg) block.x.as_ptr() => _,
            steps = inout(reg) block.inner / super::STEP => _,
            sums = in(reg) sums.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}
