//! The stored formats for a TigerBeetle replica: packs of blocks, manifests of checkpoints,
//! segments of the log, timelines and gaps (FORMAT.md).

pub mod gap;
pub mod log;
pub mod manifest;
pub mod merge;
pub mod newest;
pub mod op_range;
pub mod pack;
pub mod promise;
pub mod segment;
pub mod timeline;
