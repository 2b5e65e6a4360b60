//! What several commands have typed alike: the types that clap fills, and their parsers. They know no command.

pub mod data;
pub mod device;
pub mod list;
pub mod sampling;
pub mod size;
pub mod volume;
