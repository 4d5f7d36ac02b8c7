//! Which errors pass by themselves, and which a person must mend.
//!
//! A command that is given a wrong path ends and says so. An agent is started by the machine, often
//! before the disks are mounted, and goes on while files are replaced and credentials renewed. What
//! a command calls wrong input may be right for it in a minute, so it waits, and says what for.

use crate::disk::read_error::SourceError;
use crate::error::{Error, Kind};
use crate::repository::NoRepository;
use crate::store::StoreError;
use std::error::Error as _;
use std::io::ErrorKind;

/// An error at the start of an agent: as one to try again where what is missing may appear by
/// itself, which is a data file or a repository.
pub fn at_start(error: Error) -> Error {
    let appears = is_missing(&error) || cause::<NoRepository>(&error).is_some();
    if error.kind == Kind::Input && appears {
        return Error::try_again(format!("{}; if its disk is not mounted yet, starting again finds it", error.message));
    }
    error
}

/// Whether an agent that runs waits for the end of an error: the store refuses, or the data file is
/// being replaced.
pub fn while_running(error: &Error) -> bool {
    error.kind == Kind::TryAgain
        || cause::<StoreError>(error).is_some_and(|error| matches!(error, StoreError::Refused { .. }))
        || is_missing(error)
        || matches!(cause(error), Some(SourceError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied)
}

fn is_missing(error: &Error) -> bool {
    matches!(cause(error), Some(SourceError::Io { source, .. }) if source.kind() == ErrorKind::NotFound)
}

/// What an error was made of, if it was that.
fn cause<Cause: std::error::Error + 'static>(error: &Error) -> Option<&Cause> {
    error.source().and_then(|source| source.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> StoreError {
        StoreError::Refused { store: "s3://bucket".into(), action: "put", name: "a".into(), reason: "AccessDenied".into() }
    }

    fn unreadable(kind: ErrorKind) -> Error {
        let path = "0_0.tigerbeetle".into();
        SourceError::Io { path, action: "open", source: kind.into() }.into()
    }

    #[test]
    fn what_may_appear_is_waited_for_at_the_start() {
        let missing = at_start(Error::input("r: there is no repository").caused_by(NoRepository).context("line 3"));
        assert_eq!(missing.kind, Kind::TryAgain);
        assert!(missing.message.starts_with("line 3: r: there is no repository; if its disk"), "{missing}");
        assert_eq!(at_start(unreadable(ErrorKind::NotFound)).kind, Kind::TryAgain);
        // What a person must mend stays as it is.
        for error in [unreadable(ErrorKind::PermissionDenied), refused().into(), Error::input("the wrong passphrase")] {
            assert_eq!(at_start(error.clone()), error);
        }
    }

    #[test]
    fn a_running_agent_waits_for_the_store_and_the_file() {
        for error in [refused().into(), unreadable(ErrorKind::NotFound), unreadable(ErrorKind::PermissionDenied), Error::try_again("later")]
        {
            assert!(while_running(&error), "{error}");
        }
        for error in
            [Error::input("it is of another cluster"), Error::damaged("r"), Error::bug("b"), Error::input("r").caused_by(NoRepository)]
        {
            assert!(!while_running(&error), "{error}");
        }
    }
}
