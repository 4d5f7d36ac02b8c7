//! The names of objects, as FORMAT.md gives them ("Names").
//!
//! Names sort in the order of restore: fixed-width decimal ops, the timeline in front. A name is parsed back strictly: whatever does not
//! render to the very same text is not one of ours.

use std::fmt;

/// The repository's header.
pub const HEADER: &str = "amber/repository";
/// Prefix of the wrapped keys.
pub const KEYS: &str = "amber/keys/";
/// Prefix of the receipts.
pub const RECEIPTS: &str = "amber/receipts/tigerbeetle/";
/// Says which TigerBeetle cluster this repository belongs to.
pub const CLUSTER: &str = "tigerbeetle/cluster";
/// Prefix of the checkpoint manifests.
pub const CHECKPOINTS: &str = "tigerbeetle/checkpoints/";
/// Prefix of the packs.
pub const PACKS: &str = "tigerbeetle/packs/";
/// Prefix of the log segments.
pub const SEGMENTS: &str = "tigerbeetle-logs/";

/// The timeline of a cluster that was never restored.
pub const TIMELINE_FIRST: u32 = 1;

/// One run of a writer: a random number that keeps the names of two writers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// Name of a checkpoint manifest. Orders by timeline, checkpoint op, replica, run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointName {
    /// Which history of the cluster.
    pub timeline: u32,
    /// The op that the checkpoint stands at.
    pub checkpoint_op: u64,
    /// The replica that it was captured from.
    pub replica: u8,
    /// The run that wrote it.
    pub run: RunId,
}

impl CheckpointName {
    fn tail(&self) -> String {
        format!("{:08}/{:020}-{:02}-{}", self.timeline, self.checkpoint_op, self.replica, self.run)
    }

    /// The manifest's object name.
    pub fn object(&self) -> String {
        format!("{CHECKPOINTS}{}", self.tail())
    }

    /// The name of the receipt that says that this manifest was promised.
    pub fn receipt(&self) -> String {
        format!("{RECEIPTS}{}", self.tail())
    }

    /// Reads a manifest's object name.
    pub fn parse(name: &str) -> Option<CheckpointName> {
        let parsed = Self::parse_tail(name.strip_prefix(CHECKPOINTS)?)?;
        (parsed.object() == name).then_some(parsed)
    }

    /// Reads a receipt's object name.
    pub fn parse_receipt(name: &str) -> Option<CheckpointName> {
        let parsed = Self::parse_tail(name.strip_prefix(RECEIPTS)?)?;
        (parsed.receipt() == name).then_some(parsed)
    }

    fn parse_tail(tail: &str) -> Option<CheckpointName> {
        let (timeline, rest) = tail.split_once('/')?;
        let mut parts = rest.split('-');
        let (checkpoint_op, replica, run) = (parts.next()?, parts.next()?, parts.next()?);
        Some(CheckpointName {
            timeline: timeline.parse().ok()?,
            checkpoint_op: checkpoint_op.parse().ok()?,
            replica: replica.parse().ok()?,
            run: RunId(u64::from_str_radix(run, 16).ok()?),
        })
    }
}

/// Name of a pack of grid blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackName {
    /// The newest checkpoint when the run began: it orders packs by age.
    pub checkpoint_op: u64,
    /// The run that wrote it.
    pub run: RunId,
    /// Counts the run's packs from 0.
    pub sequence: u32,
}

impl PackName {
    /// The pack's object name.
    pub fn object(&self) -> String {
        format!("{PACKS}{:020}-{}-{:08}", self.checkpoint_op, self.run, self.sequence)
    }

    /// Reads a pack's object name.
    pub fn parse(name: &str) -> Option<PackName> {
        let mut parts = name.strip_prefix(PACKS)?.split('-');
        let (checkpoint_op, run, sequence) = (parts.next()?, parts.next()?, parts.next()?);
        let parsed = PackName {
            checkpoint_op: checkpoint_op.parse().ok()?,
            run: RunId(u64::from_str_radix(run, 16).ok()?),
            sequence: sequence.parse().ok()?,
        };
        (parsed.object() == name).then_some(parsed)
    }
}

/// Name of a log segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Which history of the cluster.
    pub timeline: u32,
    /// Its first op.
    pub first_op: u64,
    /// Its last op.
    pub last_op: u64,
    /// The run that wrote it.
    pub run: RunId,
}

impl SegmentName {
    /// The segment's object name.
    pub fn object(&self) -> String {
        format!("{SEGMENTS}{:08}/{:020}-{:020}-{}", self.timeline, self.first_op, self.last_op, self.run)
    }

    /// Reads a segment's object name.
    pub fn parse(name: &str) -> Option<SegmentName> {
        let (timeline, rest) = name.strip_prefix(SEGMENTS)?.split_once('/')?;
        let mut parts = rest.split('-');
        let (first_op, last_op, run) = (parts.next()?, parts.next()?, parts.next()?);
        let parsed = SegmentName {
            timeline: timeline.parse().ok()?,
            first_op: first_op.parse().ok()?,
            last_op: last_op.parse().ok()?,
            run: RunId(u64::from_str_radix(run, 16).ok()?),
        };
        (parsed.object() == name).then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_themselves() {
        let run = RunId(0x00ab_cdef);
        let checkpoint = CheckpointName { timeline: 1, checkpoint_op: 959, replica: 2, run };
        assert_eq!(checkpoint.object(), "tigerbeetle/checkpoints/00000001/00000000000000000959-02-0000000000abcdef");
        assert_eq!(CheckpointName::parse(&checkpoint.object()), Some(checkpoint));
        assert_eq!(CheckpointName::parse_receipt(&checkpoint.receipt()), Some(checkpoint));
        let pack = PackName { checkpoint_op: u64::MAX, run, sequence: 7 };
        assert_eq!(PackName::parse(&pack.object()), Some(pack));
        let segment = SegmentName { timeline: 3, first_op: 960, last_op: 1000, run };
        assert_eq!(SegmentName::parse(&segment.object()), Some(segment));
    }

    #[test]
    fn whatever_is_not_exactly_a_name_is_none() {
        let run = RunId(1);
        let checkpoint = CheckpointName { timeline: 1, checkpoint_op: 959, replica: 2, run };
        let pack = PackName { checkpoint_op: 1, run, sequence: 7 };
        let segment = SegmentName { timeline: 3, first_op: 960, last_op: 1000, run };
        for name in [checkpoint.object(), checkpoint.receipt(), pack.object(), segment.object()] {
            for broken in
                [format!("{name}x"), format!("{name}-0"), name.replace("0000", "000"), name[..name.len() - 1].into(), "x/y".into()]
            {
                assert_eq!(CheckpointName::parse(&broken), None, "{broken}");
                assert_eq!(CheckpointName::parse_receipt(&broken), None, "{broken}");
                assert_eq!(PackName::parse(&broken), None, "{broken}");
                assert_eq!(SegmentName::parse(&broken), None, "{broken}");
            }
        }
    }

    #[test]
    fn names_sort_in_the_order_of_restore() {
        let name = |timeline, checkpoint_op| CheckpointName { timeline, checkpoint_op, replica: 0, run: RunId(9) }.object();
        assert!(name(1, 959) < name(1, 10_559));
        assert!(name(1, 10_559) < name(2, 0));
    }
}
