//! The NVIDIA driver, found at run time: one GPU, one stream, machine code loaded once.
//!
//! Tested without a GPU: every way to find none, and over the crate `fake-cuda`. No real GPU has run it.
use super::backend::busy;
use super::in_use::InUse;
use super::kernel::Grid;
use super::memory::Staging;
use super::modules::{COMPILER, MODULES};
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as DeviceLimit, CUfunction_attribute as FunctionLimit};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The driver interface of CUDA 12.0.
const INTERFACE_MIN: i32 = 12_000;

/// Everything that is called; a library without one of these is too old, or not NVIDIA's.
const SYMBOLS: &str = include_str!("symbols.txt");

/// A kernel on this GPU.
struct Function {
    raw: sys::CUfunction,
    /// What a launch may ask for beside the kernel's own arrays.
    shared_bytes_max: u32,
}

/// One GPU.
pub(super) struct Driver {
    /// For people.
    pub name: String,
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub stream: sys::CUstream,
    modules: Vec<sys::CUmodule>,
    functions: HashMap<&'static str, Function>,
    queue: Mutex<Queue>,
    /// What recorded graphs use, by the addresses that the driver gave.
    in_use: Mutex<InUse<sys::CUdeviceptr>>,
}

// SAFETY: handles of the driver, which is safe to call from every thread; what is ours lies behind locks.
unsafe impl Send for Driver {}
// SAFETY: as above.
unsafe impl Sync for Driver {}

/// State guarded by the enqueue lock.
pub(super) struct Queue {
    /// Whether a graph is being recorded, by the one thread that has its turn.
    pub records: bool,
    /// The kernel launched last.
    pub last: &'static str,
    /// Made at the first copy.
    pub staging: Option<Staging>,
}

/// A sentence about why no GPU runs here, and what to do.
pub(super) fn unavailable(detail: impl Into<String>) -> Error {
    Error::Unavailable { detail: format!("{}, or use --device cpu", detail.into()) }
}

/// The driver's name and number for an error.
pub(super) fn code(error: DriverError) -> String {
    format!("{:?} ({})", error.0, error.0 as u32)
}

/// Loads and starts the driver.
///
/// # Errors
/// [`Error::Unavailable`] if there is none, it is too old, or it finds no GPU.
pub(super) fn start() -> Result<()> {
    let update = "install NVIDIA driver 525 or newer";
    // SAFETY: looks for the library by its names.
    if !unsafe { sys::is_culib_present() } {
        return Err(unavailable(format!("no NVIDIA driver is installed (libcuda.so is missing); {update}")));
    }
    // SAFETY: found above, so that it loads.
    let library = unsafe { sys::culib() };
    // SAFETY: the symbols are looked up, not used.
    let missing = SYMBOLS.lines().find(|name| unsafe { library.get::<*const ()>(name.as_bytes()) }.is_err());
    if let Some(missing) = missing {
        return Err(unavailable(format!("the NVIDIA driver's libcuda.so has no {missing}; {update}")));
    }
    result::init().map_err(|error| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => unavailable("the NVIDIA driver finds no GPU; check nvidia-smi"),
        _ => unavailable(format!("the NVIDIA driver does not start, {}; check nvidia-smi", code(error))),
    })?;
    let mut version = 0;
    // SAFETY: writes one number.
    let known = unsafe { sys::cuDriverGetVersion(&mut version) }.result().is_ok();
    if !known || version < INTERFACE_MIN {
        let found = format!("{}.{}", version / 1000, version % 1000 / 10);
        return Err(unavailable(format!("the NVIDIA driver is for CUDA {found}, wanted 12.0; {update}")));
    }
    Ok(())
}

impl Driver {
    /// The GPU with this number, counted from 0 as the driver does.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it cannot be used.
    pub fn open(ordinal: usize) -> Result<Arc<Self>> {
        if COMPILER.is_none() {
            return Err(unavailable("this build holds no GPU kernels; run tools/setup-cuda and build again"));
        }
        // The bindings panic where the driver lacks a function; `start` has looked for all that we call.
        let open = || {
            start()?;
            let driver = Self::device(ordinal)?;
            driver.load()
        };
        let opened = catch_unwind(AssertUnwindSafe(open));
        opened.unwrap_or_else(|_| Err(unavailable("the NVIDIA driver is broken; install it anew")))
    }

    fn device(ordinal: usize) -> Result<Self> {
        let failed = |doing: &str| {
            let what = format!("GPU {ordinal} cannot be used, {doing}");
            move |error| unavailable(format!("{what} gives {}; check nvidia-smi", code(error)))
        };
        let count = result::device::get_count().map_err(failed("cuDeviceGetCount"))?;
        let wanted = i32::try_from(ordinal).ok().filter(|&wanted| wanted < count);
        let Some(wanted) = wanted else {
            let last = count - 1;
            return Err(unavailable(format!("there is no GPU {ordinal}; choose one from 0 to {last}")));
        };
        let device = result::device::get(wanted).map_err(failed("cuDeviceGet"))?;
        let name = result::device::get_name(device).map_err(failed("cuDeviceGetName"))?;
        let (major, minor) = capability(device).map_err(failed("cuDeviceGetAttribute"))?;
        if major < 8 {
            let found = format!("GPU {ordinal}, {name}, has compute capability {major}.{minor}, wanted 8.0");
            return Err(unavailable(format!("{found}; choose another GPU")));
        }
        // SAFETY: a device that the driver named.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed("cuDevicePrimaryCtxRetain"))?;
        let name = format!("{name} (cuda:{ordinal}), compute capability {major}.{minor}");
        let queue = Queue { records: false, last: "no kernel", staging: None }.into();
        let modules = Vec::new();
        let functions = HashMap::new();
        let stream = std::ptr::null_mut();
        // From here on, dropping it gives the context back.
        let mut driver = Self { name, device, context, stream, modules, functions, queue, in_use: Mutex::default() };
        driver.bind().map_err(failed("cuCtxSetCurrent"))?;
        let kind = result::stream::StreamKind::NonBlocking;
        driver.stream = result::stream::create(kind).map_err(failed("cuStreamCreate"))?;
        Ok(driver)
    }

    /// Loads every module and finds every kernel in it.
    fn load(mut self) -> Result<Arc<Self>> {
        let failed = |name: &str, error: DriverError| {
            let what = format!("{} refuses the kernels of {name}", self.name);
            unavailable(format!("{what}, {}; install a newer NVIDIA driver", code(error)))
        };
        let limit = DeviceLimit::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let capability = capability(self.device).map_err(|error| failed("all ops", error))?;
        // SAFETY: a device that the driver named.
        let shared_max =
            unsafe { result::device::get_attribute(self.device, limit) }.map_err(|error| failed("all ops", error))?;
        let mut modules = Vec::new();
        let mut functions = HashMap::new();
        let mut all = || {
            for module in MODULES {
                let image = module.image(capability);
                // SAFETY: a whole image, which ends with a zero byte if it is text.
                let raw = unsafe { result::module::load_data(image.as_ptr().cast()) };
                let raw = raw.map_err(|error| failed(module.name, error))?;
                modules.push(raw);
                for entry in module.entries {
                    // SAFETY: the module is loaded and stays so.
                    let function = unsafe { function(raw, entry, shared_max) };
                    functions.insert(*entry, function.map_err(|error| failed(entry, error))?);
                }
            }
            Ok(())
        };
        let loaded = all();
        (self.modules, self.functions) = (modules, functions);
        loaded.map(|()| Arc::new(self))
    }

    /// Makes the GPU the calling thread's.
    pub fn bind(&self) -> std::result::Result<(), DriverError> {
        // SAFETY: the context is ours until `self` is dropped.
        unsafe { result::ctx::set_current(self.context) }
    }

    /// What recorded graphs use.
    pub fn in_use(&self) -> MutexGuard<'_, InUse<sys::CUdeviceptr>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to enqueue. Launches may be recorded, other calls not.
    ///
    /// # Errors
    /// [`Error::Contract`] for a call that cannot be recorded while a graph is.
    pub fn enter(&self, op: &'static str, recordable: bool) -> Result<MutexGuard<'_, Queue>> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.records && !recordable {
            return Err(busy(op));
        }
        self.bind().map_err(|error| failure(op, error))?;
        Ok(queue)
    }

    /// Enqueues a kernel.
    ///
    /// # Safety
    /// As [`super::Gpu::launch`].
    pub unsafe fn launch(&self, name: &'static str, grid: Grid, params: &[u8]) -> Result<()> {
        let function = self.functions.get(name).unwrap_or_else(|| panic!("{name} is in no module"));
        if grid.shared_bytes > function.shared_bytes_max {
            let wanted = grid.shared_bytes;
            let most = function.shared_bytes_max;
            let detail = format!("a block takes {wanted} bytes of shared memory, but {} has {most}", self.name);
            return Err(Error::Contract { op: name, detail });
        }
        let mut queue = self.enter(name, true)?;
        queue.last = name;
        let ([x, y, z], [width, height, depth]) = (grid.blocks, grid.threads);
        let blocks = (x, y, z);
        let threads = (width, height, depth);
        let mut params = [params.as_ptr().cast_mut().cast()];
        // SAFETY: as the caller promises; the driver copies the parameters before it returns.
        unsafe { result::launch_kernel(function.raw, blocks, threads, grid.shared_bytes, self.stream, &mut params) }
            .map_err(|error| failure(name, error))
    }

    /// Waits for all that was enqueued.
    ///
    /// # Errors
    /// [`Error::Launch`] if any of it failed.
    pub fn wait(&self, queue: &Queue) -> Result<()> {
        // SAFETY: the stream is ours.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|error| {
            let detail = format!("{} came from this kernel or one that was launched before it", code(error));
            Error::Launch { kernel: queue.last, detail }
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A driver that fails here has failed before, and the process's end frees all of it.
        let _ = self.bind();
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: everything is ours, released once, and nothing holds a handle any more: what did, held `self`.
        unsafe {
            if !self.stream.is_null() {
                let _ = result::stream::synchronize(self.stream);
            }
            queue.staging = None;
            for &module in &self.modules {
                let _ = result::module::unload(module);
            }
            if !self.stream.is_null() {
                let _ = result::stream::destroy(self.stream);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

/// A call that the driver refused or that found the GPU failed; nothing runs after it.
pub(super) fn failure(kernel: &'static str, error: DriverError) -> Error {
    Error::Launch { kernel, detail: format!("the NVIDIA driver says {}", code(error)) }
}

/// Major and minor.
pub(super) fn capability(device: sys::CUdevice) -> std::result::Result<(i32, i32), DriverError> {
    // SAFETY: a device that the driver named.
    let get = |limit| unsafe { result::device::get_attribute(device, limit) };
    Ok((
        get(DeviceLimit::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        get(DeviceLimit::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

/// A kernel by its name, allowed all the shared memory there is: that is a permission and costs nothing.
///
/// # Safety
/// The module stays loaded.
unsafe fn function(module: sys::CUmodule, name: &str, shared_max: i32) -> std::result::Result<Function, DriverError> {
    let name = std::ffi::CString::new(name).expect("a C name");
    // SAFETY: as the caller promises.
    unsafe {
        let raw = result::module::get_function(module, name)?;
        let fixed = result::function::get_function_attribute(raw, FunctionLimit::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?;
        let most = (shared_max - fixed).max(0);
        let permission = FunctionLimit::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        result::function::set_function_attribute(raw, permission, most)?;
        Ok(Function { raw, shared_bytes_max: most.unsigned_abs() })
    }
}
