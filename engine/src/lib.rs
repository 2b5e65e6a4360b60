//! Med-2E3 itself, written once over the Device trait.
#![forbid(unsafe_code)]
