//! Pages that are counted: one that the last holder drops is free again, so that none is lost or given away twice.
use std::sync::{Arc, Mutex, PoisonError};

/// The numbers of free pages. A page that a thread drops while it panics comes back as well.
type Free = Arc<Mutex<Vec<u32>>>;

/// All pages of a cache.
pub(crate) struct Pool {
    free: Free,
}

/// A page that is in use. It can be shared, never copied, and is free once all its holders have dropped it.
pub(crate) struct Page(Arc<Held>);

struct Held {
    number: u32,
    home: Free,
}

impl Pool {
    /// Pages `0..total`, all free.
    pub fn new(total: usize) -> Self {
        Self { free: Arc::new(Mutex::new((0..total as u32).rev().collect())) }
    }

    /// A free page; `None` if there is none.
    pub fn take(&mut self) -> Option<Page> {
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Page(Arc::new(Held { number, home: self.free.clone() })))
    }

    /// How many pages are free.
    pub fn free(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Page {
    /// Which page it is.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// The page for one more holder.
    pub fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// Whether it has more than one holder.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}
