//! What JSON output says of a volume, alike for every command. Field names are a public contract.

use med2e3_loaders::volume::{AppliedWindow, Identity, SourceSlice, VolumeInfo};
use serde::Serialize;

/// How the volume was made the model's input.
#[derive(Debug, Serialize)]
pub struct VolumeReport {
    /// What was clipped.
    pub window: AppliedWindow,
    /// Of a volume that the model has seen: where it comes from.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Where the model's input comes from.
#[derive(Debug, Serialize)]
pub struct Origin {
    #[serde(flatten)]
    identity: Identity,
    /// Of each slice of the model's input.
    slices: Vec<ModelSlice>,
}

/// A slice of the model's input.
#[derive(Debug, Serialize)]
struct ModelSlice {
    /// The slices of the scan that it was made from.
    sources: Vec<Source>,
}

#[derive(Debug, Serialize)]
struct Source {
    /// The slice's number in the scan, from 0, in reading order.
    slice: usize,
    #[serde(flatten)]
    origin: SourceSlice,
}

impl Origin {
    /// Of a scan of which each slice of the input was made from the first and the last of `source_slices`.
    pub fn new(info: &VolumeInfo, source_slices: &[[usize; 2]]) -> Self {
        let source = |slice: usize| Source { slice, origin: info.slices.get(slice).cloned().unwrap_or_default() };
        let model_slice = |&[first, last]: &[usize; 2]| ModelSlice { sources: (first..=last).map(source).collect() };
        Self { identity: info.identity.clone(), slices: source_slices.iter().map(model_slice).collect() }
    }
}
