//! Plain files: captured as streams of frames, restored under their names.

pub mod capture;
pub mod check;
pub mod format;
pub mod request;
pub mod restore;
pub mod upload;
