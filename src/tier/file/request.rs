//! Which file is captured and how it is opened.

use crate::disk::file::ReadOptions;
use crate::disk::stream::Stream;
use crate::error::Error;
use crate::error::Result;
use crate::repository::name::{FilePlace, RunId};
use crate::tier::file::format::FileLayout;
use std::path::Path;
use std::path::PathBuf;

/// Which file is backed up, and under which name.
#[derive(Debug, Clone)]
pub struct FileCaptureRequest {
    /// The file.
    pub path: PathBuf,
    /// Where in the repository it is kept.
    pub place: &'static FilePlace,
    /// Its name in the repository: 1 to 128 of `a-z 0-9 . _ -`.
    pub name: String,
    /// The tenant whose data it is, in decimal; `None` where it is everybody's.
    pub tenant: Option<String>,
    /// The folder for the journals of uploads that can be resumed. Without it, uploads cannot be
    /// resumed.
    pub journals: Option<PathBuf>,
    /// How the file is read.
    pub read: ReadOptions,
    /// The run that it belongs to. `None` draws a new run id. A resumed upload keeps the run id
    /// that it was begun with.
    pub run: Option<RunId>,
}

pub(crate) fn open(path: &Path, layout: &FileLayout, read: ReadOptions) -> Result<Stream> {
    let stream = Stream::open(path, layout.frame_bytes as usize, read)?;
    if stream.state().size_bytes != layout.file_bytes {
        return Err(Error::try_again(format!("{}: the file is being written to: try again when nobody does", path.display())));
    }
    Ok(stream)
}
