//! Which weights of a model folder are NaN or infinite.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use med2e3_loaders::{ModelFolder, NonFinite, Part, count_non_finite};
use serde::Serialize;

use crate::progress::Bars;

/// What a scan of all weights found. Field names are a public contract.
#[derive(Debug, Serialize)]
pub struct WeightsReport {
    tensors: usize,
    values: u64,
    non_finite: Vec<Damaged>,
}

/// A tensor with numbers that are not finite.
#[derive(Debug, Serialize)]
struct Damaged {
    part: &'static str,
    tensor: String,
    nan: u64,
    infinite: u64,
}

/// Reads every tensor once, with all threads.
pub fn scan(folder: &ModelFolder) -> WeightsReport {
    let parts = || Part::ALL.into_iter().filter_map(|part| Some((part, folder.part(part)?)));
    let total: u64 = parts().map(|(_, checkpoint)| checkpoint.total_bytes()).sum();
    let bars = Mutex::new(Bars::new());
    let done = AtomicU64::new(0);
    let progress = |bytes: u64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Another thread shows its own figure at this moment; one of the next ones will do.
        if let Ok(mut bars) = bars.try_lock() {
            bars.show("weights", done, total);
        }
    };
    let mut report = WeightsReport { tensors: 0, values: 0, non_finite: Vec::new() };
    for (part, checkpoint) in parts() {
        for (name, tensor) in checkpoint.iter() {
            report.tensors += 1;
            report.values += tensor.elements() as u64;
            let found @ NonFinite { nan, infinite } = count_non_finite(tensor, &progress);
            if found.any() {
                report.non_finite.push(Damaged { part: part.folder(), tensor: name.to_owned(), nan, infinite });
            }
        }
    }
    report
}

impl WeightsReport {
    /// Why the model must not be run, in one sentence.
    pub fn problem(&self, folder: &ModelFolder) -> Option<String> {
        let first = self.non_finite.first()?;
        let path = folder.path.display();
        let damaged = self.non_finite.len();
        let tensors = self.tensors;
        Some(format!(
            "{path}: {damaged} of {tensors} tensors hold values that are not finite, {}/{} first; \
             download or convert the model again",
            first.part, first.tensor
        ))
    }

    /// Lines of the report in words.
    pub fn write(&self, out: &mut String) {
        for Damaged { part, tensor, nan, infinite } in &self.non_finite {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  not finite  {part}/{tensor}: {nan} NaN, {infinite} infinite");
        }
        let Self { tensors, values, .. } = self;
        let found = match self.non_finite.len() {
            0 => "all finite".to_owned(),
            damaged => format!("not finite in {damaged} tensors"),
        };
        let _ = writeln!(out, "  weights     {tensors} tensors, {values} values scanned: {found}");
    }
}
