//! A capture that does not reach its end: whether it is still wanted, and what it deletes.

use crate::cancellation::Cancellation;
use crate::error::Error;
use crate::error::Result;
use crate::repository::Repository;
use crate::repository::name;
use crate::repository::name::PackName;
use crate::repository::name::RunId;
use crate::repository::name::SegmentName;
use crate::repository::remove::Reason;

/// Deletes everything that a run stored which ended before its manifest was written.
pub(crate) fn delete_run(repository: &Repository, run: RunId) {
    let of_run = |name: &str| {
        PackName::parse(name).map(|pack| pack.run) == Some(run) || SegmentName::parse(name).map(|segment| segment.run) == Some(run)
    };
    for prefix in [name::PACKS, name::SEGMENTS] {
        let listed = repository.list_all(prefix).unwrap_or_default();
        delete_objects(repository, run, listed.into_iter().map(|object| object.name).filter(|name| of_run(name)));
    }
}

/// Deletes objects of a run that no manifest will name. Where the store forbids that (Object Lock)
/// they stay and do no harm.
pub(crate) fn delete_objects(repository: &Repository, run: RunId, names: impl IntoIterator<Item = String>) {
    for name in names {
        let _ = repository.remove(&name, Reason::Unpromised(run));
    }
}

/// Ends the work if it was cancelled.
pub(crate) fn check_wanted(cancellation: &dyn Cancellation) -> Result<()> {
    if cancellation.is_cancelled() { Err(Error::try_again("the backup was cancelled before its end")) } else { Ok(()) }
}
