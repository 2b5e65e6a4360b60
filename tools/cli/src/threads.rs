//! The threads that a command computes with: started once, before anything else, and never too many.

use crate::failure::{Failure, Result};
use crate::output::note;

/// More threads than this for each core only wait for one another.
const PER_CORE_MAX: usize = 8;
/// Allowed on any machine.
const ALWAYS: usize = 16;

/// Starts as many threads as `--threads` says, else the environment's `RAYON_NUM_THREADS`, else one for each core.
pub fn start(asked: Option<u16>) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let named = std::env::var("RAYON_NUM_THREADS").ok().and_then(|number| number.parse().ok());
    let wanted = asked.map(usize::from).or(named.filter(|&number| number > 0)).unwrap_or(cores);
    let threads = wanted.min(most(cores));
    if threads < wanted {
        note(&format!("warning: {wanted} threads are too many for {cores} cores; {threads} are started"));
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|error| {
        let remedy = "give a smaller --threads, or raise the system's limit (ulimit -u)";
        Failure::runtime(format!("cannot start {threads} threads: {error}; {remedy}"))
    })
}

fn most(cores: usize) -> usize {
    cores.saturating_mul(PER_CORE_MAX).max(ALWAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_any_size_have_a_limit() {
        assert_eq!([1, 2, 64, usize::MAX].map(most), [16, 16, 512, usize::MAX]);
    }
}
