//! The names of objects, as FORMAT.md gives them ("Names").
//!
//! Names sort in the order of restore: the timeline comes first, and ops are decimals of a fixed
//! width. Parsing is strict: a name that does not render to the very same text is not one of ours.

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

/// Where the backups of a tier are promised: a record under one prefix, its receipt under another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Promises {
    /// The tier's name.
    pub tier: &'static str,
    /// Prefix of the records. A backup exists when its record does.
    pub records: &'static str,
    /// Prefix of the receipts. The receipt of a record has the same name behind it.
    pub receipts: &'static str,
}

/// Where a tier keeps backups that are one file each.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePlace {
    /// Where they are promised.
    pub promises: Promises,
    /// Prefix of the objects that hold the files.
    pub data: &'static str,
}

/// Checkpoints of TigerBeetle replicas; their records are manifests.
pub static TIGERBEETLE: Promises = Promises { tier: "tigerbeetle", records: CHECKPOINTS, receipts: RECEIPTS };
/// Plain files.
pub static PLAIN_FILES: FilePlace =
    FilePlace { promises: Promises { tier: "file", records: "files/records/", receipts: "amber/receipts/files/" }, data: "files/data/" };
/// Jars of the tier that tests add.
#[cfg(test)]
pub static TOY: Promises = Promises { tier: "toy", records: "toy/records/", receipts: "amber/receipts/toy/" };

/// Copies of the catalog.
pub static CATALOG_FILES: FilePlace = FilePlace {
    promises: Promises { tier: "catalog", records: "catalog/records/", receipts: "amber/receipts/catalog/" },
    data: "catalog/data/",
};

/// Prefix of the records of runs.
pub const RUNS: &str = "catalog/runs/";

/// Prefix of the records of what verifications found damaged.
pub const DAMAGED: &str = "amber/damaged/";

/// Prefix of the records of timelines.
pub const TIMELINES: &str = "tigerbeetle/timelines/";
/// Prefix of the records of gaps.
pub const GAPS: &str = "tigerbeetle/gaps/";
/// Prefix of the leases.
pub const LEASES: &str = "amber/leases/tigerbeetle/";

/// The timeline of a cluster that was never restored.
pub const TIMELINE_FIRST: u32 = 1;

/// One run of a writer: a random number that keeps the names of two writers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

impl RunId {
    /// Set in the number of a run that ships the log.
    pub const SHIPS: u64 = 1 << 21;

    /// Random bits. One of them says whether an agent ships the log. The 42 bits above them count
    /// milliseconds until the year 2109.
    const RANDOM_BITS: u32 = 22;
    const RANDOM_MASK: u64 = (1 << RunId::RANDOM_BITS) - 1;
    const MS_MAX: u64 = u64::MAX >> RunId::RANDOM_BITS;

    /// The time that is in the number, in milliseconds since 1970: that of a clock, which may have
    /// been wrong.
    pub fn ms(self) -> u64 {
        self.0 >> RunId::RANDOM_BITS
    }

    /// The number with another time; one after the last that there is becomes the last.
    pub(super) fn at_ms(self, ms: u64) -> RunId {
        RunId(ms.min(RunId::MS_MAX) << RunId::RANDOM_BITS | self.0 & RunId::RANDOM_MASK)
    }

    /// Whether it ships the log, so that its segments may be merged.
    pub fn ships(self) -> bool {
        self.0 & RunId::SHIPS != 0
    }
}

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

/// Something that exists because its record does, and that its receipt promises.
pub trait Promised {
    /// The name of the record.
    fn record_object(&self) -> String;
    /// The name of the receipt.
    fn receipt_object(&self) -> String;
}

impl Promised for CheckpointName {
    fn record_object(&self) -> String {
        self.object()
    }

    fn receipt_object(&self) -> String {
        self.receipt()
    }
}

/// Name of a backup of any tier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupName {
    /// Where it is promised.
    pub promises: &'static Promises,
    /// What follows the prefix in the names of record and receipt.
    pub tail: String,
    /// The run that made it.
    pub run: RunId,
}

impl Promised for BackupName {
    fn record_object(&self) -> String {
        format!("{}{}", self.promises.records, self.tail)
    }

    fn receipt_object(&self) -> String {
        format!("{}{}", self.promises.receipts, self.tail)
    }
}

impl From<CheckpointName> for BackupName {
    fn from(name: CheckpointName) -> BackupName {
        BackupName { promises: &TIGERBEETLE, tail: name.tail(), run: name.run }
    }
}

impl From<&FileName> for BackupName {
    fn from(name: &FileName) -> BackupName {
        BackupName { promises: &name.place.promises, tail: name.tail(), run: name.run }
    }
}

/// Name of a stored file. Orders by name, then by age.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// Where it is kept.
    pub place: &'static FilePlace,
    /// What the user calls it.
    pub name: String,
    /// The run that wrote it.
    pub run: RunId,
}

impl FileName {
    fn tail(&self) -> String {
        format!("{}/{}", self.name, self.run)
    }

    /// The name of the object that holds the file.
    pub fn data(&self) -> String {
        format!("{}{}", self.place.data, self.tail())
    }

    /// The name of the record that promises it.
    pub fn record(&self) -> String {
        format!("{}{}", self.place.promises.records, self.tail())
    }

    /// The name of the receipt of that record.
    pub fn receipt(&self) -> String {
        format!("{}{}", self.place.promises.receipts, self.tail())
    }

    /// Reads the name of an object that holds a file.
    pub fn parse_data(place: &'static FilePlace, object: &str) -> Option<FileName> {
        Self::parse(place, place.data, object)
    }

    /// Reads the name of a record.
    pub fn parse_record(place: &'static FilePlace, object: &str) -> Option<FileName> {
        Self::parse(place, place.promises.records, object)
    }

    /// Reads the name of a receipt.
    pub fn parse_receipt(place: &'static FilePlace, object: &str) -> Option<FileName> {
        Self::parse(place, place.promises.receipts, object)
    }

    fn parse(place: &'static FilePlace, prefix: &str, object: &str) -> Option<FileName> {
        let tail = object.strip_prefix(prefix)?;
        let (name, run) = tail.split_once('/')?;
        let parsed = FileName { place, name: name.to_owned(), run: RunId(u64::from_str_radix(run, 16).ok()?) };
        (parsed.tail() == tail).then_some(parsed)
    }
}

impl Promised for FileName {
    fn record_object(&self) -> String {
        self.record()
    }

    fn receipt_object(&self) -> String {
        self.receipt()
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

/// Name of the record of a timeline.
pub fn timeline_object(timeline: u32) -> String {
    format!("{TIMELINES}{timeline:08}")
}

/// Reads the name of the record of a timeline.
pub fn parse_timeline(name: &str) -> Option<u32> {
    let timeline = name.strip_prefix(TIMELINES)?.parse().ok()?;
    (timeline_object(timeline) == name).then_some(timeline)
}

/// Prefix of the segments of a timeline.
pub fn segment_prefix(timeline: u32) -> String {
    format!("{SEGMENTS}{timeline:08}/")
}

/// Prefix of the beats of a timeline's lease.
pub fn lease_prefix(timeline: u32) -> String {
    format!("{LEASES}{timeline:08}/")
}

/// Name of the record of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GapName {
    /// Which history of the cluster.
    pub timeline: u32,
    /// The first op that is missing.
    pub first_op: u64,
    /// The run that noticed it.
    pub run: RunId,
}

impl GapName {
    /// The record's object name.
    pub fn object(&self) -> String {
        format!("{GAPS}{:08}/{:020}-{}", self.timeline, self.first_op, self.run)
    }

    /// Reads a record's object name.
    pub fn parse(name: &str) -> Option<GapName> {
        let (timeline, rest) = name.strip_prefix(GAPS)?.split_once('/')?;
        let (first_op, run) = rest.split_once('-')?;
        let parsed =
            GapName { timeline: timeline.parse().ok()?, first_op: first_op.parse().ok()?, run: RunId(u64::from_str_radix(run, 16).ok()?) };
        (parsed.object() == name).then_some(parsed)
    }
}

/// Name of a record of a run. Orders by age; the end comes before the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName {
    /// The run.
    pub run: RunId,
    /// Whether it records the end, or the beginning.
    pub has_ended: bool,
}

impl RunName {
    /// The record's object name.
    pub fn object(&self) -> String {
        format!("{RUNS}{}/{}", self.run, if self.has_ended { "ended" } else { "started" })
    }

    /// Reads a record's object name.
    pub fn parse(name: &str) -> Option<RunName> {
        let (run, moment) = name.strip_prefix(RUNS)?.split_once('/')?;
        let parsed = RunName { run: RunId(u64::from_str_radix(run, 16).ok()?), has_ended: moment == "ended" };
        (parsed.object() == name).then_some(parsed)
    }
}

/// Name of a beat of a lease. Orders by fencing number, then beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseName {
    /// Which history of the cluster.
    pub timeline: u32,
    /// The fencing number.
    pub fence: u64,
    /// Counts the beats of its holder from 0.
    pub beat: u64,
}

impl LeaseName {
    /// The beat's object name.
    pub fn object(&self) -> String {
        format!("{}{:020}-{:020}", lease_prefix(self.timeline), self.fence, self.beat)
    }

    /// Reads a beat's object name.
    pub fn parse(name: &str) -> Option<LeaseName> {
        let (timeline, rest) = name.strip_prefix(LEASES)?.split_once('/')?;
        let (fence, beat) = rest.split_once('-')?;
        let parsed = LeaseName { timeline: timeline.parse().ok()?, fence: fence.parse().ok()?, beat: beat.parse().ok()? };
        (parsed.object() == name).then_some(parsed)
    }
}

#[cfg(test)]
mod tests;
