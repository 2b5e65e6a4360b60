//! What JSON output says of a volume, alike for every command. Field names are a public contract.

use med2e3_loaders::volume::AppliedWindow;
use serde::Serialize;

/// How the volume was made the model's input.
#[derive(Debug, Serialize)]
pub struct VolumeReport {
    /// What was clipped.
    pub window: AppliedWindow,
}
