//! The machine code of every kernel, as the build embedded it.
use flate2::read::ZlibDecoder;
use std::io::Read;

/// What one `kernel*.cu` was compiled to; images are compressed.
pub struct Module {
    /// Its op and file.
    pub name: &'static str,
    /// The kernels in it.
    pub entries: &'static [&'static str],
    /// For GPUs of compute capability 8.x.
    sm_80: &'static [u8],
    /// For GPUs of compute capability 9.0.
    sm_90a: &'static [u8],
    /// For all later GPUs, which their driver compiles it for.
    ptx: &'static [u8],
}

// COMPILER and MODULES.
include!(concat!(env!("OUT_DIR"), "/gpu/modules.rs"));

impl Module {
    /// What the driver loads on a GPU of this compute capability, at least 8.0; PTX ends with a zero byte.
    pub fn image(&self, capability: (i32, i32)) -> Vec<u8> {
        let (compressed, is_text) = match capability {
            (8, _) => (self.sm_80, false),
            (9, 0) => (self.sm_90a, false),
            _ => (self.ptx, true),
        };
        let mut image = Vec::new();
        ZlibDecoder::new(compressed).read_to_end(&mut image).expect("the build compressed it");
        image.extend(is_text.then_some(0));
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ELF files whose machine, in the flags' lowest byte, is the one asked for; PTX for all GPUs from 8.0 on.
    #[test]
    fn every_gpu_gets_its_image() {
        if COMPILER.is_none() {
            println!("not run: this build holds no machine code for GPUs; tools/setup-cuda fetches the compiler");
        }
        for module in MODULES {
            for (capability, machine) in [((8, 0), 80), ((8, 6), 80), ((9, 0), 90)] {
                let image = module.image(capability);
                assert!(image.starts_with(b"\x7fELF"), "{} for {capability:?}", module.name);
                assert_eq!(image[48], machine, "{} for {capability:?}", module.name);
            }
            let ptx = String::from_utf8(module.image((12, 0))).expect("PTX is text");
            assert!(ptx.ends_with('\0') && ptx.contains("\n.target sm_80\n"), "{}", module.name);
            assert!(!module.entries.is_empty(), "{}", module.name);
            for entry in module.entries {
                assert!(ptx.contains(&format!(".visible .entry {entry}(")), "{entry}");
            }
        }
    }

    /// Every kernel that a launcher names can be found when a driver loads the modules.
    #[test]
    fn every_launched_kernel_is_embedded_once() {
        let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops")).expect("the ops");
        let launchers = folders.filter_map(Result::ok).map(|folder| folder.path().join("launch.rs"));
        let sources: String = launchers.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        let named = sources.split("kernel!(").skip(1).filter_map(|rest| rest.split([',', ')']).next());
        for name in named.filter(|_| COMPILER.is_some()) {
            let holders = MODULES.iter().filter(|module| module.entries.contains(&name.trim())).count();
            assert_eq!(holders, 1, "{name}");
        }
    }
}
