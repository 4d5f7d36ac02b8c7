//! What commands ask of a running agent: files in `requests/` of the state directory. Their names
//! say everything.
//!
//! Flow: a command puts `run-JOB`, `pause-JOB` or `resume-JOB` there ([`send`]). The agent takes it
//! within a second (`take`), does what it says, and removes the file (`done`). If the agent refuses
//! a request, it answers with a file `refused-...` that says why. A request counts from the moment
//! at which its file has its name, and is done at least once: a kill between doing and removing
//! makes the agent do it again, which changes nothing. Only the agent's user and root can put files
//! there.

use crate::error::{Error, Result};
use crate::host::Disk;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The folder's name in the state directory.
pub const REQUESTS_FOLDER: &str = "requests";
const REFUSED: &str = "refused-";
/// The most files that are read in one turn, far more than anyone requests.
const TAKEN_MAX: usize = 256;
/// A longer file is not an answer.
const ANSWER_BYTES_MAX: u64 = 4096;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Run the job as soon as it can.
    Run,
    /// Do not run the job until it is resumed.
    Pause,
    /// Let the job run again.
    Resume,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobRequest {
    /// What is asked.
    pub action: Action,
    /// The job that it is asked of.
    pub job: String,
}

impl Action {
    const ALL: [Action; 3] = [Action::Run, Action::Pause, Action::Resume];

    /// Its word, in the command and in the file's name.
    pub fn word(self) -> &'static str {
        match self {
            Action::Run => "run",
            Action::Pause => "pause",
            Action::Resume => "resume",
        }
    }
}

impl JobRequest {
    fn file_name(&self) -> String {
        format!("{}-{}", self.action.word(), self.job)
    }

    fn parse(name: &str) -> Option<JobRequest> {
        let (word, job) = name.split_once('-')?;
        let action = Action::ALL.into_iter().find(|action| action.word() == word)?;
        let is_name = !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        is_name.then(|| JobRequest { action, job: job.to_owned() })
    }
}

/// Creates the folder.
///
/// # Errors
/// [`Error::input`] where it cannot be made.
pub fn prepare(disk: Disk, directory: &Path) -> Result<()> {
    let folder = directory.join(REQUESTS_FOLDER);
    match disk.make_folder(&folder, 0o700) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && disk.is_folder(&folder) => Ok(()),
        Err(error) => Err(Error::input(format!("{}: {error}: let it be a folder of the agent's user", folder.display())).caused_by(error)),
    }
}

/// Sends a request. An answer to an earlier request of the same kind is removed.
///
/// # Errors
/// [`Error::input`] where this user may not send requests, [`Error::try_again`] where no agent has
/// run with this state directory.
pub fn send(directory: &Path, request: &JobRequest) -> Result<()> {
    let folder = directory.join(REQUESTS_FOLDER);
    if !folder.is_dir() && directory.is_dir() {
        return Err(Error::try_again(format!(
            "{}: no agent has taken requests there yet: `amber agent --config FILE` starts one",
            directory.display()
        )));
    }
    let path = folder.join(request.file_name());
    let failed =
        |error: std::io::Error| Error::input(format!("{}: {error}: ask as the agent's user, or as root", path.display())).caused_by(error);
    // The file is created beside the folder, because the agent removes unknown files in it.
    let new = directory.join(format!(".request-{}.new", std::process::id()));
    let _ = std::fs::remove_file(folder.join(format!("{REFUSED}{}", request.file_name())));
    let write = || -> std::io::Result<()> {
        // The file is never written through a link, because root may be the one who asks.
        let _ = std::fs::remove_file(&new);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        std::fs::rename(&new, &path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed(error)
    })
}

/// The result of a request; `None` while the agent has not taken it.
///
/// # Errors
/// [`Error::try_again`] with the agent's reason, where it refused.
pub fn answer(directory: &Path, request: &JobRequest) -> Result<Option<()>> {
    let folder = directory.join(REQUESTS_FOLDER);
    if folder.join(request.file_name()).exists() {
        return Ok(None);
    }
    let refused = folder.join(format!("{REFUSED}{}", request.file_name()));
    match std::fs::metadata(&refused) {
        Ok(metadata) if metadata.len() <= ANSWER_BYTES_MAX => {
            let reason = std::fs::read_to_string(&refused).unwrap_or_default();
            let _ = std::fs::remove_file(&refused);
            Err(Error::try_again(reason))
        }
        _ => Ok(Some(())),
    }
}

/// Deletes a request that the agent has not taken.
pub fn withdraw(directory: &Path, request: &JobRequest) {
    let _ = std::fs::remove_file(directory.join(REQUESTS_FOLDER).join(request.file_name()));
}

/// The agent's side of the folder.
#[derive(Debug)]
pub struct Requests {
    disk: Disk,
    directory: PathBuf,
    /// Files that cannot be removed. Each is reported once.
    reported: BTreeSet<PathBuf>,
}

impl Requests {
    /// The requests of a state directory.
    pub fn new(disk: Disk, directory: &Path) -> Requests {
        Requests { disk, directory: directory.join(REQUESTS_FOLDER), reported: BTreeSet::new() }
    }

    /// The requests that are there, in order. A file that is not a request is removed, with a
    /// warning.
    pub fn take(&mut self) -> Vec<JobRequest> {
        let mut names = Vec::new();
        // A folder that cannot be read holds nothing that can be done.
        let _ = self.disk.each_name(&self.directory, &mut |name| {
            if names.len() < TAKEN_MAX {
                names.push(name.to_owned());
            }
            Ok(())
        });
        let mut requests = Vec::new();
        for name in names {
            let path = self.directory.join(&name);
            match JobRequest::parse(&name) {
                Some(_) if self.reported.contains(&path) => {}
                Some(request) => requests.push(request),
                None if name.starts_with(REFUSED) => {}
                None => self.remove(&path, "its name is no request: write run-JOB, pause-JOB or resume-JOB"),
            }
        }
        requests.sort();
        requests
    }

    fn remove(&mut self, path: &Path, why: &str) {
        let removed =
            self.disk.remove(path).or_else(|error| if self.disk.is_folder(path) { self.disk.remove_folder(path) } else { Err(error) });
        if removed.is_err() && !self.reported.insert(path.to_owned()) {
            return;
        }
        tracing::warn!(
            "{}: {why}; {}",
            path.display(),
            removed.map_or_else(|error| format!("it stays ({error})"), |()| "removed".to_owned())
        );
    }

    /// Finishes a request: it is done, or refused with the reason that its sender gets.
    pub fn done(&mut self, request: &JobRequest, refused: Option<&Error>) {
        if let Some(error) = refused {
            let answer = self.directory.join(format!("{REFUSED}{}", request.file_name()));
            let written = self.disk.create(&answer, 0o644).and_then(|mut file| file.write_all(error.message.as_bytes()));
            if let Err(error) = written {
                tracing::debug!("{}: {error}", answer.display());
            }
            tracing::warn!("{} {}: {error}", request.action.word(), request.job);
        }
        let path = self.directory.join(request.file_name());
        if let Err(error) = self.disk.remove(&path)
            && self.reported.insert(path.clone())
        {
            tracing::warn!("{}: it is done, and cannot be removed ({error})", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::os::unix::fs::PermissionsExt;

    fn request(action: Action, job: &str) -> JobRequest {
        JobRequest { action, job: job.to_owned() }
    }

    #[test]
    fn what_is_asked_arrives_and_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let (run, pause) = (request(Action::Run, "verification"), request(Action::Pause, "key-check_2"));
        assert_eq!(send(folder.path(), &run).unwrap_err().kind, Kind::TryAgain, "no agent was ever here");
        prepare(Disk::SYSTEM, folder.path()).unwrap();
        prepare(Disk::SYSTEM, folder.path()).unwrap();
        for _ in 0..2 {
            send(folder.path(), &run).unwrap();
            send(folder.path(), &pause).unwrap();
        }
        let mode = |name: &str| std::fs::metadata(folder.path().join(REQUESTS_FOLDER).join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("run-verification")), (0o700, 0o600));
        let mut requests = Requests::new(Disk::SYSTEM, folder.path());
        assert_eq!(requests.take(), [run.clone(), pause.clone()]);
        assert_eq!((answer(folder.path(), &run), answer(folder.path(), &pause)), (Ok(None), Ok(None)));
        requests.done(&run, None);
        requests.done(&pause, Some(&Error::input("there is no such job")));
        assert_eq!(answer(folder.path(), &run), Ok(Some(())));
        assert_eq!(answer(folder.path(), &pause).unwrap_err().message, "there is no such job");
        assert_eq!(requests.take(), []);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        assert_eq!(std::fs::read_dir(folder.path().join(REQUESTS_FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn an_old_answer_is_not_taken_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        prepare(Disk::SYSTEM, folder.path()).unwrap();
        let run = request(Action::Run, "verification");
        let mut requests = Requests::new(Disk::SYSTEM, folder.path());
        send(folder.path(), &run).unwrap();
        requests.done(&run, Some(&Error::input("no")));
        assert_eq!(requests.take(), [], "an answer is no request");
        send(folder.path(), &run).unwrap();
        requests.done(&run, None);
        assert_eq!(answer(folder.path(), &run), Ok(Some(())));
        send(folder.path(), &run).unwrap();
        withdraw(folder.path(), &run);
        assert_eq!(requests.take(), []);
    }

    #[test]
    fn what_is_no_request_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        prepare(Disk::SYSTEM, folder.path()).unwrap();
        let inside = folder.path().join(REQUESTS_FOLDER);
        for name in ["run", "run-", "walk-verification", "run-a b", "run-..", "verification", "run-ä", ".hidden"] {
            std::fs::write(inside.join(name), b"x").unwrap();
        }
        std::fs::create_dir(inside.join("folder")).unwrap();
        std::os::unix::fs::symlink("/nowhere", inside.join("link")).unwrap();
        std::fs::create_dir_all(inside.join("full/of")).unwrap();
        std::fs::create_dir_all(inside.join("run-verification/of")).unwrap();
        let mut requests = Requests::new(Disk::SYSTEM, folder.path());
        let run = request(Action::Run, "verification");
        assert_eq!(requests.take(), std::slice::from_ref(&run));
        requests.done(&run, None);
        for _ in 0..2 {
            assert_eq!(requests.take(), [], "what cannot be removed is done once");
            let left: BTreeSet<_> = std::fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left.into_iter().collect::<Vec<_>>(), ["full", "run-verification"]);
        }
    }
}
