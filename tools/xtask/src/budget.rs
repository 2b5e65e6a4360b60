//! `kernel-budget`: what the machine code of every kernel takes, compared with `kernels/budget.tsv`.
//!
//! Two front ends compile each source. NVRTC's code is what the build of `med2e3-kernels` embeds, so the table is about
//! the code that runs. nvcc warns of more, and its warnings are errors. No GPU is needed.

mod table;
mod tools;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use med2e3_kernels::gpu::modules::{COMPILER, MODULES, Module};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use table::{COLUMNS, Key, Table};
use tools::Tools;

/// Architectures that builds embed, with a compute capability that each is loaded on.
const ARCHS: [(&str, (i32, i32)); 2] = [("sm_80", (8, 0)), ("sm_90a", (9, 0))];
/// A compute capability that PTX is loaded on.
const PTX_CAPABILITY: (i32, i32) = (10, 0);
/// The assembler must take the PTX that builds embed for GPUs that have no image of their own.
const PTX_ARCHS: [&str; 3] = ["sm_80", "sm_100", "sm_120"];
/// The compilers that `tools/setup-cuda` pins: as the build names NVRTC, and as the table names both.
const NVRTC: (&str, &str) = ("NVRTC 12.9", "nvrtc12.9");
const NVCC: &str = "nvcc13.0";
/// Sources that multiply with tensor cores; some kernel of each must hold their instruction.
const TENSOR_CORES: [&str; 7] = [
    "attention_full",
    "attention_paged",
    "linear",
    "linear.kernel_few",
    "rms_linear",
    "rms_linear_argmax",
    "rms_qkv_rope_append",
];

/// Compares, and before that writes the table where `update` says so. What to print.
pub fn run(update: bool) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = Bench::new(&root)?.measure()?;
    let path = root.join("kernels/budget.tsv");
    let at = |error: std::io::Error| format!("kernels/budget.tsv: {error}");
    if update {
        fs::write(&path, found.text()).map_err(at)?;
    }
    let wanted =
        Table::parse(&fs::read_to_string(&path).map_err(at)?).map_err(|error| format!("budget.tsv: {error}"))?;
    let faults = found.faults(&wanted, &TENSOR_CORES);
    if !faults.is_empty() {
        let remedy = "if that is meant, run tools/kernel-budget --update and commit the table";
        return Err(format!("{}\ntools/kernel-budget: {remedy}", faults.join("\n")));
    }
    let kernels: BTreeSet<&str> = found.rows.keys().map(|key| key.kernel.as_str()).collect();
    let rows = found.rows.len();
    Ok(format!("tools/kernel-budget: {} kernels, {rows} rows, as in budget.tsv", kernels.len()))
}

/// Where the measuring is done.
struct Bench {
    tools: Tools,
    kernels: PathBuf,
    /// Rows of what was compiled from the same bytes before.
    cache: PathBuf,
    /// What every kernel depends on: the headers and the pinned versions.
    common: Vec<u8>,
}

/// One source, compiled for one architecture by one compiler.
#[derive(Clone, Copy)]
struct Job<'a> {
    module: &'a Module,
    arch: &'static str,
    /// Where its machine code is embedded; nvcc compiles the source.
    embedded: Option<(i32, i32)>,
}

impl Bench {
    fn new(root: &Path) -> Result<Self, String> {
        let folder = root.join(".cuda/nvcc/nvidia/cu13");
        if !folder.exists() || COMPILER.is_none() {
            return Err("tools/kernel-budget: the compilers are missing: run tools/setup-cuda".to_owned());
        }
        if COMPILER != Some(NVRTC.0) {
            let found = COMPILER.unwrap_or_default();
            return Err(format!("tools/kernel-budget: the build used {found}, but the table is about {}", NVRTC.0));
        }
        let cache = root.join(".cuda/budget");
        let common = fs::create_dir_all(&cache)
            .and_then(|()| Ok([contents(&root.join("kernels/include"))?, contents(&root.join("tools/cuda"))?].concat()))
            .map_err(|error| format!("tools/kernel-budget: {error}"))?;
        Ok(Self { tools: Tools { folder }, kernels: root.join("kernels"), cache, common })
    }

    /// Everything, from the cache where it is there; what the cache has beyond that is removed.
    fn measure(&self) -> Result<Table, String> {
        let of_module = |module| {
            ARCHS.into_iter().flat_map(move |(arch, capability)| {
                [Some(capability), None].map(|embedded| Job { module, arch, embedded })
            })
        };
        let jobs: Vec<Job<'_>> = MODULES.iter().flat_map(of_module).collect();
        let measured: Vec<(PathBuf, Table)> =
            jobs.par_iter().map(|job| self.cached(*job)).collect::<Result<_, String>>()?;
        let (used, tables): (BTreeSet<PathBuf>, Vec<Table>) = measured.into_iter().unzip();
        let entries = fs::read_dir(&self.cache).map_err(|error| error.to_string())?;
        for old in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| !used.contains(path)) {
            // What cannot be removed only takes room.
            let _ = fs::remove_file(old);
        }
        Ok(Table { rows: tables.into_iter().flat_map(|table| table.rows).collect() })
    }

    /// The rows of a job, and the file that keeps them.
    fn cached(&self, job: Job<'_>) -> Result<(PathBuf, Table), String> {
        let at = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        let source = self.source(job.module.name);
        let text = fs::read(&source).map_err(|error| at(&source, error))?;
        let image = job.embedded.map(|capability| job.module.image(capability)).unwrap_or_default();
        let ptx = job.module.image(PTX_CAPABILITY);
        let mut hash = Sha256::new();
        for part in [self.common.as_slice(), job.arch.as_bytes(), job.compiler().as_bytes(), &text, &image, &ptx] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.update(COLUMNS.concat());
        let key: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.cache.join(format!("{key}.tsv"));
        if let Some(known) = fs::read_to_string(&path).ok().and_then(|text| Table::parse_rows(&text)) {
            return Ok((path, known));
        }
        let table = self.compile(job, &source, &image, &ptx)?;
        let part = path.with_extension(std::process::id().to_string());
        let written = fs::write(&part, table.rows_text()).and_then(|()| fs::rename(&part, &path));
        written.map_err(|error| at(&path, error))?;
        Ok((path, table))
    }

    fn compile(&self, job: Job<'_>, source: &Path, image: &[u8], ptx: &[u8]) -> Result<Table, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let cubin = folder.path().join("kernel.cubin");
        if job.embedded.is_some() {
            fs::write(&cubin, image).map_err(|error| error.to_string())?;
        } else {
            self.tools.compile(source, job.arch, &self.kernels.join("include"), &cubin)?;
        }
        // Once for each source: its PTX is the same for all.
        if job.embedded == Some(ARCHS[0].1) {
            let file = folder.path().join("kernel.ptx");
            fs::write(&file, ptx.strip_suffix(&[0]).unwrap_or(ptx)).map_err(|error| error.to_string())?;
            for arch in PTX_ARCHS {
                self.tools.assemble(&file, arch, &folder.path().join("assembled"))?;
            }
        }
        let figures = self.tools.figures(&cubin)?;
        let key = |kernel| Key {
            source: job.module.name.to_owned(),
            kernel,
            arch: job.arch.to_owned(),
            compiler: job.compiler().to_owned(),
        };
        Ok(Table { rows: figures.into_iter().map(|(kernel, figures)| (key(kernel), figures)).collect() })
    }

    /// The file that a module was compiled from: `linear.kernel_few` is `ops/linear/kernel_few.cu`.
    fn source(&self, module: &str) -> PathBuf {
        let (folder, file) = module.split_once('.').unwrap_or((module, "kernel"));
        let op = self.kernels.join("src/ops").join(folder);
        let folder = if op.exists() { op } else { self.kernels.join("src").join(folder) };
        folder.join(format!("{file}.cu"))
    }
}

impl Job<'_> {
    fn compiler(&self) -> &'static str {
        if self.embedded.is_some() { NVRTC.1 } else { NVCC }
    }
}

/// The bytes of all files in a folder, in order of their names.
fn contents(folder: &Path) -> std::io::Result<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    let files: Vec<Vec<u8>> = paths.iter().map(fs::read).collect::<std::io::Result<_>>()?;
    Ok(files.concat())
}
