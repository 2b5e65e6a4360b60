//! Stage and op timings; results as data files.
#![forbid(unsafe_code)]
