//! The two sources of the log next to one real server: they hand on the same prepares, op by op.

use crate::support::cluster::{CLUSTER, Cluster};
use crate::support::{folder, tigerbeetle, turn};
use amber::demo::{Load, LoadOptions, LoadPlan, ServerOptions};
use amber::disk::file::ReadOptions;
use amber::replica::aof::AofTail;
use amber::replica::log::{LogSource, Polled};
use amber::replica::pace::Pace;
use amber::replica::tail::Tail;
use amber::tb_format::header::{PrepareHeader, root_prepare};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(120);
/// If nothing new comes for this long after the load has ended, the log is at its end.
const REST: Duration = Duration::from_millis(500);

/// Follows a source until it is idle after `load_ended`. Returns all that it handed on, and the
/// last op known to be committed.
fn follow(mut source: impl LogSource + 'static, load_ended: &Arc<AtomicBool>) -> JoinHandle<(Vec<Vec<u8>>, u64)> {
    let load_ended = Arc::clone(load_ended);
    std::thread::spawn(move || {
        let (mut prepares, mut pace, mut last) = (Vec::new(), Pace::default(), Instant::now());
        loop {
            let polled = source.poll(&mut |prepare| {
                prepares.push(prepare.bytes().to_vec());
                Ok(())
            });
            match polled.unwrap() {
                Polled::Prepares(_) => last = Instant::now(),
                Polled::Idle if load_ended.load(Ordering::SeqCst) && last.elapsed() > REST => return (prepares, source.commit_known_op()),
                Polled::Idle => {}
                lost @ Polled::Lost { .. } => panic!("{lost:?}"),
            }
            assert_eq!(source.replaced().unwrap(), None);
            std::thread::sleep(pace.after(last.elapsed() < Duration::from_millis(1)));
        }
    })
}

/// Eight clients, each with this many requests.
fn load(cluster: &Cluster, number: u32, requests: u64) {
    let plan = LoadPlan { number, ledger: number, accounts: 10, clients: 8, transfers_per_request: 3 };
    let options = LoadOptions { plan, requests_max: Some(requests), ..LoadOptions::default() };
    Load::start(cluster.id(), &cluster.addresses(), &options).unwrap().finish(TIMEOUT).unwrap();
}

#[test]
fn the_ring_and_the_append_only_file_are_one_log() {
    let _turn = turn();
    let place = folder("aof");
    let (data_file, aof) = (place.path().join("0.tigerbeetle"), place.path().join("0.aof"));
    tigerbeetle().format(&data_file, CLUSTER, 0, 1).unwrap();
    let extra = vec!["--experimental".into(), format!("--aof-file={}", aof.display())];
    let options = ServerOptions { extra, ..ServerOptions::new(&tigerbeetle(), &data_file) };
    let mut cluster = Cluster::open_with(CLUSTER, vec![options]).unwrap();
    let root = PrepareHeader::check(&root_prepare(CLUSTER)).unwrap();
    let load_ended = Arc::new(AtomicBool::new(false));
    let ring = follow(Tail::open(&data_file, ReadOptions::default(), 0, root.checksum()).unwrap(), &load_ended);
    let file = follow(AofTail::open(&aof, 0, root.checksum()).unwrap(), &load_ended);
    load(&cluster, 1, 40);
    // A crash: the server executes everything again, and logs it again.
    cluster.kill_all();
    let before_bytes = aof.metadata().unwrap().len();
    cluster.start_all().unwrap();
    let after_bytes = aof.metadata().unwrap().len();
    assert!(after_bytes > before_bytes * 3 / 2, "the server is to repeat its log: {before_bytes} bytes, then {after_bytes}");
    // A rotation: the file is moved away, and created anew at the next checkpoint.
    std::fs::rename(&aof, place.path().join("old.aof")).unwrap();
    load(&cluster, 2, 150);
    assert!(aof.metadata().unwrap().len() > 0);
    load_ended.store(true, Ordering::SeqCst);
    let (from_ring, ring_commit_op) = ring.join().unwrap();
    let (from_file, file_commit_op) = file.join().unwrap();
    println!("{} prepares from the ring, {} from the file", from_ring.len(), from_file.len());
    assert!(from_ring.len() > 1500 && from_ring.len() == from_file.len());
    for (op, (ring, file)) in (1..).zip(from_ring.iter().zip(&from_file)) {
        assert!(ring == file, "op {op}");
    }
    assert_eq!(file_commit_op, from_file.len() as u64);
    assert!(ring_commit_op < file_commit_op && ring_commit_op + 8 >= file_commit_op, "{ring_commit_op} of {file_commit_op}");
}
