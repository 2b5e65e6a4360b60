//! Times of one call from a cold cache, and the bandwidth to compare them with.
use crate::inputs::activations;
use crate::ops::Call;
use med2e3_kernels::ops::Copy;
use med2e3_kernels::{Device, Result, Tensor};
use std::time::{Duration, Instant};

/// Bytes that are copied between two calls: more than any cache of today's GPUs, and of most processors.
const FLUSH_BYTES: usize = 128 << 20;

/// Two buffers whose copy leaves nothing else in the caches.
pub struct Cold<'a> {
    device: &'a dyn Device,
    from: Tensor,
    to: Tensor,
}

/// Times of many calls, sorted.
pub struct Times(Vec<Duration>);

impl<'a> Cold<'a> {
    /// Takes `flush` bytes of memory twice; 128 MiB where the caches are to be cold.
    ///
    /// # Panics
    /// If there is not enough memory.
    pub fn new(device: &'a dyn Device, flush: Option<usize>) -> Self {
        let count = flush.unwrap_or(FLUSH_BYTES) / device.activation().bytes();
        let [from, to] = [0; 2].map(|_| activations(device, &[count.div_ceil(1024), 1024]));
        Self { device, from, to }
    }

    fn flush(&mut self) -> Result<()> {
        self.device.copy(Copy { x: self.from.view(), out: self.to.view_mut() })
    }

    /// One call after a flush. On a GPU the flush also hides that the host enqueues the call.
    ///
    /// # Errors
    /// If the device fails.
    pub fn once(&mut self, call: &mut Call<'_>) -> Result<Duration> {
        self.flush()?;
        self.device.time(&mut *call.run)
    }

    /// Calls until `limit` has passed or there are `most` times, but at least three; the first is left out.
    ///
    /// # Errors
    /// If the device fails.
    pub fn times(&mut self, call: &mut Call<'_>, most: usize, limit: Duration) -> Result<Times> {
        let start = Instant::now();
        self.once(call)?;
        let mut times = Vec::new();
        while times.len() < 3 || (times.len() < most && start.elapsed() < limit) {
            times.push(self.once(call)?);
        }
        times.sort();
        Ok(Times(times))
    }

    /// Bytes read and written per second by a copy, the best of ten: what memory gives.
    ///
    /// # Errors
    /// If the device fails.
    pub fn bandwidth(&mut self) -> Result<f64> {
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let device = self.device;
            let from = self.from.view();
            let to = &mut self.to;
            best = best.min(device.time(&mut || device.copy(Copy { x: from, out: to.view_mut() }))?);
        }
        Ok((self.from.bytes() + self.to.bytes()) as f64 / best.as_secs_f64())
    }
}

impl Times {
    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Seconds that this share of the calls did not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[((self.0.len() as f64 * share).ceil() as usize).clamp(1, last + 1) - 1].as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let times = Times((1..=200).map(Duration::from_secs).collect());
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| times.quantile(share)), [1.0, 100.0, 198.0, 200.0]);
        let three = Times([1, 2, 3].map(Duration::from_secs).into());
        assert_eq!([three.quantile(0.5), three.quantile(0.99)], [2.0, 3.0]);
    }
}
