//! Writes the fuzz targets' seeds as files, a folder per target: where a coverage-guided fuzzer starts.
use engine_tests::fuzz::TARGETS;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "corpus".into()));
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), (seed.wrap)(seed.bytes))?;
        }
    }
    Ok(())
}
