//! Memory with a budget: buffers are taken from an arena of fixed size, filled by a reader, handed
//! down the pipeline and come back when they are dropped. When all are out, whoever asks next waits
//! or does without; memory never grows with the size of a data file.

pub mod arena;
pub mod file;
pub mod leftover;
pub mod process_lock;
pub mod read_error;
pub mod recycle;
pub mod stream;
pub mod target;
pub mod uring;
pub mod writer;
