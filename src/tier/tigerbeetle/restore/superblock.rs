//! The superblock of an image: whose data file it is, and where in the history it stands.
//!
//! The input is a superblock that was captured, or that a server wrote while it rolled the image
//! forward, and the headers of the log that the image holds. The output is a superblock from which
//! a server starts and replays exactly this log.

use crate::error::{Error, Result};
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::image::SuperBlockEdit;
use crate::tb_format::layout::{VIEW_HEADERS_SUFFIX_MAX, plainly_durable_op_for_checkpoint};
use crate::tb_format::superblock::SuperBlock;
use crate::tier::tigerbeetle::restore::role::Role;

/// Where the superblock of an image comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// As it was captured. It says whose data file it was, and how many replicas there are.
    pub captured: &'a SuperBlock,
    /// As it stands in the image after a solo fork was rolled forward. It then knows of the fork's
    /// own history, which is undone here.
    pub rolled: Option<&'a SuperBlock>,
}

/// The superblock of one image. `headers` are those of the log after its checkpoint; the image ends
/// with the last of them.
///
/// # Errors
/// [`Error::input`] for a role that the cluster does not have.
pub fn superblock_for(origin: Origin<'_>, role: Role, headers: &[PrepareHeader]) -> Result<SuperBlock> {
    let unsound = |error| Error::bug(format!("the edited superblock is refused: {error}")).caused_by(error);
    let base = origin.rolled.unwrap_or(origin.captured);
    let checkpoint = base.checkpoint().header();
    let end = headers.last().unwrap_or(&checkpoint);
    let mut edit = SuperBlockEdit::new(base);
    // The superblock knows of ops after the end. If that stayed so, the server would wait for them.
    // The newest headers of the image take their place.
    let knows_more = base.view_headers().any(|header| header.op() > end.op()) || base.commit_max() > end.op();
    // The log ends so close after the checkpoint that the server needs to know how much of it is
    // committed: all of it, because the restore ends there.
    let ends_close = end.op() < plainly_durable_op_for_checkpoint(checkpoint.op());
    // In the middle of a view change a server would choose its head from the superblock, not from
    // the restored log.
    let changes_view = base.log_view() != base.view() || end.view() > base.log_view();
    // A fork has opened a view of its own. If that stayed so, the server would drop the prepares of
    // the older view.
    if origin.rolled.is_some() || knows_more || ends_close || changes_view {
        let mut newest: Vec<PrepareHeader> = headers.iter().rev().take(VIEW_HEADERS_SUFFIX_MAX).copied().collect();
        if newest.is_empty() {
            newest.push(checkpoint);
        }
        let commit_max = if ends_close { end.op() } else { base.commit_max().min(end.op()) };
        edit = edit.rewind(end.view(), &newest, commit_max).map_err(unsound)?;
    }
    let captured = origin.captured;
    let count = captured.replica_count();
    let index = match role {
        Role::Solo => return edit.solo().finish().map_err(unsound),
        Role::Same => captured.replica_index(),
        Role::Replica { index } if index < count => index,
        Role::Replica { index } => {
            return Err(Error::input(format!(
                "there is no replica {index}: the cluster has {count} replicas, 0 to {}; --solo makes a cluster of one",
                count - 1
            )));
        }
    };
    edit.replica_count(count).and_then(|edit| edit.replica(index)).and_then(SuperBlockEdit::finish).map_err(unsound)
}
