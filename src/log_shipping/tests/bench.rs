//! What the tests of the agent's parts share: a repository, a board, a shipper that ships while the
//! board leads, and a data file that grows.

use crate::catalog::writer::Catalog;
use crate::config::AgentConfig;
use crate::disk::file::ReadOptions;
use crate::error::Result;
use crate::jobs::registry::{Registration, registrations};
use crate::jobs::{Jobs, Parts};
use crate::log_shipping::collector::Collector;
use crate::log_shipping::ship_options::Event;
use crate::log_shipping::ship_options::Hooks;
use crate::log_shipping::ship_options::ShipOptions;
use crate::log_shipping::shipper::Shipper;
use crate::log_shipping::tests::store_double::WeatherStore;
use crate::monitor::status_board::StatusBoard;
use crate::repository::Repository;
use crate::repository::name::{RunId, SEGMENTS, SegmentName};
use crate::repository::run_record::{RunRecord, RunSink};
use crate::runs::outbox::Lane;
use crate::runs::recorder::Recorder;
use crate::tb_format::layout::{prepare_offset, slot_of, wal_header_offset};
use crate::tb_format::sample::{SampleFile, headers_of};
use crate::tier::tigerbeetle::format::segment::SealedSegment;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub const HOUR: Duration = Duration::from_secs(3600);

pub struct Bench {
    pub store: WeatherStore,
    pub repository: Arc<Repository>,
    pub board: Arc<StatusBoard>,
    pub shipper: Arc<Shipper>,
    pub recorder: Arc<Recorder>,
    pub state: TempDir,
}

impl Bench {
    /// Creates a bench with room for this many sealed bytes.
    pub fn new(memory_bytes: u64) -> Bench {
        let (store, repository) = WeatherStore::with_repository();
        let board = Arc::new(StatusBoard::default());
        let shipper = shipper(&repository, &board, memory_bytes);
        let state = tempfile::tempdir().unwrap();
        let recorder = Arc::new(Recorder::new(&repository, &board, state.path(), "agent", Vec::new(), false).unwrap());
        Bench { store, repository, board, shipper, recorder, state }
    }

    pub fn collector(&self, flush_bytes: u64, flush_interval: Duration) -> Collector {
        Collector::new(&self.repository, &self.shipper, &self.board, 1, RunId(9), flush_bytes, flush_interval)
    }

    /// The records that wait in the outbox for the repository, in order.
    pub fn records(&self) -> Vec<RunRecord> {
        let outbox = &self.recorder.outbox;
        let names = outbox.waiting(Lane::Repository).unwrap();
        names.iter().map(|name| outbox.read(Lane::Repository, name).unwrap().record).collect()
    }

    /// First and last op of each segment in the store.
    pub fn stored(&self) -> Vec<(u64, u64)> {
        segments_in(&self.repository)
    }
}

pub fn segments_in(repository: &Repository) -> Vec<(u64, u64)> {
    let listed = repository.list_all(SEGMENTS).unwrap();
    let names = listed.iter().filter_map(|listed| SegmentName::parse(&listed.name));
    names.map(|name| (name.first_op, name.last_op)).collect()
}

/// Stores segments, as another agent would.
pub fn put(repository: &Repository, segments: &[SealedSegment]) {
    for segment in segments {
        segment.object.put(&**repository.store()).unwrap();
    }
}

/// A configuration with its state directory in a folder, and with `more` after the repository.
pub fn plan(folder: &Path, more: &str) -> AgentConfig {
    std::fs::create_dir_all(folder.join("state")).unwrap();
    let text = format!("data_file = 'd'\nstate_directory = 'state'\n[repository]\nurl = 'r'\n{more}");
    AgentConfig { read: ReadOptions::quick(), ..AgentConfig::parse(&folder.join("amber.toml"), &text).unwrap() }
}

/// The jobs that every agent has, with their state in a folder.
pub fn jobs(repository: &Arc<Repository>, board: &Arc<StatusBoard>, folder: &Path) -> Arc<Jobs> {
    let plan = plan(folder, "");
    let all = registrations(&plan);
    jobs_of(repository, board, &plan, all)
}

/// Records that go straight to the repository.
pub struct RepositoryRecords(pub Arc<Repository>);

impl RunSink for RepositoryRecords {
    fn put(&self, run: RunId, record: &RunRecord) -> Result<()> {
        self.0.record_run(run, record).map(|_| ())
    }
}

/// Jobs that a test defines.
pub fn jobs_of(repository: &Arc<Repository>, board: &Arc<StatusBoard>, plan: &AgentConfig, registrations: Vec<Registration>) -> Arc<Jobs> {
    let sink = Arc::new(RepositoryRecords(Arc::clone(repository)));
    let catalog = Arc::new(Catalog::new(repository, &plan.state_directory.join("catalog")));
    let parts = Parts { repository: Arc::clone(repository), catalog, board: Arc::clone(board), sink, by: "a".into(), registrations };
    Jobs::open(plan, parts).unwrap()
}

/// A shipper without a spool, set up as a session does it.
pub fn shipper(repository: &Arc<Repository>, board: &Arc<StatusBoard>, memory_bytes: u64) -> Arc<Shipper> {
    let (reported, leading) = (Arc::clone(board), Arc::clone(board));
    let observe = move |event: Event| {
        if let Event::Durable(durable) = event {
            reported.durable(durable.last.op, durable.last.timestamp_ns);
        }
    };
    let hooks = Hooks { may_ship: Box::new(move || leading.is_leading()), observe: Box::new(observe) };
    let retry = Duration::from_millis(5);
    let options = ShipOptions { memory_bytes, spool_after: HOUR, uploads: 2, retry_first: retry, retry_max: retry };
    Arc::new(Shipper::start(Arc::clone(repository), None, options, hooks).unwrap())
}

/// A data file that a test rewrites in place.
pub struct DataFile {
    pub folder: TempDir,
}

impl DataFile {
    pub fn new(sample: &SampleFile) -> DataFile {
        let data_file = DataFile { folder: tempfile::tempdir_in(crate::tier::sample::folder()).unwrap() };
        crate::tier::sample::write_data_file(sample, &data_file.path()).unwrap();
        data_file
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("d")
    }

    /// Adds prepares to the log, as the replica does.
    pub fn append(&self, prepares: &[Vec<u8>]) {
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        for (prepare, header) in prepares.iter().zip(headers_of(prepares)) {
            file.write_all_at(prepare, prepare_offset(slot_of(header.op()))).unwrap();
            file.write_all_at(header.bytes(), wal_header_offset(slot_of(header.op()))).unwrap();
        }
    }

    pub fn lay_out(&self, sample: &SampleFile) {
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        sample.pieces().iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
    }
}
