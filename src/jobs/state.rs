//! What the scheduler remembers over restarts: `jobs.json` in the state directory, which is always
//! replaced as a whole.
//!
//! A kill at any moment leaves the old file or the new one. A file that cannot be read is set aside
//! with a warning; the jobs then begin as if they were new, and none is paused.

use crate::error::{Error, Result};
use crate::host::Disk;
use crate::monitor::status::EndedStatus;
use crate::schedule::state::JobState;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// The file's name in the state directory.
pub const JOBS_FILE: &str = "jobs.json";
const JOBS_FILE_NEW: &str = "jobs.json.new";
const JOBS_FILE_DAMAGED: &str = "jobs.json.damaged";

/// What is remembered of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobEntry {
    /// The state for the schedule.
    #[serde(flatten)]
    pub state: JobState,
    /// The newest run that has ended.
    pub last: Option<EndedStatus>,
}

/// What is remembered. Jobs of other releases stay in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobsFile {
    /// By name.
    pub jobs: BTreeMap<String, JobEntry>,
}

impl JobsFile {
    /// Reads the file; where there is none, nothing is remembered.
    ///
    /// # Errors
    /// [`Error::input`] where it may not be read.
    pub fn read(disk: Disk, directory: &Path) -> Result<JobsFile> {
        let path = directory.join(JOBS_FILE);
        let text = match disk.read(&path, u64::MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(JobsFile::default()),
            Err(error) => {
                return Err(Error::input(format!("{}: {error}: let it belong to the agent's user", path.display())).caused_by(error));
            }
        };
        serde_json::from_slice(&text).or_else(|error| {
            let aside = directory.join(JOBS_FILE_DAMAGED);
            tracing::warn!(
                "{}: what was remembered of the jobs is damaged ({error}): none is paused now, and each runs as if it were new; the file is kept as {}",
                path.display(),
                aside.display()
            );
            disk.rename(&path, &aside).map_err(|error| Error::input(format!("{}: {error}", path.display())).caused_by(error))?;
            Ok(JobsFile::default())
        })
    }

    /// The text that is written to the file.
    ///
    /// # Errors
    /// [`Error::bug`] where it cannot be encoded as JSON.
    pub fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::bug(format!("{JOBS_FILE}: {error}")).caused_by(error))
    }
}

/// Replaces the file; it is on the disk when this returns.
///
/// # Errors
/// [`Error::try_again`] where the directory takes no file.
pub fn write(disk: Disk, directory: &Path, text: &[u8]) -> Result<()> {
    let path = directory.join(JOBS_FILE);
    let written = disk.replace(&path, JOBS_FILE_NEW, 0o640, text);
    written.map_err(|error| {
        Error::try_again(format!("{}: what is remembered of the jobs cannot be written: {error}", path.display())).caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::state::{Running, Why};

    #[test]
    fn it_goes_there_and_back_and_keeps_what_it_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(JobsFile::read(Disk::SYSTEM, folder.path()).unwrap(), JobsFile::default());
        let running = Running { started_ns: 5, why: Why::Wish("a gap".into()), anchor_before_ns: None };
        let state = JobState { anchor_ns: Some(7), is_paused: true, running: Some(running), ..JobState::default() };
        let job = JobEntry { state, last: Some(EndedStatus { run: "00".into(), completed: true, ..EndedStatus::default() }) };
        let kept = JobsFile { jobs: [("verification".to_owned(), job.clone()), ("of a later release".to_owned(), job)].into() };
        for _ in 0..2 {
            write(Disk::SYSTEM, folder.path(), &kept.text().unwrap()).unwrap();
            assert_eq!(JobsFile::read(Disk::SYSTEM, folder.path()).unwrap(), kept);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write(Disk::SYSTEM, &folder.path().join("nowhere"), b"{}").unwrap_err();
        assert!(error.message.contains("jobs.json"), "{error}");
    }

    #[test]
    fn a_damaged_one_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        for damaged in ["{", "5", "{\"jobs\": {\"verification\": {\"anchor_ns\": -5}}}"] {
            std::fs::write(folder.path().join(JOBS_FILE), damaged).unwrap();
            assert_eq!(JobsFile::read(Disk::SYSTEM, folder.path()).unwrap(), JobsFile::default());
            assert_eq!(std::fs::read_to_string(folder.path().join(JOBS_FILE_DAMAGED)).unwrap(), damaged);
            assert!(!folder.path().join(JOBS_FILE).exists());
        }
    }
}
