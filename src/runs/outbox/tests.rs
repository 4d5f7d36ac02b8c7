use super::*;
use crate::error::Kind;
use crate::ledger_events::tests::{begun, completed};
use crate::repository::run_record::Work;
use crate::threads::lock;
use std::fs::{self, File, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tempfile::TempDir;

/// What happens at a step.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The process is killed: nothing after it runs.
    Kill(Step),
    /// The disk takes no more.
    Full(Step),
}

const STEPS: [Step; 5] = [Step::Create, Step::Write, Step::Sync, Step::Rename, Step::SyncFolder];

impl Outbox {
    pub(super) fn step(&self, step: Step) -> io::Result<()> {
        let fault = *lock(&self.fault);
        match fault {
            Some(Fault::Kill(at)) if at == step => panic!("killed at {step:?} on purpose"),
            Some(Fault::Full(at)) if at == step => Err(io::Error::from(ErrorKind::StorageFull)),
            _ => Ok(()),
        }
    }

    fn set(&self, fault: Option<Fault>) {
        *lock(&self.fault) = fault;
    }

    /// The runs that wait in a lane, in order.
    fn runs(&self, lane: Lane) -> Vec<u64> {
        self.waiting(lane).unwrap().iter().map(|name| self.read(lane, name).unwrap().run.0).collect()
    }
}

fn outbox() -> (TempDir, Outbox) {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(Disk::SYSTEM, &folder.path().join("outbox")).unwrap();
    (folder, outbox)
}

fn again(folder: &TempDir) -> Outbox {
    Outbox::open(Disk::SYSTEM, &folder.path().join("outbox")).unwrap()
}

fn append(outbox: &Outbox, run: u64) {
    outbox.append(RunId(run), &begun(Work::Tigerbeetle), 1000 + run).unwrap();
}

fn files(folder: &TempDir, place: &str) -> Vec<String> {
    let mut names = Vec::new();
    Disk::SYSTEM
        .each_name(&folder.path().join("outbox").join(place), &mut |name| {
            names.push(name.to_owned());
            Ok(())
        })
        .unwrap();
    names.sort();
    names
}

#[test]
fn entries_keep_their_order_through_restarts_and_both_lanes() {
    let (folder, outbox) = outbox();
    // The entries are not in the order of their numbers, but in the order in which they were put.
    [9, 3, 7].iter().for_each(|run| append(&outbox, *run));
    assert_eq!((outbox.runs(Lane::Repository), outbox.count(Lane::Repository).unwrap()), (vec![9, 3, 7], 3));
    let outbox = again(&folder);
    append(&outbox, 1);
    for name in &outbox.waiting(Lane::Repository).unwrap()[..2] {
        let entry = outbox.read(Lane::Repository, name).unwrap();
        assert_eq!((entry.appended_ns, &entry.record), (1000 + entry.run.0, &begun(Work::Tigerbeetle)));
        outbox.pass_on(name, &entry, &entry.record).unwrap();
    }
    assert_eq!((outbox.runs(Lane::Repository), outbox.runs(Lane::Ledger)), (vec![7, 1], vec![9, 3]));
    let known = peek(&folder.path().join("outbox")).unwrap();
    assert_eq!(
        known.into_iter().map(|(run, has_ended)| (run.0, has_ended)).collect::<Vec<_>>(),
        [(1, false), (3, false), (7, false), (9, false)]
    );
    let outbox = again(&folder);
    let first = outbox.waiting(Lane::Ledger).unwrap().remove(0);
    outbox.remove(Lane::Ledger, &first).unwrap();
    assert_eq!((outbox.runs(Lane::Ledger), outbox.remove(Lane::Ledger, &first).unwrap_err().kind), (vec![3], Kind::TryAgain));
    assert_eq!(peek(&folder.path().join("nowhere")).unwrap().len(), 0);
}

#[test]
fn a_kill_at_any_step_leaves_a_whole_entry_or_none() {
    for step in STEPS {
        let (folder, outbox) = outbox();
        append(&outbox, 1);
        outbox.set(Some(Fault::Kill(step)));
        catch_unwind(AssertUnwindSafe(|| append(&outbox, 2))).unwrap_err();
        let left = files(&folder, "repository").len();
        // A reader in between sees only complete entries.
        let seen = peek(&folder.path().join("outbox")).unwrap().len();
        let outbox = again(&folder);
        let found = outbox.runs(Lane::Repository);
        let expected: &[u64] = if step == Step::SyncFolder { &[1, 2] } else { &[1] };
        assert_eq!((&found[..], seen), (expected, expected.len()), "{step:?}");
        assert_eq!(left, if step == Step::Create { 1 } else { 2 }, "{step:?}: a temporary name was left");
        assert_eq!(files(&folder, "repository").len(), expected.len(), "{step:?}: it is removed");
        append(&outbox, 3);
        assert_eq!(outbox.runs(Lane::Repository).last(), Some(&3), "{step:?}");
        assert_eq!(outbox.trouble(), None);
    }
}

#[test]
fn a_full_disk_refuses_and_leaves_nothing_under_a_temporary_name() {
    for step in STEPS {
        let (folder, outbox) = outbox();
        append(&outbox, 1);
        outbox.set(Some(Fault::Full(step)));
        let error = outbox.append(RunId(2), &begun(Work::Kms), 1).unwrap_err();
        assert_eq!(error.kind, Kind::TryAgain, "{step:?}: {error}");
        assert!(files(&folder, "repository").iter().all(|name| !name.ends_with(TEMPORARY)), "{step:?}");
        outbox.set(None);
        outbox.append(RunId(2), &begun(Work::Kms), 1).unwrap();
        let runs = outbox.runs(Lane::Repository);
        // If only the folder was not synced, the entry is already there. A second one of the same
        // run changes nothing.
        assert!(runs == [1, 2] || step == Step::SyncFolder && runs.iter().all(|run| [1, 2].contains(run)), "{step:?}: {runs:?}");
    }
}

#[test]
fn a_kill_while_another_record_is_passed_on_loses_neither_lane() {
    for step in STEPS {
        let (folder, outbox) = outbox();
        append(&outbox, 5);
        let name = outbox.waiting(Lane::Repository).unwrap().remove(0);
        let entry = outbox.read(Lane::Repository, &name).unwrap();
        let other = completed(Work::Tigerbeetle, 7);
        outbox.set(Some(Fault::Kill(step)));
        catch_unwind(AssertUnwindSafe(|| outbox.pass_on(&name, &entry, &other))).unwrap_err();
        let outbox = again(&folder);
        assert_eq!(outbox.runs(Lane::Repository), [5], "{step:?}: it is delivered once more");
        outbox.pass_on(&name, &entry, &other).unwrap();
        let passed = outbox.waiting(Lane::Ledger).unwrap();
        assert_eq!((passed.len(), outbox.read(Lane::Ledger, &passed[0]).unwrap().record), (1, other), "{step:?}");
        assert_eq!(outbox.count(Lane::Repository).unwrap(), 0);
    }
}

#[test]
fn damaged_entries_are_told_and_moved_aside() {
    let (folder, outbox) = outbox();
    (1..=5).for_each(|run| append(&outbox, run));
    let lane = folder.path().join("outbox/repository");
    let names = outbox.waiting(Lane::Repository).unwrap();
    let path = |at: usize| lane.join(names[at].to_string());
    let mut flipped = fs::read(path(1)).unwrap();
    flipped[30] ^= 1;
    fs::write(path(1), flipped).unwrap();
    OpenOptions::new().write(true).open(path(2)).unwrap().set_len(20).unwrap();
    File::create(path(3)).unwrap().set_len(ENTRY_BYTES_MAX + 1).unwrap();
    for (at, what) in [(1, "digest"), (2, "digest"), (3, "larger")] {
        let error = outbox.read(Lane::Repository, &names[at]).unwrap_err();
        assert!(error.kind == Kind::Damaged && error.message.contains(what) && error.message.contains(&names[at].to_string()), "{error}");
        let place = outbox.set_aside(Lane::Repository, &names[at]).unwrap();
        assert!(place.is_file() && place.ends_with(format!("damaged/{}", names[at])), "{}", place.display());
    }
    assert_eq!(outbox.runs(Lane::Repository), [1, 5]);
    assert!(outbox.trouble().unwrap().starts_with("3 records of runs that cannot be read lie in "));
    // A matching digest is not enough.
    let no_entry = EntryName::of(9, b"{}");
    fs::write(lane.join(no_entry.to_string()), b"{}").unwrap();
    assert!(outbox.read(Lane::Repository, &no_entry).unwrap_err().message.contains("it is no entry"));
}

#[test]
fn what_is_no_entry_is_moved_aside_at_the_start() {
    let (folder, outbox) = outbox();
    append(&outbox, 1);
    let lane = folder.path().join("outbox/repository");
    for name in ["notes.txt", "1-0123456789abcdef.json", "00000000000000000007-0123456789ABCDEF.json", "00000000000000000008.json"] {
        fs::write(lane.join(name), "x").unwrap();
    }
    fs::write(lane.join("00000000000000000009-0123456789abcdef.json.tmp"), "x").unwrap();
    assert_eq!(outbox.runs(Lane::Repository), [1], "nobody takes them for entries");
    let outbox = again(&folder);
    assert_eq!((files(&folder, "repository").len(), files(&folder, "damaged").len()), (1, 4));
    assert!(outbox.trouble().unwrap().starts_with("4 "));
}

#[test]
fn what_the_ledger_refused_is_tried_again_at_the_next_start() {
    let (folder, outbox) = outbox();
    [1, 2].iter().for_each(|run| append(&outbox, *run));
    for name in outbox.waiting(Lane::Repository).unwrap() {
        let entry = outbox.read(Lane::Repository, &name).unwrap();
        outbox.pass_on(&name, &entry, &entry.record).unwrap();
    }
    let first = outbox.waiting(Lane::Ledger).unwrap().remove(0);
    assert!(outbox.refuse(&first).unwrap().is_file());
    assert_eq!(outbox.runs(Lane::Ledger), [2]);
    assert!(outbox.trouble().unwrap().contains("1 events that the ledger refused"));
    let outbox = again(&folder);
    assert_eq!((outbox.runs(Lane::Ledger), outbox.trouble()), (vec![1, 2], None));
}

#[test]
fn a_long_queue_is_read_in_pieces_and_in_order() {
    let (_folder, outbox) = outbox();
    let total = BATCH as u64 + 20;
    (1..=total).for_each(|run| append(&outbox, run));
    let first = outbox.waiting(Lane::Repository).unwrap();
    assert_eq!((first.len(), outbox.count(Lane::Repository).unwrap()), (BATCH, total));
    for name in &first {
        outbox.remove(Lane::Repository, name).unwrap();
    }
    assert_eq!(outbox.runs(Lane::Repository), (BATCH as u64 + 1..=total).collect::<Vec<_>>());
}

#[test]
fn a_record_that_is_too_large_is_refused_before_it_is_written() {
    let (folder, outbox) = outbox();
    let mut record = begun(Work::Tigerbeetle);
    record.run.job = "x".repeat(ENTRY_BYTES_MAX as usize);
    assert_eq!(outbox.append(RunId(1), &record, 1).unwrap_err().kind, Kind::Bug);
    assert!(files(&folder, "repository").is_empty());
    // A folder whose parent is missing is refused.
    assert_eq!(Outbox::open(Disk::SYSTEM, &folder.path().join("a/b")).unwrap_err().kind, Kind::Input);
}

#[test]
fn the_largest_entry_is_taken_and_read_back() {
    let (folder, outbox) = outbox();
    let mut record = begun(Work::Tigerbeetle);
    record.run.job = String::new();
    let empty = encode(RunId(1), &record, 1).unwrap().len();
    record.run.job = "x".repeat(ENTRY_BYTES_MAX as usize - empty);
    outbox.append(RunId(1), &record, 1).unwrap();
    let names = outbox.waiting(Lane::Repository).unwrap();
    let entry = outbox.read(Lane::Repository, &names[0]).unwrap();
    assert_eq!((entry.run, entry.record.run.job.len()), (RunId(1), ENTRY_BYTES_MAX as usize - empty));
    record.run.job.push('x');
    assert_eq!(outbox.append(RunId(2), &record, 1).unwrap_err().kind, Kind::Bug);
    assert_eq!(outbox.count(Lane::Repository).unwrap(), 1);
    // A file that is a byte larger is none, although its name says its digest.
    let content = vec![b' '; ENTRY_BYTES_MAX as usize + 1];
    let name = EntryName::of(9, &content);
    std::fs::write(folder.path().join("outbox/repository").join(name.to_string()), &content).unwrap();
    let error = outbox.read(Lane::Repository, &name).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("larger than any entry"), "{error}");
}

#[test]
fn as_many_names_as_asked_for_are_held() {
    let (_folder, outbox) = outbox();
    (1..=3).for_each(|run| append(&outbox, run));
    let folder = outbox.lane(Lane::Repository);
    for limit in 0..=4 {
        let names = first(Disk::SYSTEM, &folder, limit).unwrap();
        let expected: Vec<u64> = (1..=limit.min(3) as u64).collect();
        assert_eq!(names.iter().map(|name| name.sequence).collect::<Vec<_>>(), expected, "{limit}");
    }
}

#[test]
fn only_the_exact_name_of_an_entry_is_one() {
    let right = EntryName::of(7, b"x").to_string();
    assert_eq!(EntryName::parse(&right).unwrap().to_string(), right);
    let (sequence, digest) = right.split_once('-').unwrap();
    for wrong in [
        format!("0{right}"),
        right[1..].to_owned(),
        format!("{sequence}-0{digest}"),
        format!("{sequence}-{}", &digest[1..]),
        format!("{sequence}-{}", digest.replacen(|digit: char| digit.is_ascii_hexdigit(), "g", 1)),
        format!("{sequence}-{}{}", digest[..16].to_uppercase().replace(|digit: char| digit.is_ascii_digit(), "A"), &digest[16..]),
        format!("{sequence}{digest}"),
        format!("{right}.tmp"),
        right.replace(".json", ""),
    ] {
        assert_eq!(EntryName::parse(&wrong), None, "{wrong}");
    }
}
