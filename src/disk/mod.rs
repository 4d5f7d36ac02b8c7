//! Files on this machine, read and written past the page cache where that is possible, and the
//! memory for it. An [`arena`] is a fixed budget of buffers: a reader fills them, hands them down
//! the pipeline, and they come back when they are dropped. When all buffers are in use, whoever
//! asks next waits or does without. So memory never grows with the size of a data file.

pub mod arena;
pub mod file;
pub mod file_state;
pub mod leftover;
pub mod process_lock;
pub mod read_error;
pub mod recycle;
pub mod stream;
pub mod target;
pub mod uring;
pub mod writer;
