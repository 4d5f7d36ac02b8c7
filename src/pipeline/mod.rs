//! From plain bytes to stored bytes: compress, seal, digest, on worker threads.
//!
//! A frame of plain bytes (a grid block, a run of prepares, a piece of a manifest) is a
//! [`worker::Pool`] task: [`transpose`] its records and [`compress`] it, where that pays, [`seal`]
//! the result in place (AES-256-GCM) and hand it back. Parts of an object are digested (SHA-256)
//! once, by [`digest`], right before they are sent. The queues between the stages are bounded: a
//! slow store slows the reader.
//!
//! The [`governor`] keeps the process within its limits: [`pacer`] decides by the CPU [`budget`]
//! and [`bucket`]s of bytes, and tells the [`outlook`].

pub mod compress;
pub mod digest;
pub mod fingerprint;
mod probe;
pub mod seal;
pub mod transpose;
pub mod worker;
