//! Rolling forward with a real server: from a backup far behind, over several checkpoints, to an
//! exact op.

use crate::support::books::check_restored;
use crate::support::cluster::Cluster;
use crate::support::program::{Program, number, text};
use crate::support::{folder, tigerbeetle, tigerbeetle_path, turn, turn_for};
use amber::demo::{Load, LoadOptions, LoadPlan};
use amber::disk::file::ReadOptions;
use amber::replica::log::{LogSource, Polled};
use amber::replica::tail::Tail;
use amber::repository::key::Secret;
use amber::repository::{Options, Repository};
use amber::store::Store;
use amber::store::folder::FolderStore;
use amber::tb_format::wal::{Chain, Prepare};
use amber::tier::tigerbeetle::format::segment::{SegmentBuilder, segment_entry};
use amber::tier::tigerbeetle::restore::forward::plan_hops;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(300);

/// The prepares of a node by op.
type Log = BTreeMap<u64, Vec<u8>>;

/// A recorder of every prepare of a running node, from its first op on, in memory.
struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Log>,
}

impl Recorder {
    fn start(data_file: &Path, cluster: u128) -> Recorder {
        let root = Chain::root(cluster);
        let mut tail = Tail::open(data_file, ReadOptions::default(), root.op(), root.checksum()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut log = Log::new();
            loop {
                let ending = stopped.load(Ordering::SeqCst);
                let polled = tail.poll(&mut |prepare| {
                    log.insert(prepare.header().op(), prepare.bytes().to_vec());
                    Ok(())
                });
                match polled.unwrap() {
                    Polled::Prepares(_) => {}
                    Polled::Idle if ending => return log,
                    Polled::Idle => std::thread::sleep(Duration::from_millis(2)),
                    Polled::Lost { op, reason, .. } => panic!("op {op}: {reason}"),
                }
            }
        });
        Recorder { stop, thread }
    }

    fn finish(self) -> Log {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// A cluster that was written to over several checkpoints; a backup from the beginning, and the log
/// after it in a repository, as an agent ships it.
struct History {
    node: Cluster,
    plan: LoadPlan,
    acknowledged: Vec<u64>,
    backup: Value,
    program: Program,
    last_op: u64,
    place: TempDir,
}

impl History {
    fn new(replica_count: u8, plan: LoadPlan, before: u64, behind: u64) -> History {
        let node = Cluster::new(replica_count);
        let place = folder("forward");
        let repository = place.path().join("repository");
        let program = Program::in_folder(&repository);
        program.init();
        let recorder = Recorder::start(node.data_file(0), node.id());
        let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
        load.wait_for(before, TIMEOUT).unwrap();
        let acknowledged = load.acknowledged();
        let backup = program.backup(node.data_file(0));
        load.wait_for(behind, TIMEOUT).unwrap();
        load.stop().unwrap();
        let log = recorder.finish();
        ship(&repository, &log, number(&backup, "recovered_to_op") - 5);
        let last_op = *log.last_key_value().unwrap().0;
        println!("checkpoint {}, log to op {last_op}", number(&backup, "checkpoint_op"));
        History { node, plan, acknowledged, backup, program, last_op, place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn restore(&self, arguments: &[&str]) -> Value {
        let binary = tigerbeetle_path();
        let restored = self.program.ok(&[&["restore", "tigerbeetle", "--tigerbeetle", text(&binary)], arguments].concat());
        let (hops, seconds) = (number(&restored, "hops"), restored["hops_seconds"].as_f64().unwrap());
        println!("{arguments:?}: {hops} hops, {:.2} s each, {} checkpoint ids", seconds / hops as f64, restored["checkpoint_ids_verified"]);
        restored
    }

    /// Checks that the images serve exactly what the ledger held at the op.
    fn check(&self, restored: &Value, images: &[PathBuf]) {
        for image in images {
            tigerbeetle().inspect_integrity(image).unwrap();
        }
        let books = check_restored(images, restored, self.plan, &self.acknowledged, &self.node);
        println!("op {}: {} transfers", restored["op"], books.transfers);
    }
}

/// Stores the prepares from `first_op` on in segments of a few hundred.
fn ship(repository: &Path, log: &Log, first_op: u64) {
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(repository).unwrap());
    let secret = Secret::Passphrase(b"a passphrase for tests".to_vec().into());
    let repository = Repository::open(store, &secret, Options::default()).unwrap();
    let run = repository.new_run().unwrap();
    let prepares: Vec<&Vec<u8>> = log.range(first_op..).map(|(_, bytes)| bytes).collect();
    for part in prepares.chunks(300) {
        let mut builder = SegmentBuilder::default();
        for bytes in part {
            builder.push(&Prepare::check(bytes).unwrap());
        }
        let (name, finishing) = builder.write(&repository, 1, run).unwrap().unwrap();
        segment_entry(name, finishing).unwrap();
    }
}

#[test]
fn a_fork_rolls_over_several_checkpoints_to_an_exact_op() {
    let _turn = turn();
    let history = History::new(1, LoadPlan { clients: 6, transfers_per_request: 12, ..LoadPlan::default() }, 100, 4500);
    let (checkpoint_op, last_op) = (number(&history.backup, "checkpoint_op"), history.last_op);
    assert_eq!(checkpoint_op, 0);

    // Without a binary, the points that need none are named, and the requirements are reported
    // beforehand.
    let image = history.path("image.tigerbeetle");
    let point = ["restore", "tigerbeetle", "--output", text(&image)];
    let refused = history.program.fails(2, &[&point[..], &["--latest"]].concat());
    assert!(refused.contains(&format!("op {last_op} ")) && refused.contains("--tigerbeetle"), "{refused}");
    assert!(refused.contains("release 0.16.78") && refused.contains("op 1007 before it"), "{refused}");
    let plan = history.program.ok(&[&point[..], &["--op", "2928", "--dry-run"]].concat());
    assert_eq!((number(&plan, "op"), number(&plan, "hops"), number(&plan, "checkpoint_op")), (2928, 3, 0), "{plan}");
    assert_eq!(plan["releases_needed"][0]["release"], "0.16.78");
    let other = history.program.fails(2, &[&point[..], &["--tigerbeetle", "/bin/true"]].concat());
    assert!(other.contains("no TigerBeetle"), "{other}");
    assert!(!image.exists());
    // A restore without hops needs no binary.
    history.program.restore(&image, &["--op", "1007"]);

    // The first op after what the log next to a checkpoint reaches; the last op that it reaches;
    // the end of all.
    for (op, arguments) in [(2928, vec!["--op", "2928"]), (3887, vec!["--op", "3887"]), (last_op, vec!["--latest"])] {
        let restored = history.restore(&[&["--overwrite", "--output", text(&image)], &arguments[..]].concat());
        let hops = number(&restored, "hops");
        assert_eq!(number(&restored, "op"), op);
        assert_eq!(hops, plan_hops(0, op).len() as u64);
        // The ids verified are that of the backup, those on the way, and the last one if the log
        // continues after the ops that the last one reaches.
        let reported = last_op > 959 + 960 * hops;
        assert_eq!(number(&restored, "checkpoint_ids_verified"), hops + u64::from(reported), "{restored}");
        history.check(&restored, std::slice::from_ref(&image));
    }
    let left = std::fs::read_dir(history.place.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("amber-partial")).count(), 0);
}

#[test]
fn a_whole_cluster_is_rolled_forward_once() {
    let _turn = turn_for(2);
    let mut history = History::new(3, LoadPlan { clients: 4, transfers_per_request: 30, ..LoadPlan::default() }, 1100, 1500);
    assert!(number(&history.backup, "checkpoint_op") > 0, "{}", history.backup);
    // Six servers at once are too much for a small machine. The original then has one replica less,
    // which still leaves a majority of two.
    history.node.kill(2);
    let folder = history.path("restored");
    let op = history.last_op - 7;
    let restored = history.restore(&["--all-replicas", text(&folder), "--op", &op.to_string()]);
    assert_eq!((number(&restored, "op"), restored["replica_count"].as_u64()), (op, Some(3)));
    let images: Vec<PathBuf> = restored["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap().into()).collect();
    assert_eq!(images.len(), 3);
    history.check(&restored, &images);
}
