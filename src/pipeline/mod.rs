//! From plain bytes to stored bytes: compress, seal, digest, on worker threads.
//!
//! A frame of plain bytes (a grid block, the prepares of an op range, a piece of a manifest) is a
//! task of a [`worker::Pool`]. The task turns its records into columns ([`transpose`]), compresses
//! it where that pays ([`compress`]), seals the result in place ([`seal`], AES-256-GCM) and returns
//! it. Parts of an object are digested (SHA-256) once, by [`digest`], right before they are sent.
//! The queues between the stages are bounded: a slow store slows the reader.
//!
//! The [governor](crate::limits::governor) keeps the process within its limits.

pub mod compress;
pub mod digest;
pub mod fingerprint;
pub mod level;
mod probe;
pub mod seal;
pub mod transpose;
pub mod worker;
