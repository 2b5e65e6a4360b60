//! Synthetic CT patients: a scan, what is wrong with the patient, and questions with their answers. The one source of
//! volumes and truth where no scan is at hand, as in the demo, `engine-cli phantom` and the training of the demo's
//! model.
//!
//! A seed decides everything, to the bit and on every machine: random words come from Philox, and voxels are computed
//! with operations that IEEE 754 defines exactly. The questions alone give nothing away, which the tests count.
//!
//! [`Case::new`] draws the patient, [`Scan::new`] paints the volume, [`items`] asks about it. Nothing here prints,
//! reads a file or knows a command line; only [`write_nifti`] writes a file, at the place that the caller chose.
#![forbid(unsafe_code)]
#![warn(unreachable_pub, clippy::print_stderr, clippy::print_stdout)]

mod anatomy;
mod case;
mod draws;
mod lesion;
mod nifti;
mod painting;
mod questions;
mod scan;
#[cfg(test)]
mod tests;
mod view;

pub use case::{Case, Finding, Lesion, Organ, Phase, Place, Plane, Side};
pub use nifti::write_nifti;
pub use questions::{Item, Topic, Truth, items, items_json};
pub use scan::{DIMS, SIDES_MIN, Scan, WINDOW};
