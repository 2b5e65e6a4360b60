//! The evaluation of Med-2E3: reads the published data sets, answers their questions, judges the answers, keeps them so
//! that an interrupted run goes on, and averages them as the paper's tables do.
//!
//! [`data::read`] gives the items, [`run::Run`] answers those that [`results::Results`] does not have yet, and
//! [`tables::Tables`] holds the averages. Metrics equal those of the Python packages that the official scripts call.
//!
//! Nothing here prints, reads a command line or handles signals. What is worth telling goes to the caller's closures,
//! and the caller also puts the finished file in its place ([`results::Results::finish`]). Errors name the options of
//! `engine-cli eval`, through which people run an evaluation.
#![forbid(unsafe_code)]
#![warn(unreachable_pub, clippy::print_stderr, clippy::print_stdout)]

pub mod data;
pub mod error;
pub mod identity;
pub mod lesions;
pub mod metrics;
pub mod results;
pub mod run;
pub mod swap;
pub mod tables;
pub mod truth;

pub use error::{Error, Result};
