//! Machine code for GPUs, to be embedded: what was compiled before and has not changed is taken from OUT_DIR.
use crate::nvrtc::Nvrtc;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::env::var;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is embedded of every source, as NVRTC names it. The first gives PTX for all other GPUs, too.
const ARCHS: [&str; 2] = ["sm_80", "sm_90a"];

/// The PTX version of CUDA 12.8. PTX is for GPUs after compute capability 9.0, and no driver for those is older.
const PTX_VERSION: (u32, u32) = (8, 7);

/// Where NVRTC and the headers lie in one installation, tried in this order.
const LAYOUTS: [(&str, &str); 4] = [
    ("nvidia/cuda_nvrtc/lib", "nvidia/cuda_runtime/include"),
    ("lib64", "include"),
    ("lib", "include"),
    ("lib/x86_64-linux-gnu", "include"),
];

/// The compiler and the headers that it includes.
struct Toolchain {
    nvrtc: Nvrtc,
    include: PathBuf,
}

/// Writes `modules.rs`, the table of machine code, to OUT_DIR; an empty one without a compiler.
pub fn embed(folder: &Path, sources: &[PathBuf]) {
    for name in ["MED2E3_CUDA", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(var("OUT_DIR").expect("cargo sets it")).join("gpu");
    fs::create_dir_all(&out).expect("OUT_DIR is writable");
    let toolchain = toolchain(folder);
    let compiler = toolchain
        .as_ref()
        .map(|Toolchain { nvrtc: Nvrtc { version: (major, minor), .. }, .. }| format!("NVRTC {major}.{minor}"));
    let modules = toolchain.map_or(Vec::new(), |toolchain| compile_all(&toolchain, folder, sources, &out));
    let entries: String = modules.iter().map(|module| module.entries.as_str()).collect();
    let modules: String = modules.into_iter().map(|module| module.code).collect();
    let table = format!(
        "/// What compiled [`MODULES`]; none in a build without a compiler.\n\
         pub const COMPILER: Option<&str> = {compiler:?};\n\
         /// Every kernel's machine code; empty in a build without a compiler.\n\
         pub static MODULES: &[Module] = &[\n{modules}];\n"
    );
    write_changed(&out.join("modules.rs"), table.as_bytes());
    // For the crate that stands in for the driver.
    write_changed(&out.join("entries.tsv"), entries.as_bytes());
    println!("cargo::metadata=entries={}", out.join("entries.tsv").display());
}

/// What one source became.
struct Module {
    /// Its entry in the table of machine code.
    code: String,
    /// A line for every kernel: its name, a tab, the bytes of its parameter block.
    entries: String,
}

/// What MED2E3_CUDA names, else `.cuda/`, else an installed CUDA. `MED2E3_CUDA=none` leaves GPUs out.
fn toolchain(folder: &Path) -> Option<Toolchain> {
    if let Ok(asked) = var("MED2E3_CUDA") {
        if asked == "none" {
            return None;
        }
        return Some(open(Path::new(&asked)).unwrap_or_else(|error| fail(&format!("MED2E3_CUDA: {error}"))));
    }
    let own = folder.join("../.cuda/nvrtc");
    if own.join("complete").exists() {
        println!("cargo::rerun-if-changed={}", own.join("complete").display());
        let again = "remove .cuda and run tools/setup-cuda";
        return Some(open(&own).unwrap_or_else(|error| fail(&format!("{error}; {again}"))));
    }
    let places = [var("CUDA_HOME").ok(), var("CUDA_PATH").ok(), Some("/usr/local/cuda".into())];
    places.into_iter().flatten().find_map(|place| open(Path::new(&place)).ok())
}

fn open(place: &Path) -> Result<Toolchain, String> {
    let fits = |(lib, include): &(&str, &str)| {
        place.join(include).join("cuda_bf16.h").exists()
            && place.join(lib).read_dir().is_ok_and(|files| {
                files.filter_map(Result::ok).any(|file| file.file_name().to_string_lossy().starts_with("libnvrtc.so"))
            })
    };
    let (lib, include) =
        LAYOUTS.iter().find(|layout| fits(layout)).ok_or(format!("{} holds no NVRTC with headers", place.display()))?;
    Ok(Toolchain { nvrtc: Nvrtc::load(&place.join(lib))?, include: place.join(include) })
}

/// Every source, in their order.
fn compile_all(toolchain: &Toolchain, folder: &Path, sources: &[PathBuf], out: &Path) -> Vec<Module> {
    let next = AtomicUsize::new(0);
    let headers = headers(&folder.join("include"));
    let work = || {
        let mut done = Vec::new();
        while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((source, module(toolchain, folder, source, &headers, out)));
        }
        done
    };
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get()).min(sources.len());
    let mut modules: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    modules.sort_by_key(|(source, _)| *source);
    let failed: Vec<&String> = modules.iter().filter_map(|(_, module)| module.as_ref().err()).collect();
    if !failed.is_empty() {
        let logs: Vec<&str> = failed.iter().map(|log| log.as_str()).collect();
        fail(&format!("{}\n{} kernels do not compile for GPUs", logs.join("\n"), failed.len()));
    }
    modules.into_iter().filter_map(|(_, module)| module.ok()).collect()
}

/// All headers as one text: a change in any of them is a change of every kernel.
fn headers(include: &Path) -> String {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(include).expect("the headers are there").filter_map(Result::ok).map(|file| file.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).expect("a header is text")).collect()
}

/// Compiles one source for every architecture, or finds that done.
fn module(toolchain: &Toolchain, folder: &Path, source: &Path, headers: &str, out: &Path) -> Result<Module, String> {
    let [ops, all] = ["src/ops", "src"].map(|part| folder.join(part));
    let path = source.strip_prefix(ops).or(source.strip_prefix(all)).expect("kernels lie in src");
    let name = path.with_extension("").to_string_lossy().replace('/', ".");
    let name = name.strip_suffix(".kernel").unwrap_or(&name);
    let text = fs::read_to_string(source).map_err(|error| format!("{}: {error}", source.display()))?;
    let includes = [&folder.join("include"), &toolchain.include].map(|path| format!("-I{}", path.display()));
    let mut code = format!("    Module {{\n        name: \"{name}\",\n");
    let mut entries = String::new();
    for arch in ARCHS {
        let mut options = vec![format!("--gpu-architecture={arch}"), "-std=c++17".into()];
        options.extend(includes.iter().cloned());
        let stem = out.join(format!("{name}.{arch}"));
        let file = |end: &str| PathBuf::from(format!("{}.{end}", stem.display()));
        let key = format!("{:?}\n{options:?}\n{headers}\n{text}", toolchain.nvrtc.version);
        if fs::read_to_string(file("key")).ok().as_ref() != Some(&key) || !file("entries").exists() {
            let _ = fs::remove_file(file("key"));
            let done = toolchain.nvrtc.compile(&format!("{name}.cu"), &text, &options);
            let done = done.map_err(|log| format!("{}, {arch}:\n{log}", source.display()))?;
            for line in done.log.lines().filter(|line| !line.trim().is_empty()) {
                println!("cargo::warning={arch}: {line}");
            }
            write(&file("cubin"), &compress(&done.cubin));
            write(&file("ptx"), &compress(lowered(&done.ptx).as_bytes()));
            write(&file("entries"), entry_points(&done.ptx).as_bytes());
            write(&file("key"), key.as_bytes());
        }
        let _ = writeln!(code, "        {}: include_bytes!({:?}),", arch, file("cubin"));
        if arch == ARCHS[0] {
            let _ = writeln!(code, "        ptx: include_bytes!({:?}),", file("ptx"));
            entries = fs::read_to_string(file("entries")).map_err(|error| error.to_string())?;
        }
    }
    let names = entries.lines().filter_map(|line| line.split('\t').next());
    let names: String = names.map(|name| format!("{name:?}, ")).collect();
    let _ = writeln!(code, "        entries: &[{names}],\n    }},");
    Ok(Module { code, entries })
}

/// The same program for older drivers: NVRTC writes its own version, but the kernels use nothing that new.
fn lowered(ptx: &str) -> String {
    let version = |line: &str| {
        let (major, minor) = line.strip_prefix(".version ")?.trim().split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    let (major, minor) = PTX_VERSION;
    let lines = ptx.lines().map(|line| match version(line) {
        Some(found) if found > PTX_VERSION => format!(".version {major}.{minor}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// The kernels in a program, as [`Module::entries`] has them. Each takes one parameter, its block.
fn entry_points(ptx: &str) -> String {
    let entry = |text: &str| {
        let (name, params) = text.split_once('(')?;
        let (bytes, _) = params.split_once(&format!("{name}_param_0["))?.1.split_once(']')?;
        Some(format!("{name}\t{bytes}\n"))
    };
    let entries = ptx.split(".visible .entry ").skip(1);
    entries.map(|text| entry(text).expect("a kernel has a parameter block")).collect()
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

/// Ends the build; cargo shows what was said.
fn fail(what: &str) -> ! {
    eprintln!("{what}");
    std::process::exit(1)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Leaves a file alone that is the same already.
fn write_changed(path: &Path, bytes: &[u8]) {
    if fs::read(path).ok().as_deref() != Some(bytes) {
        write(path, bytes);
    }
}
