//! What the log and its checkpoints look like on the status board, which knows no format.

use crate::monitor::status::{CheckpointStatus, GapStatus};
use crate::monitor::status_board::NoticedGap;
use crate::tier::tigerbeetle::format::gap::Gap;
use crate::tier::tigerbeetle::format::manifest::Summary;

impl From<Gap> for NoticedGap {
    fn from(gap: Gap) -> NoticedGap {
        NoticedGap { timeline: gap.timeline, gap: GapStatus::from(gap) }
    }
}

impl From<NoticedGap> for Gap {
    fn from(NoticedGap { timeline, gap }: NoticedGap) -> Gap {
        let GapStatus { first_op, last_op, noticed_ns, reason } = gap;
        Gap { timeline, first_op, last_op, noticed_ns, reason }
    }
}

impl From<Gap> for GapStatus {
    fn from(gap: Gap) -> GapStatus {
        GapStatus { first_op: gap.first_op, last_op: gap.last_op, noticed_ns: gap.noticed_ns, reason: gap.reason }
    }
}

impl From<&Summary> for CheckpointStatus {
    fn from(summary: &Summary) -> CheckpointStatus {
        CheckpointStatus { op: summary.checkpoint_op, timeline: summary.timeline, ended_ns: summary.ended_ns }
    }
}
