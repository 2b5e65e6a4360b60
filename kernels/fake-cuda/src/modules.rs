//! Machine code, whose kernels the emulator runs in its place.
use crate::state::known;
use crate::stream::Work;
use crate::{Answer, call, give};
use cudarc::driver::sys::{CUfunction_attribute as Attribute, CUresult};
// The emulated kernels come with it.
use med2e3_kernels as _;
use med2e3_simt::Grid;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

/// Shared memory that a block may have at most, on a GPU of compute capability 8.0.
pub const SHARED_BYTES_MAX: i32 = 163 << 10;

/// Shared memory that a block may have without asking.
const SHARED_BYTES_FREE: i32 = 48 << 10;

include!(concat!(env!("OUT_DIR"), "/entries.rs"));

/// Whether there is a kernel of this name.
pub fn is_kernel(name: &str) -> bool {
    ENTRIES.iter().any(|(known, ..)| *known == name)
}

/// A kernel of a module.
#[derive(Clone, Copy)]
pub struct Function {
    name: &'static str,
    entry: med2e3_simt::Entry,
    params_bytes: usize,
    shared_bytes_max: i32,
}

/// A kernel with its grid and its parameters.
pub struct Launch {
    function: Function,
    grid: Grid,
    /// In words, since its fields want their alignment.
    params: Vec<u64>,
}

impl Launch {
    /// Runs it, or fails if it is the kernel that the settings name.
    pub fn run(&self, fails: Option<&str>) -> Answer {
        if fails == Some(self.function.name) {
            return Err(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        }
        let bytes = self.params.iter().flat_map(|word| word.to_ne_bytes());
        let params: Vec<u8> = bytes.take(self.function.params_bytes).collect();
        // SAFETY: the block is as large as the kernel's; its addresses are the launching code's promise, as on a GPU.
        unsafe { med2e3_simt::launch(self.function.entry, self.grid, &params, 0) }.map_err(|fault| {
            eprintln!("the stand-in for the driver: {}: {fault}", self.function.name);
            CUresult::CUDA_ERROR_LAUNCH_FAILED
        })
    }
}

/// The bytes of an image: of an ELF file, up to the end of its section table, which comes last; of a text, all.
///
/// # Safety
/// A whole image.
unsafe fn image<'a>(data: *const u8) -> &'a [u8] {
    // SAFETY: as the caller promises, an ELF file has a header of 64 bytes, and a text ends with a zero byte.
    unsafe {
        if std::slice::from_raw_parts(data, 4) != b"\x7fELF" {
            return CStr::from_ptr(data.cast()).to_bytes();
        }
        let header: &[u8; 64] = &*data.cast();
        let table = u64::from_le_bytes(header[40..48].try_into().expect("eight bytes")) as usize;
        let [each, count] = [58, 60].map(|at| usize::from(u16::from_le_bytes([header[at], header[at + 1]])));
        std::slice::from_raw_parts(data, table + each * count)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(out: *mut usize, data: *const c_void) -> CUresult {
    call("cuModuleLoadData", |state| {
        state.plain()?;
        // SAFETY: as the driver's callers promise.
        let image = unsafe { image(data.cast()) };
        let (major, minor) = state.settings.capability;
        // The machine of an ELF file is the lowest byte of its flags.
        let fits = match image.strip_prefix(b"\x7fELF") {
            Some(_) => i32::from(image[48]) == if major == 8 { 80 } else { 10 * major + minor },
            None => image.windows(8).any(|text| text == b".target "),
        };
        if !fits {
            return Err(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
        }
        let handle = state.handle();
        state.modules.insert(handle, image.to_vec());
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(out: *mut usize, module: usize, name: *const c_char) -> CUresult {
    call("cuModuleGetFunction", |state| {
        state.plain()?;
        // SAFETY: as the driver's callers promise.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        let image = known(state.modules.get(&module))?;
        let holds = image.windows(name.len()).any(|part| part == name);
        let entry = ENTRIES.iter().find(|(known, ..)| holds && known.as_bytes() == name);
        let &(name, entry, params_bytes) = entry.ok_or(CUresult::CUDA_ERROR_NOT_FOUND)?;
        let function = Function { name, entry, params_bytes, shared_bytes_max: SHARED_BYTES_FREE };
        let handle = state.handle();
        state.functions.insert(handle, function);
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, handle) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: usize) -> CUresult {
    call("cuModuleUnload", |state| {
        state.plain()?;
        known(state.modules.remove(&module)).map(drop)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncGetAttribute(out: *mut i32, attribute: Attribute, function: usize) -> CUresult {
    call("cuFuncGetAttribute", |state| {
        known(state.functions.get(&function))?;
        if attribute != Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, 0) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(function: usize, attribute: Attribute, value: i32) -> CUresult {
    call("cuFuncSetAttribute", |state| {
        let function = known(state.functions.get_mut(&function))?;
        let permission = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        if attribute != permission || !(0..=SHARED_BYTES_MAX).contains(&value) {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        function.shared_bytes_max = value;
        Ok(())
    })
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "the driver's")]
unsafe extern "C" fn cuLaunchKernel(
    function: usize,
    x: u32,
    y: u32,
    z: u32,
    width: u32,
    height: u32,
    depth: u32,
    shared_bytes: u32,
    stream: usize,
    params: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> CUresult {
    call("cuLaunchKernel", |state| {
        let function = *known(state.functions.get(&function))?;
        let most = [i32::MAX as u32, 65535, 65535];
        let blocks_fit = [x, y, z].iter().zip(most).all(|(&blocks, most)| (1..=most).contains(&blocks));
        let threads = u64::from(width) * u64::from(height) * u64::from(depth);
        let shared_fits = i32::try_from(shared_bytes).is_ok_and(|bytes| bytes <= function.shared_bytes_max);
        if !blocks_fit || !(1..=1024).contains(&threads) || !shared_fits {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        let grid = Grid { blocks: [x, y, z], threads: [width, height, depth], shared_bytes };
        let mut block = vec![0u64; function.params_bytes.div_ceil(size_of::<u64>())];
        // SAFETY: as the driver's callers promise, the first parameter has the kernel's size; ours take no other.
        unsafe { block.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping((*params).cast(), function.params_bytes) };
        state.enqueue(stream, Work::Launch(Arc::new(Launch { function, grid, params: block })))
    })
}
