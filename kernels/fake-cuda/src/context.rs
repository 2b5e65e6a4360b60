//! The library, its devices, and their context.
use crate::state::{CURRENT, State};
use crate::{Answer, call, give};
use cudarc::driver::sys::{CUdevice_attribute as Attribute, CUresult};
use std::ffi::{CString, c_char};

/// The handle of the one context.
const CONTEXT: usize = 1;

/// The device with this number.
fn device(state: &State, ordinal: i32) -> Answer {
    if (0..state.settings.devices).contains(&ordinal) { Ok(()) } else { Err(CUresult::CUDA_ERROR_INVALID_DEVICE) }
}

/// Writes a text that ends with a zero byte.
///
/// # Safety
/// `bytes` bytes can be written there.
unsafe fn give_text(out: *mut c_char, bytes: i32, text: &str) -> Answer {
    let text = CString::new(text).expect("a C text").into_bytes_with_nul();
    if text.len() > usize::try_from(bytes).unwrap_or(0) {
        return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: as the caller promises; it fits.
    unsafe { out.copy_from_nonoverlapping(text.as_ptr().cast(), text.len()) };
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: u32) -> CUresult {
    call("cuInit", |state| match state.settings.devices {
        0 => Err(CUresult::CUDA_ERROR_NO_DEVICE),
        _ => Ok(()),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(out: *mut i32) -> CUresult {
    // SAFETY: as the driver's callers promise.
    call("cuDriverGetVersion", |state| unsafe { give(out, state.settings.version) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(out: *mut i32) -> CUresult {
    // SAFETY: as the driver's callers promise.
    call("cuDeviceGetCount", |state| unsafe { give(out, state.settings.devices) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(out: *mut i32, ordinal: i32) -> CUresult {
    call("cuDeviceGet", |state| {
        device(state, ordinal)?;
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, ordinal) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(out: *mut c_char, bytes: i32, ordinal: i32) -> CUresult {
    call("cuDeviceGetName", |state| {
        device(state, ordinal)?;
        // SAFETY: as the driver's callers promise.
        unsafe { give_text(out, bytes, "Stand-in") }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetPCIBusId(out: *mut c_char, bytes: i32, ordinal: i32) -> CUresult {
    call("cuDeviceGetPCIBusId", |state| {
        device(state, ordinal)?;
        // SAFETY: as the driver's callers promise.
        unsafe { give_text(out, bytes, &format!("0000:{ordinal:02x}:00.0")) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(out: *mut usize, ordinal: i32) -> CUresult {
    call("cuDeviceTotalMem_v2", |state| {
        device(state, ordinal)?;
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, state.settings.memory) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(out: *mut i32, attribute: Attribute, ordinal: i32) -> CUresult {
    call("cuDeviceGetAttribute", |state| {
        device(state, ordinal)?;
        let (major, minor) = state.settings.capability;
        let value = match attribute {
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => major,
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => minor,
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN => crate::modules::SHARED_BYTES_MAX,
            Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT => 108,
            Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE => 1_410_000,
            _ => return Err(CUresult::CUDA_ERROR_INVALID_VALUE),
        };
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, value) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(out: *mut usize, ordinal: i32) -> CUresult {
    call("cuDevicePrimaryCtxRetain", |state| {
        device(state, ordinal)?;
        state.contexts += 1;
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, CONTEXT) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(ordinal: i32) -> CUresult {
    call("cuDevicePrimaryCtxRelease_v2", |state| {
        device(state, ordinal)?;
        state.contexts = state.contexts.checked_sub(1).ok_or(CUresult::CUDA_ERROR_INVALID_CONTEXT)?;
        let left = state.left();
        if state.contexts == 0 && state.failed.is_none() && !state.settings.has_refused() && left > 0 {
            eprintln!("the stand-in for the driver: {left} things are left in a context that goes");
            std::process::abort();
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: usize) -> CUresult {
    call("cuCtxSetCurrent", |state| {
        CURRENT.set(context == CONTEXT && state.contexts > 0);
        if CURRENT.get() { Ok(()) } else { Err(CUresult::CUDA_ERROR_INVALID_CONTEXT) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: CUresult, out: *mut *const c_char) -> CUresult {
    let name = CString::new(format!("{error:?}")).expect("a C text");
    // SAFETY: as the driver's callers promise. Names stay for ever, as the driver's do.
    call("cuGetErrorName", |_| unsafe { give(out, name.into_raw().cast_const()) })
}
