//! Hops with a server that is a shell script: it replaces the data file that it works on by one
//! that was made before.

use super::CheckpointIds;
use super::Hop;
use super::estimate_seconds;
use super::plan_hops;
use super::required_releases;
use crate::error::{Error, Kind, Result};
use crate::progress::Silent;
use crate::tb_format::Checksum;
use crate::tb_format::layout::{durable_op_for_checkpoint, prepare_max_for_checkpoint, trigger_for_checkpoint};
use crate::tb_format::sample::{PrepareSample, SAMPLE_RELEASE, SampleFile, headers_of, log_after, root_header};
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::Prepare;
use crate::tier::sample::{LOG_OPS, next_checkpoint, write_data_file};
use crate::tier::tigerbeetle::restore::Restored;
use crate::tier::tigerbeetle::restore::binaries::ReleaseNeeded;
use crate::tier::tigerbeetle::restore::history::tests::ship;
use crate::tier::tigerbeetle::restore::original_log::OriginalLog;
use crate::tier::tigerbeetle::restore::plan::RestorePlan;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::restore;
use crate::tier::tigerbeetle::restore::role::Role;
use crate::tier::tigerbeetle::restore::tests::Fixture;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn hops_are_planned_only_where_the_log_beside_a_checkpoint_ends() {
    for (checkpoint, target) in [(0, 0), (0, 1007), (959, 959), (959, 1000), (959, 959 + 1008), (1919, 1919 + 1008)] {
        assert_eq!(plan_hops(checkpoint, target), [], "{checkpoint} to {target}");
    }
    let hop = |from, to| Hop { from_checkpoint: from, to_checkpoint: to, last_op: to + 40 };
    assert_eq!(plan_hops(0, 1008), [hop(0, 959)]);
    assert_eq!(plan_hops(0, 959 + 1008), [hop(0, 959)]);
    assert_eq!(plan_hops(0, 959 + 1009), [hop(0, 959), hop(959, 1919)]);
    assert_eq!(plan_hops(959, 959 + 1009), [hop(959, 1919)]);
    for target in 1900..9000 {
        let hops = plan_hops(959, target);
        let last = hops.last().map_or(959, |hop| hop.to_checkpoint);
        assert!(target <= prepare_max_for_checkpoint(last) && (hops.is_empty() || target >= durable_op_for_checkpoint(last)), "{target}");
        for hop in &hops {
            assert!(hop.last_op < target && hop.last_op <= prepare_max_for_checkpoint(hop.from_checkpoint), "{hop:?}");
            assert!(trigger_for_checkpoint(hop.to_checkpoint).is_some_and(|trigger| hop.last_op >= trigger + 8), "{hop:?}");
        }
        assert!(hops.windows(2).all(|pair| pair[0].to_checkpoint == pair[1].from_checkpoint));
    }
    assert_eq!(estimate_seconds(0, 1 << 30), 0.0);
    assert_eq!(estimate_seconds(3, 0), 3.0 * estimate_seconds(1, 0));
    assert!((55.0..70.0).contains(&estimate_seconds(1, 1 << 30)), "what was measured");
}

/// A log in memory.
struct Log(Vec<Vec<u8>>);

impl OriginalLog for Log {
    fn prepares(&mut self, first_op: u64, last_op: u64, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<()> {
        for op in first_op..=last_op {
            let bytes = self.0.get(op as usize - 1).ok_or_else(|| Error::damaged(format!("op {op} is missing")))?;
            take(&Prepare::check(bytes).unwrap())?;
        }
        Ok(())
    }

    fn last_op(&self) -> u64 {
        self.0.len() as u64
    }
}

#[test]
fn an_upgrade_in_the_log_needs_the_next_release_from_there_on() {
    let mut log = log_after(&root_header(7), 2000);
    let newer = SAMPLE_RELEASE + 1;
    for op in [960, 1500] {
        let parent = headers_of(&log)[op - 2];
        let upgrade = PrepareSample { operation: 5, body: newer.to_le_bytes().repeat(4), ..PrepareSample::after(&parent) };
        log[op - 1] = upgrade.bytes();
    }
    let needed = |release, from_op| ReleaseNeeded { release, from_op };
    let mut log = Log(log);
    assert_eq!(required_releases(&[], SAMPLE_RELEASE, &mut log).unwrap(), []);
    assert_eq!(required_releases(&plan_hops(0, 1500), newer, &mut log).unwrap(), [needed(newer, 1)]);
    let both = [needed(SAMPLE_RELEASE, 1), needed(newer, 960)];
    assert_eq!(required_releases(&plan_hops(0, 1970), SAMPLE_RELEASE, &mut log).unwrap(), both);
    assert_eq!(required_releases(&plan_hops(0, 2970), SAMPLE_RELEASE, &mut log).unwrap_err().kind, Kind::Damaged);
}

#[test]
fn ids_of_checkpoints_are_compared_with_what_prepares_name() {
    let sample = SampleFile::new(7, LOG_OPS);
    let superblock = SuperBlock::check(&sample.superblock).unwrap();
    let naming = |op, checkpoint_id| {
        let mut parent = superblock.checkpoint().header();
        while parent.op() + 1 < op {
            parent = headers_of(&log_after(&parent, 1))[0];
        }
        headers_of(&[PrepareSample { checkpoint_id, ..PrepareSample::after(&parent) }.bytes()])[0]
    };
    let mut ids = CheckpointIds::default();
    ids.reach(&superblock);
    // These name another checkpoint, of which nothing is known.
    for op in [960, 1919, 2880] {
        ids.verify(&naming(op, Checksum(1))).unwrap();
    }
    assert_eq!(ids.verified(), 0);
    for op in [1920, 2879] {
        ids.verify(&naming(op, superblock.checkpoint().checkpoint_id())).unwrap();
        assert_eq!(ids.verified(), 1);
        let error = ids.verify(&naming(op, Checksum(1))).unwrap_err();
        assert!(error.kind == Kind::Damaged && error.message.contains("checkpoint at op 959"), "{error}");
    }
}

/// A backup of checkpoint 959 that reaches op 1011, the log after it to op 1979, and what a server
/// makes of that: checkpoint 1919.
struct Rolling {
    fixture: Fixture,
    /// With the log up to op 1979, whose prepares name checkpoint 959 from op 1920 on.
    next: SampleFile,
}

impl Rolling {
    fn new(named: Option<Checksum>) -> Rolling {
        let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
        let sample = SampleFile::new(7, 960);
        let mut next = next_checkpoint(&sample, 60).unwrap();
        let id = named.unwrap_or(sample.checkpoint().checkpoint_id());
        let mut parent = next.checkpoint().header();
        for bytes in &mut next.log {
            *bytes = PrepareSample { checkpoint_id: id, ..PrepareSample::after(&parent) }.bytes();
            parent = headers_of(std::slice::from_ref(bytes))[0];
        }
        ship(&fixture, 1, &[&sample.log[40..], &next.log[..]].concat());
        Rolling { fixture, next }
    }

    fn binary(&self, start: &str) -> PathBuf {
        let path = self.fixture.path("tigerbeetle");
        let script = format!("case $1 in version) echo TigerBeetle version 0.16.78+abc;; start) {start};; *) exit 1;; esac");
        // Written by another process, so that no child of another test has it open when it is run.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod +x "$2""#;
        assert!(Command::new("sh").args(["-c", write, "write", &script]).arg(&path).status().unwrap().success());
        path
    }

    /// A server that makes `made` of whatever it is started on.
    fn making(&self, made: &SampleFile) -> PathBuf {
        let data = self.fixture.path("made");
        write_data_file(made, &data).unwrap();
        let data = data.display();
        // The superblock last, as a server does.
        self.binary(&format!(
            "echo working; dd if={data} of=$4 bs=1M skip=1 seek=1 conv=notrunc,sparse; dd if={data} of=$4 bs=96K count=1 conv=notrunc; exec sleep 600"
        ))
    }

    fn restore(&self, op: u64, role: Role, binary: PathBuf) -> Result<Restored> {
        let request = crate::tier::tigerbeetle::restore::RestoreRequest {
            binaries: vec![binary.clone()],
            ..self.fixture.request(Point::Op(op), role)
        };
        let restored = restore(&self.fixture.repository, &request, &Silent);
        std::fs::remove_file(binary).unwrap();
        let _ = std::fs::remove_file(self.fixture.path("made"));
        restored
    }

    fn fails(&self, binary: PathBuf) -> Error {
        let error = self.restore(1979, Role::Same, binary).unwrap_err();
        // What was fetched stays where the next attempt may succeed.
        let left = self.fixture.files();
        assert_eq!(left.len(), usize::from(error.kind == Kind::TryAgain), "{left:?}: {error}");
        left.iter().for_each(|name| std::fs::remove_file(self.fixture.path(name)).unwrap());
        error
    }
}

#[test]
fn a_hop_leads_to_the_next_checkpoint_in_every_role() {
    let rolling = Rolling::new(None);
    for (role, replica) in [(Role::Same, (0, 3)), (Role::Replica { index: 2 }, (2, 3)), (Role::Solo, (0, 1))] {
        let restored = rolling.restore(1979, role, rolling.making(&rolling.next)).unwrap();
        let hops = restored.hops.unwrap();
        assert_eq!((hops.count, hops.checkpoint_op, hops.checkpoint_ids_verified), (1, 1919, 1));
        assert_eq!((restored.op, restored.blocks), (1979, 11));
        let superblock = super::superblock_of(&rolling.fixture.path("image")).unwrap();
        assert_eq!((superblock.replica_index(), superblock.replica_count()), replica);
        assert_eq!(superblock.view_headers().next().unwrap().op(), 1979);
        assert_eq!(rolling.fixture.files(), ["image"]);
        std::fs::remove_file(rolling.fixture.path("image")).unwrap();
    }
}

#[test]
fn several_outputs_are_copies_of_one_roll() {
    let rolling = Rolling::new(None);
    let binary = rolling.making(&rolling.next);
    let outputs = (0..3).map(|index| (rolling.fixture.path(&format!("image{index}")), Role::Replica { index })).collect();
    let request = crate::tier::tigerbeetle::restore::RestoreRequest {
        binaries: vec![binary],
        outputs,
        ..rolling.fixture.request(Point::Op(1979), Role::Same)
    };
    restore(&rolling.fixture.repository, &request, &Silent).unwrap();
    for (index, (path, _)) in (0..).zip(&request.outputs) {
        assert_eq!(super::superblock_of(path).unwrap().replica_index(), index);
        assert!(std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).unwrap()) * 512 < 64 << 20, "holes stay holes");
    }
}

#[test]
fn a_hop_that_leads_elsewhere_is_not_believed() {
    // The log names another checkpoint 959 than the backup's.
    let rolling = Rolling::new(Some(Checksum(9)));
    let error = rolling.fails(rolling.making(&rolling.next));
    assert!(error.kind == Kind::Damaged && error.message.contains("the ledger is not the original's"), "{error}");
    let rolling = Rolling::new(None);
    // The checkpoint has the right op, but ends with another prepare.
    let mut other = SampleFile::new(7, 959);
    let last = PrepareSample { body: vec![1; 128], ..PrepareSample::after(&headers_of(&other.log)[958]) };
    other.log.push(last.bytes());
    let error = rolling.fails(rolling.making(&next_checkpoint(&other, 60).unwrap()));
    assert!(error.kind == Kind::Damaged && error.message.contains("the original log has"), "{error}");
    // The server went too far.
    let far = next_checkpoint(&SampleFile::new(7, 960), 960).unwrap();
    let error = rolling.fails(rolling.making(&next_checkpoint(&far, 60).unwrap()));
    assert!(error.kind == Kind::Damaged && error.message.contains("went on to checkpoint 2879, not to 1919"), "{error}");
}

#[test]
fn a_server_that_ends_is_quoted() {
    let rolling = Rolling::new(None);
    let error = rolling.fails(rolling.binary("echo thread 1 panic: WALCorrupt >&2; exit 134"));
    assert_eq!(error.kind, Kind::TryAgain);
    assert!(error.message.contains("ended (exit code 134) on the way from checkpoint 959 to 1919"), "{error}");
    assert!(error.message.contains("panic: WALCorrupt"), "{error}");
}

#[test]
fn without_the_right_binary_nothing_is_begun() {
    let rolling = Rolling::new(None);
    let plan = RestorePlan::make(&rolling.fixture.repository, Point::Op(1979), None).unwrap();
    assert_eq!((plan.hops.len(), plan.release, plan.timestamp_ns), (1, SAMPLE_RELEASE, crate::tb_format::sample::sample_timestamp(1979)));
    assert!(plan.estimate_seconds() > estimate_seconds(1, plan.log_bytes));
    let error = rolling.fixture.refused(Point::Op(1979));
    assert_eq!(error.kind, Kind::Input);
    for says in ["op 1979 ", "1 checkpoints after the backup at op 959", "--tigerbeetle PATH", "0.16.78", "op 1967 before it"] {
        assert!(error.message.contains(says), "{says}: {error}");
    }
    let older = rolling.binary("exit 1");
    assert!(Command::new("sed").args(["-i", "s/0.16.78/0.16.70/"]).arg(&older).status().unwrap().success());
    let error = rolling.fails(older);
    assert!(error.kind == Kind::Input && error.message.contains("TigerBeetle 0.16.78 is needed, from op 960 on"), "{error}");
    // A restore that needs no hop asks no binary.
    let restored = rolling.restore(1967, Role::Same, rolling.binary("exit 1")).unwrap();
    assert_eq!((restored.op, restored.hops), (1967, None));
}
