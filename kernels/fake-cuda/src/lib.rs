//! A `libcuda.so` without a GPU, for tests: our code runs as it does on one, through the driver's own functions, and
//! the emulator runs the kernels.
//!
//! What a real driver allows itself, this one does, so that code which trusts its luck is found out:
//!
//! - nothing that was enqueued runs before somebody waits: a copy out of pinned memory takes what lies there by then;
//! - new memory is full of 0xcd, and memory that was freed can no more be touched;
//! - a thread without a context gets an error, as does every call that a recording forbids, which ends the recording;
//! - nothing runs after a kernel that failed;
//! - a context that goes while something made in it is left ends the process.
//!
//! Device addresses are addresses of the process, so that emulated kernels can use them. `tools/fake-cuda` runs a
//! program with it; the variable `FAKE_CUDA` makes it another machine, or one with a fault ([`settings`]).
#![allow(unsafe_code)]
#![allow(non_snake_case, reason = "the driver's names")]
use cudarc::driver::sys::CUresult;
use state::State;
use std::sync::{LazyLock, Mutex, PoisonError};

mod context;
mod copies;
mod memory;
mod modules;
mod recording;
mod settings;
mod state;
mod stream;

/// What a call gives.
type Answer<T = ()> = Result<T, CUresult>;

/// The driver of this process.
static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::new(settings::Settings::of_process())));

/// Answers the call of the driver's function `name`, or refuses it if the settings say so.
fn call(name: &str, answer: impl FnOnce(&mut State) -> Answer) -> CUresult {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let result = state.settings.admit(name).and_then(|()| answer(&mut state));
    result.err().unwrap_or(CUresult::CUDA_SUCCESS)
}

/// Writes a result where the caller wants it.
///
/// # Safety
/// A `T` can be written there.
unsafe fn give<T>(out: *mut T, value: T) -> Answer {
    // SAFETY: as the caller promises.
    unsafe { out.write(value) };
    Ok(())
}
