//! Rolling forward with a real server: from a backup far behind, over several checkpoints, to an exact op.

use crate::support::cluster::Cluster;
use crate::support::program::{Program, number};
use crate::support::{folder, tigerbeetle, tool, turn};
use amber::demo::{Expected, Load, LoadOptions, Plan, check_books};
use amber::error::{Error, Result};
use amber::ledger::wal::Prepare;
use amber::progress::Silent;
use amber::repository::key::Secret;
use amber::repository::manifest::Manifest;
use amber::repository::{Options, Repository};
use amber::restore::Role;
use amber::restore::check::check_image;
use amber::restore::forward::{OriginalLog, plan_hops};
use amber::restore::target::Target;
use amber::restore::work::{Hops, Work, Written};
use amber::source::file::ReadOptions;
use amber::source::log::{LogSource, Polled};
use amber::source::tail::Tail;
use amber::store::Store;
use amber::store::folder::FolderStore;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(300);

/// Every prepare of a running node, from its first op on, in memory.
struct Recorder {
    prepares: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Recorder {
    fn start(data_file: &Path, cluster: u128) -> Recorder {
        let root = amber::ledger::wal::Chain::root(cluster);
        let mut tail = Tail::open(data_file, ReadOptions::default(), root.op(), root.checksum()).unwrap();
        let (prepares, stop) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicBool::new(false)));
        let (kept, stopped) = (Arc::clone(&prepares), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            loop {
                let ending = stopped.load(Ordering::SeqCst);
                let polled = tail.poll(&mut |prepare| {
                    kept.lock().unwrap().insert(prepare.header().op(), prepare.bytes().to_vec());
                    Ok(())
                });
                match polled.unwrap() {
                    Polled::Prepares(_) => {}
                    Polled::Idle if ending => return,
                    Polled::Idle => std::thread::sleep(Duration::from_millis(2)),
                    Polled::Lost { op, reason } => panic!("op {op}: {reason}"),
                }
            }
        });
        Recorder { prepares, stop, thread }
    }

    fn finish(self) -> MemoryLog {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        MemoryLog(std::mem::take(&mut self.prepares.lock().unwrap()))
    }
}

struct MemoryLog(BTreeMap<u64, Vec<u8>>);

impl OriginalLog for MemoryLog {
    fn prepares(&mut self, first_op: u64, last_op: u64, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<()> {
        for op in first_op..=last_op {
            let bytes = self.0.get(&op).ok_or_else(|| Error::damaged(format!("op {op} is missing")))?;
            take(&Prepare::check(bytes).unwrap())?;
        }
        Ok(())
    }

    fn last_op(&self) -> u64 {
        *self.0.last_key_value().unwrap().0
    }
}

fn open(program: &Path) -> Arc<Repository> {
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(program).unwrap());
    let secret = Secret::Passphrase(b"a passphrase for tests".to_vec().into());
    Repository::open(store, &secret, Options::default()).unwrap()
}

/// Restores the first backup of a repository to `op` of the log, one image for each role.
fn roll(repository: &Repository, log: &mut MemoryLog, op: u64, outputs: &[(PathBuf, Role)]) -> (Written, Hops) {
    let name = *repository.backups().unwrap().first().unwrap();
    let manifest = Manifest::read(repository, &name, None).unwrap();
    let mut targets: Vec<Target> = outputs.iter().map(|(path, _)| Target::create(path, false).unwrap()).collect();
    let roles = outputs.iter().map(|(_, role)| *role).collect();
    let hops = plan_hops(manifest.summary.checkpoint_op, op);
    let work = Work { repository, manifest: &manifest, op, hops, roles };
    let written = work.write(&mut targets, log, &[tool("tigerbeetle")], &Silent).unwrap();
    for target in targets {
        target.sync().unwrap();
        let checked = check_image(target.temporary(), None, op, &Silent).unwrap();
        println!("{} blocks in {}", checked.blocks, target.path().display());
        target.commit().unwrap();
    }
    let hops = written.hops.unwrap();
    println!("to op {op}: {hops:?}, {:.2} s a hop", hops.seconds / hops.count as f64);
    (written, hops)
}

#[test]
fn a_fork_rolls_over_several_checkpoints_to_an_exact_op() {
    let _turn = turn();
    let plan = Plan { clients: 6, transfers_per_request: 12, ..Plan::default() };
    let node = Cluster::new(1);
    let place = folder("forward");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let recorder = Recorder::start(node.data_file(0), node.id());
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    load.wait_for(100, TIMEOUT).unwrap();
    let acknowledged = load.acknowledged();
    let backup = program.backup(node.data_file(0));
    load.wait_for(4500, TIMEOUT).unwrap();
    load.stop().unwrap();
    let mut log = recorder.finish();
    let repository = open(&place.path().join("repository"));
    let checkpoint_op = number(&backup, "checkpoint_op");
    println!("checkpoint {checkpoint_op}, log to op {}", log.last_op());

    // Right behind what the log beside a checkpoint reaches, in its middle, and its last op.
    let last = checkpoint_op.max(959) + 960 * 3 + 48;
    for op in [checkpoint_op.max(959) + 49 + 960 * 2, last, log.last_op()] {
        let image = place.path().join(format!("{op}.tigerbeetle"));
        let (written, hops) = roll(&repository, &mut log, op, &[(image.clone(), Role::Same)]);
        assert_eq!(hops.count, plan_hops(checkpoint_op, op).len() as u64);
        let told = log.last_op() >= hops.checkpoint_op + 961;
        assert_eq!(hops.checkpoint_ids_verified, hops.count + u64::from(told), "the backup's own checkpoint and all but perhaps the last");
        assert_eq!(written.end.op(), op);
        tigerbeetle().inspect_integrity(&image).unwrap();
        let server = Cluster::open(node.id(), std::slice::from_ref(&image)).unwrap();
        let expected = Expected {
            plan,
            acknowledged: acknowledged.clone(),
            recovered_to_ns: written.end.timestamp(),
            ends_with_transfers: amber::ledger::header::operation_name(written.end.operation()) == "create_transfers",
            original: Some(node.addresses()),
            timeout: TIMEOUT,
        };
        let books = check_books(node.id(), &server.addresses(), &expected).unwrap();
        println!("op {op}: {} transfers", books.transfers);
        std::fs::remove_file(&image).unwrap();
    }
    let left = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("amber-partial")).count(), 0);
}
