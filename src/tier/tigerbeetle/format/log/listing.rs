//! Which segments there are by their names, and which of them open.

use super::{LogIndex, Piece, RELISTS_MAX, SEGMENT_OPS_MAX};
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::name::{SegmentName, segment_prefix};
use crate::tier::tigerbeetle::format::op_range::OpRange;

/// Objects per listing request: S3 returns at most so many.
const LIST_PAGE: usize = 1000;

impl<'a> LogIndex<'a> {
    /// The same log without the segments that do not open or do not hold what they must; and these,
    /// with the reasons. All of it is read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn opening(&self) -> Result<(LogIndex<'a>, Vec<(SegmentName, Error)>)> {
        let mut listed = self.pieces.clone();
        for round in 0.. {
            let (mut pieces, mut damaged) = (Vec::new(), Vec::new());
            for piece in &listed {
                match piece.check(self.repository) {
                    Ok(()) => pieces.push(*piece),
                    Err(error) if error.kind == Kind::Damaged => damaged.push((piece.name, error)),
                    Err(error) => return Err(error),
                }
            }
            let again = LogIndex::list(self.repository, &self.lineage, self.from_op)?;
            // What was merged meanwhile is no damage.
            if damaged.is_empty() || again.has_all(&listed) || round >= RELISTS_MAX {
                return Ok((
                    LogIndex { repository: self.repository, lineage: self.lineage.clone(), from_op: self.from_op, pieces },
                    damaged,
                ));
            }
            listed = again.pieces;
        }
        Err(Error::bug("a count ended"))
    }
}

/// The op ranges that these segments hold without a gap, according to their names. The segments
/// must be sorted by first op.
pub fn op_ranges_of(pieces: &[Piece]) -> Vec<OpRange> {
    let mut ranges: Vec<OpRange> = Vec::new();
    for piece in pieces {
        match ranges.last_mut() {
            Some(range) if piece.first_op <= range.last_op.saturating_add(1) => range.last_op = piece.last_op.max(range.last_op),
            _ => ranges.push(OpRange { first_op: piece.first_op, last_op: piece.last_op }),
        }
    }
    ranges
}

/// The segments of a timeline that hold op `from_op` or a later one, sorted by name, with their
/// stored sizes.
///
/// # Errors
/// When the store cannot be read.
pub fn list_segments(repository: &Repository, timeline: u32, from_op: u64) -> Result<Vec<(SegmentName, u64)>> {
    let prefix = segment_prefix(timeline);
    let begin_op = from_op.saturating_sub(SEGMENT_OPS_MAX - 1);
    // The first name with this op sorts after the bare op.
    let mut after = (begin_op > 0).then(|| format!("{prefix}{begin_op:020}"));
    let mut segments = Vec::new();
    loop {
        let page = repository.list_page(&prefix, after.as_deref(), LIST_PAGE)?;
        let ended = page.len() < LIST_PAGE;
        after = page.last().map(|last| last.name.clone());
        let parsed = page.iter().filter_map(|listed| SegmentName::parse(&listed.name).map(|name| (name, listed.size_bytes)));
        segments.extend(parsed.filter(|(name, _)| name.last_op >= from_op));
        if ended {
            return Ok(segments);
        }
    }
}
