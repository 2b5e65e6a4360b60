//! NVIDIA's programs in `.cuda/nvcc`: the compiler, the assembler, and the readers of machine code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::table::{Figures, INSTRUCTIONS};

/// Where they are.
pub struct Tools {
    /// The folder that holds `bin`.
    pub folder: PathBuf,
}

impl Tools {
    /// Compiles a source to machine code for one architecture. Warnings are errors.
    pub fn compile(&self, source: &Path, arch: &str, include: &Path, target: &Path) -> Result<(), String> {
        let mut nvcc = self.program("nvcc");
        nvcc.args(["-std=c++17", "-O3", "-cubin", "-Werror", "all-warnings"]).arg(format!("-arch={arch}"));
        nvcc.arg(format!("-I{}", include.display())).arg("-o").arg(target).arg(source);
        output(nvcc).map(drop)
    }

    /// Makes machine code of PTX for one architecture.
    pub fn assemble(&self, ptx: &Path, arch: &str, target: &Path) -> Result<(), String> {
        let mut ptxas = self.program("ptxas");
        ptxas.arg(format!("-arch={arch}")).arg("-o").arg(target).arg(ptx);
        output(ptxas).map(drop)
    }

    /// What every kernel in a file of machine code takes, by its name.
    pub fn figures(&self, cubin: &Path) -> Result<BTreeMap<String, Figures>, String> {
        let mut usage = self.program("cuobjdump");
        usage.arg("-res-usage").arg(cubin);
        let mut found = resources(&output(usage)?);
        let mut listing = self.program("nvdisasm");
        listing.arg("-c").arg(cubin);
        for (kernel, counts) in instructions(&output(listing)?) {
            let figures = found.get_mut(&kernel);
            figures.ok_or_else(|| format!("{kernel}: cuobjdump does not list it"))?.extend(counts);
        }
        Ok(found)
    }

    fn program(&self, name: &str) -> Command {
        let bin = self.folder.join("bin");
        let mut command = Command::new(bin.join(name));
        // They start each other by name.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(bin).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(paths).unwrap_or(path));
        command
    }
}

/// What a program prints; its failure in its own words.
fn output(mut command: Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|error| format!("{name} cannot be started: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() {
        Ok(text(&done.stdout))
    } else {
        Err(format!("{name} failed:\n{}{}", text(&done.stdout), text(&done.stderr)))
    }
}

/// `cuobjdump -res-usage`: after a line with a function's name, one with numbers such as `REG:8 STACK:0 SHARED:0`.
fn resources(text: &str) -> BTreeMap<String, Figures> {
    const NAMES: [(&str, &str); 3] = [("REG:", "registers"), ("STACK:", "stack"), ("SHARED:", "shared")];
    let mut found = BTreeMap::new();
    let mut kernel = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("Function ") {
            kernel = name.trim_end_matches(':').to_owned();
        }
        let number = |(prefix, column): (&str, &'static str)| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(prefix))?;
            Some((column, word.parse().ok()?))
        };
        let figures: Option<Figures> = NAMES.into_iter().map(number).collect();
        found.extend(figures.map(|figures| (kernel.clone(), figures)));
    }
    found
}

/// `nvdisasm -c`: a kernel's code begins at a line `.text.NAME:`. How often each instruction stands there.
fn instructions(text: &str) -> BTreeMap<String, Figures> {
    let mut found: BTreeMap<String, Figures> = BTreeMap::new();
    let mut kernel = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix(".text.").and_then(|rest| rest.split(':').next()) {
            found.insert(name.to_owned(), INSTRUCTIONS.iter().map(|&instruction| (instruction, 0)).collect());
            kernel = Some(name.to_owned());
        }
        let Some(counts) = kernel.as_ref().and_then(|kernel| found.get_mut(kernel)) else { continue };
        for word in line.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
            if let Some(count) = counts.get_mut(word) {
                *count += 1;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_counted_by_kernel() {
        let usage = "Resource usage:\n Function a_kernel:\n  REG:32 STACK:0 SHARED:1024 LOCAL:0\n";
        let found = resources(&format!("{usage} Function b:\n  REG:8 STACK:16 SHARED:0 CONSTANT[0]:360\n"));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a_kernel", "b"]);
        assert_eq!(found["a_kernel"], Figures::from([("registers", 32), ("shared", 1024), ("stack", 0)]));
        assert_eq!(found["b"]["stack"], 16);
        let listing = "\t.section\t.text.a_kernel
.text.a_kernel:
 /*0000*/ HMMA.16816.F32 R8, R4 ;
 LDSM.16.M88 R4 ;
@P0 LDGSTS.E [R1], desc[UR4][R2] ;
.text.b:
 STL [R1], R0 ;
 STL.64 [R1+0x8], R2 ;
 MY_STL ;
";
        let found = instructions(listing);
        let counts = |kernel: &str| INSTRUCTIONS.iter().map(|name| found[kernel][name]).collect::<Vec<_>>();
        assert_eq!((counts("a_kernel"), counts("b")), (vec![0, 0, 1, 1, 1], vec![0, 2, 0, 0, 0]));
    }
}
