//! What several commands have typed alike: the types that clap fills, and their parsers. They know no command.

#[cfg(feature = "server")]
pub mod bytes;
pub mod data;
pub mod device;
pub mod list;
pub mod sampling;
pub mod size;
pub mod volume;
