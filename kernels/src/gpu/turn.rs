//! Whose turn it is: one thread enqueues on a device at a time, and while it records a graph the others wait.
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// Gives threads their turns. The thread that has its turn may take it again: ops run inside a recording, and a thread
/// of rayon's pool that waits for its part of an emulated launch may be handed another op.
#[derive(Default)]
pub(super) struct Turns {
    holder: Mutex<Holder>,
    ended: Condvar,
}

#[derive(Default)]
struct Holder {
    thread: Option<ThreadId>,
    /// How often that thread has taken its turn.
    depth: usize,
}

/// No other thread has its turn before this is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    /// A turn belongs to its thread.
    here: PhantomData<*const ()>,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Holder> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the calling thread's turn.
    pub fn take(&self) -> Turn<'_> {
        let own = std::thread::current().id();
        let is_taken = |holder: &mut Holder| holder.thread.is_some_and(|thread| thread != own);
        let mut holder = self.ended.wait_while(self.lock(), is_taken).unwrap_or_else(PoisonError::into_inner);
        holder.thread = Some(own);
        holder.depth += 1;
        Turn { turns: self, here: PhantomData }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut holder = self.turns.lock();
        holder.depth -= 1;
        if holder.depth == 0 {
            holder.thread = None;
            self.turns.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A thread may take its turn twice; the others wait until it has given back both.
    #[test]
    fn one_thread_at_a_time() {
        let turns = Turns::default();
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let outer = turns.take();
                        let inner = turns.take();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        drop(outer);
                        std::thread::yield_now();
                        assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                        drop(inner);
                    }
                });
            }
        });
        assert_eq!(turns.lock().depth, 0);
    }
}
