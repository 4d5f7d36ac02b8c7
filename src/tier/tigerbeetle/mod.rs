//! TigerBeetle: a running replica is captured, its log stored, data files made of both again.
//!
//! [`capture`] reads a replica and writes what [`mod@format`] describes; [`restore`] reads that and
//! writes data files; [`check`] reads it and compares.

pub mod capture;
pub mod check;
pub mod format;
pub mod restore;
