//! The runs that the repository knows: from records, and from backups whose run has no record of
//! its end.
//!
//! Flow: the names of records and backups are listed. For every run that the caller does not know
//! fully yet, the best evidence is read, a few runs at once. If that is damaged, a note reports it
//! and the next best evidence is used.

use super::row::{Evidence, KnownRun};
use crate::error::{Error, Kind, Result};
use crate::limits::governor::Priority;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{self, BackupName, RunId, RunName};
use crate::repository::run_record::RunRecord;
use crate::threads::lock;
use crate::tier::{backups_by_run, facts_of};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many runs are read at once: each takes a few requests, one after the other.
const THREADS: usize = 8;
/// About the most that is fetched to open a manifest or a record.
const FETCH_BYTES: u64 = 128 * 1024;

/// The runs that were found.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The runs about which the repository says more than the caller knew.
    pub runs: Vec<KnownRun>,
    /// Damage that was found, in sentences.
    pub notes: Vec<String>,
}

/// What the repository has of a run.
#[derive(Debug, Default)]
struct Traces {
    started: Option<RunName>,
    ended: Option<RunName>,
    backup: Option<BackupName>,
    listed_bytes: u64,
}

impl Traces {
    fn best(&self) -> Evidence {
        match (&self.ended, &self.backup) {
            (Some(_), _) => Evidence::Ended,
            (None, Some(_)) => Evidence::Backup,
            (None, None) => Evidence::Started,
        }
    }

    /// Reads the best evidence that is intact.
    fn read(&self, repository: &Repository, run: RunId, notes: &mut Vec<String>) -> Result<Option<KnownRun>> {
        let record = |name: &Option<RunName>, notes: &mut Vec<String>| -> Result<Option<RunRecord>> {
            name.as_ref().map_or(Ok(None), |name| unless_damaged(repository.run_record(name), notes))
        };
        if let Some(record) = record(&self.ended, notes)? {
            return Ok(Some(KnownRun { run, record, evidence: Evidence::Ended }));
        }
        let begun = record(&self.started, notes)?;
        let backup = self.backup.as_ref().map_or(Ok(None), |stored| unless_damaged(facts_of(repository, stored), notes))?;
        Ok(match (begun, backup) {
            (begun, Some(facts)) => {
                let record = RunRecord { run: begun.map_or(facts.run, |begun| begun.run), outcome: Some(facts.outcome) };
                Some(KnownRun { run, record, evidence: Evidence::Backup })
            }
            (Some(record), None) => Some(KnownRun { run, record, evidence: Evidence::Started }),
            (None, None) => None,
        })
    }
}

fn unless_damaged<T>(result: Result<T>, notes: &mut Vec<String>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == Kind::Damaged => {
            notes.push(error.message);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// All runs about which the repository says more than `known` does.
///
/// # Errors
/// When the store cannot be read. Damage is a note here, not an error.
pub fn gather(repository: &Repository, known: impl Fn(RunId) -> Option<Evidence>, progress: &dyn Progress) -> Result<Gathered> {
    let mut traces: BTreeMap<RunId, Traces> = BTreeMap::new();
    for listed in repository.list_all(name::RUNS)? {
        let Some(name) = RunName::parse(&listed.name) else { continue };
        let traces = traces.entry(name.run).or_default();
        traces.listed_bytes += listed.size_bytes;
        *(if name.has_ended { &mut traces.ended } else { &mut traces.started }) = Some(name);
    }
    // Backups are listed after the records. A run that ends in between then has a backup, and the
    // record of its end is found next time.
    for (run, stored) in backups_by_run(repository)? {
        traces.entry(run).or_default().backup = Some(stored);
    }
    traces.retain(|run, traces| known(*run).is_none_or(|known| known < traces.best()));
    let work: Vec<(RunId, Traces)> = traces.into_iter().collect();
    progress.begin("records of runs", Some(work.iter().map(|(_, traces)| traces.listed_bytes).sum()));
    let gathered = read_all(repository, &work, progress);
    progress.end();
    gathered
}

fn read_all(repository: &Repository, work: &[(RunId, Traces)], progress: &dyn Progress) -> Result<Gathered> {
    let (next, position) = (AtomicUsize::new(0), AtomicU64::new(0));
    let all: Mutex<Result<Gathered>> = Mutex::new(Ok(Gathered::default()));
    repository.host().workers.share(THREADS.min(work.len()), || {
        repository.governor().meter();
        while let Some((run, traces)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            repository.admit_fetch(Priority::Bulk, traces.listed_bytes.clamp(1, FETCH_BYTES));
            let mut notes = Vec::new();
            let read = if progress.is_cancelled() {
                Err(Error::try_again("reading the runs was cancelled before its end"))
            } else {
                traces.read(repository, *run, &mut notes)
            };
            progress.position(position.fetch_add(traces.listed_bytes, Ordering::Relaxed) + traces.listed_bytes);
            let mut all = lock(&all);
            match (&mut *all, read) {
                (Ok(all), Ok(read)) => {
                    all.runs.extend(read);
                    all.notes.append(&mut notes);
                }
                (Ok(_), Err(error)) => *all = Err(error),
                (Err(_), _) => return,
            }
        }
    });
    let mut gathered = all.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    gathered.runs.sort_by_key(|known| known.run);
    gathered.notes.sort();
    Ok(gathered)
}
