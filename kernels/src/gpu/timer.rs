//! How long ops take on the GPU, by its own clock. Tested over a stand-in for the driver only.
use super::driver::{Driver, failure};
use crate::Result;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::sync::Arc;
use std::time::Duration;

/// A moment on the stream.
struct Moment(sys::CUevent);

impl Moment {
    fn new() -> std::result::Result<Self, DriverError> {
        result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map(Self)
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        // SAFETY: made above, released once; the driver lets a record under way finish.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}

/// Runs `enqueue` between two moments and waits.
pub(super) fn time(driver: &Arc<Driver>, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
    let failed = |error| failure("time", error);
    let record = |moment: &Moment| {
        let _queue = driver.enter("time", false)?;
        // SAFETY: event and stream are ours.
        unsafe { result::event::record(moment.0, driver.stream) }.map_err(failed)
    };
    let [first, last] = {
        let _queue = driver.enter("time", false)?;
        [Moment::new().map_err(failed)?, Moment::new().map_err(failed)?]
    };
    record(&first)?;
    enqueue()?;
    record(&last)?;
    let queue = driver.enter("time", false)?;
    driver.wait(&queue)?;
    drop(queue);
    // SAFETY: both were recorded on one stream, which has passed them.
    let milliseconds = unsafe { result::event::elapsed(first.0, last.0) }.map_err(failed)?;
    Ok(Duration::from_secs_f64(f64::from(milliseconds) / 1e3))
}
