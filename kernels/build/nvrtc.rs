//! NVIDIA's compiler as a library: CUDA C++ in, machine code and PTX out. It needs neither a GPU nor a driver.
#![allow(unsafe_code)]

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

/// The oldest major version that knows all that the kernels use.
const MAJOR_MIN: c_int = 12;

/// A loaded compiler.
pub struct Nvrtc {
    library: Library,
    /// What NVRTC finds by name and would otherwise look for along the loader's path.
    _builtins: Library,
    /// Major and minor.
    pub version: (c_int, c_int),
}

/// One compiled source.
pub struct Compiled {
    pub cubin: Vec<u8>,
    pub ptx: String,
    /// Warnings, if there are any.
    pub log: String,
}

type Program = *mut c_void;
type GetSize = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type GetBytes = unsafe extern "C" fn(Program, *mut c_char) -> c_int;

impl Nvrtc {
    /// Loads the library in `folder`.
    pub fn load(folder: &Path) -> Result<Self, String> {
        let open = |prefix: &str| {
            let path = find(folder, prefix).ok_or(format!("{} has no {prefix}*", folder.display()))?;
            // SAFETY: NVIDIA's library, which the user installed; loading it has no effect but memory.
            unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }
                .map_err(|error| format!("{} does not load: {error}", path.display()))
        };
        let builtins = open("libnvrtc-builtins.so")?;
        let library = open("libnvrtc.so")?;
        let mut nvrtc = Self { library, _builtins: builtins, version: (0, 0) };
        type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
        let mut major = 0;
        let mut minor = 0;
        // SAFETY: the function's documented type.
        let code = unsafe { nvrtc.function::<Version>(c"nvrtcVersion")?(&mut major, &mut minor) };
        nvrtc.version = (major, minor);
        if code != 0 || major < MAJOR_MIN {
            return Err(format!("{} holds NVRTC {major}.{minor}, wanted {MAJOR_MIN}.0 or newer", folder.display()));
        }
        Ok(nvrtc)
    }

    /// Compiles a source, or gives the compiler's log.
    pub fn compile(&self, name: &str, source: &str, options: &[String]) -> Result<Compiled, String> {
        type Create = unsafe extern "C" fn(
            *mut Program,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
        type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;
        let text = |text: &str| CString::new(text).map_err(|_| format!("{name} holds a zero byte"));
        let name = text(name)?;
        let source = text(source)?;
        let options: Vec<CString> = options.iter().map(|option| text(option)).collect::<Result<_, _>>()?;
        let option_texts: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let create = self.function::<Create>(c"nvrtcCreateProgram")?;
        let compile = self.function::<Compile>(c"nvrtcCompileProgram")?;
        let destroy = self.function::<Destroy>(c"nvrtcDestroyProgram")?;
        let mut program = std::ptr::null_mut();
        let none = std::ptr::null();
        // SAFETY: all texts end with zero and outlive the calls; no headers are passed.
        let done = unsafe {
            match create(&mut program, source.as_ptr(), name.as_ptr(), 0, none, none) {
                0 => compile(program, option_texts.len() as c_int, option_texts.as_ptr()),
                code => return Err(format!("NVRTC could not begin: code {code}")),
            }
        };
        let log = self.text(program, c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog");
        let result = match done {
            0 => log.and_then(|log| {
                let cubin = self.bytes(program, c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN")?;
                Ok(Compiled { cubin, ptx: self.text(program, c"nvrtcGetPTXSize", c"nvrtcGetPTX")?, log })
            }),
            code => Err(log.unwrap_or(format!("NVRTC ended with code {code}"))),
        };
        // SAFETY: created above, destroyed once.
        unsafe { destroy(&mut program) };
        result
    }

    fn text(&self, program: Program, size: &CStr, get: &CStr) -> Result<String, String> {
        let bytes = self.bytes(program, size, get)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
    }

    fn bytes(&self, program: Program, size: &CStr, get: &CStr) -> Result<Vec<u8>, String> {
        let mut count = 0;
        // SAFETY: the functions' documented types; the buffer has the size that the first one asks for.
        let codes = unsafe {
            let code = self.function::<GetSize>(size)?(program, &mut count);
            let mut bytes = vec![0u8; count];
            (code, self.function::<GetBytes>(get)?(program, bytes.as_mut_ptr().cast()), bytes)
        };
        match codes {
            (0, 0, bytes) => Ok(bytes),
            (first, second, _) => Err(format!("{get:?} failed with codes {first} and {second}")),
        }
    }

    /// A function of the library. `T` must be its documented type.
    fn function<T: Copy>(&self, name: &CStr) -> Result<T, String> {
        // SAFETY: every call above names the function's documented type; the library lives as long as `self`.
        let symbol = unsafe { self.library.get::<T>(name.to_bytes_with_nul()) };
        symbol.map(|symbol| *symbol).map_err(|error| format!("NVRTC has no {name:?}: {error}"))
    }
}

/// The file in `folder` that begins with `prefix`, but for variants that it also holds (`.alt`).
fn find(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|file| file.path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(prefix) && !name.contains(".alt")
    };
    files.filter(fits).min()
}
