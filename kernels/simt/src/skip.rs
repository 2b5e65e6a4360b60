//! Kernels with one synchronisation left out, to see that tests notice: mutants without a second compilation.
use crate::site::Site;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A line whose synchronisation does nothing.
pub(crate) struct Skip {
    file: String,
    line: i32,
    met: AtomicU64,
}

thread_local! {
    static SKIP: RefCell<Option<Arc<Skip>>> = const { RefCell::new(None) };
}

impl Skip {
    /// Whether `site` is the line; counts.
    pub fn meets(&self, site: Site) -> bool {
        let meets = site.is(&self.file, self.line);
        self.met.fetch_add(u64::from(meets), Ordering::Relaxed);
        meets
    }
}

/// What launches of this OS thread leave out.
pub(crate) fn current() -> Option<Arc<Skip>> {
    SKIP.with_borrow(Option::clone)
}

/// Takes the line back when a run ends, even by a panic.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        SKIP.set(None);
    }
}

/// Does `run`, with the barrier, warp barrier or wait for copies on line `line` of the source file that ends in `file`
/// left out of every launch that this OS thread makes. Also gives how often threads came by that line.
///
/// # Safety
/// A kernel that lacks it reads what other threads have not written yet. Either all launches of `run` are checked, so
/// that no access leaves what the kernel may use, or no address depends on what that line orders.
pub unsafe fn without_sync<T>(file: &str, line: u32, run: impl FnOnce() -> T) -> (T, u64) {
    let line = i32::try_from(line).expect("a line of a file");
    let skip = Arc::new(Skip { file: file.to_owned(), line, met: AtomicU64::new(0) });
    SKIP.set(Some(Arc::clone(&skip)));
    let restore = Restore;
    let result = run();
    drop(restore);
    (result, skip.met.load(Ordering::Relaxed))
}
