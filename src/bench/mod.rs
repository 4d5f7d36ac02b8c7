//! What the pipeline costs on this machine, with the user's own bytes and store: each stage alone,
//! the joined stages, and which settings follow from that.
//!
//! ```text
//! data: a data file's live blocks | any file | generated transfers
//!   -> stages: read, verify, compress (levels), seal, digest | open, expand, write
//!              (one thread, CPU time of each)
//!   -> sends:  parts of several sizes, several at once, and fetches, on the user's store
//!   -> joined: the real object writer, into nothing or into the store
//!   -> advice: level, workers, part size, how many at once, CPU at the user's rate
//! ```
//!
//! CPU time is the process's own, so other processes matter little. Rates in seconds are only as
//! accurate as the machine is quiet. Memory is one window of blocks and one part, whatever the size
//! of the sample.

pub mod advice;
pub mod cost;
pub mod data;
mod discard;
pub mod joined;
pub mod sends;
pub mod stages;

use crate::disk::file::ReadOptions;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Options;
use crate::store::Store;
use advice::{Advice, Wish};
use data::Data;
use joined::Joined;
use sends::Send;
use stages::Stages;
use std::path::PathBuf;
use std::sync::Arc;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct BenchRequest {
    /// The file to read; generated transfers if `None`.
    pub data: Option<PathBuf>,
    /// How to read it.
    pub read: ReadOptions,
    /// How many bytes of it are used at most.
    pub sample_bytes: u64,
    /// zstd levels to try; the first is the one that the other stages and the joined pipeline use.
    pub levels: Vec<i32>,
    /// Threads that compress and seal in the joined pipeline.
    pub workers: usize,
    /// A folder for a file that the write stage creates and removes; without it that stage is left
    /// out.
    pub scratch: Option<PathBuf>,
    /// A prefix in the user's store under a name that nobody else uses; everything below it is
    /// deleted again.
    pub store: Option<Arc<dyn Store>>,
    /// Each stage alone, and sending with Amber's own part size only.
    pub stages_only: bool,
    /// What the advice is for.
    pub wish: Wish,
}

/// What was seen.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Where the bytes came from.
    pub kind: data::Kind,
    /// Each stage.
    pub stages: Stages,
    /// Sending parts: one row for each part size and number in flight; empty without a store.
    pub sends: Vec<Send>,
    /// Fetching ranges as a restore does; none without a store.
    pub fetch: Option<Send>,
    /// The joined pipeline; `None` if only the stages were asked for.
    pub joined: Option<Joined>,
    /// What to set.
    pub advice: Advice,
    /// What did not run as fast as it could, and what could not be cleaned up.
    pub notes: Vec<String>,
}

/// Measures.
///
/// # Errors
/// [`Error::input`] for a file that cannot be read or holds nothing, [`Error::try_again`] where the
/// store fails, or a running server changed the sample.
pub fn run(request: &BenchRequest, progress: &dyn Progress) -> Result<Findings> {
    let mut notes = Vec::new();
    let measured = measure(request, &mut notes, progress);
    // Nothing stays in the user's store, even after a failure.
    if let Some(store) = &request.store {
        notes.extend(sends::tidy(&**store));
    }
    let mut findings = measured?;
    findings.notes = notes;
    Ok(findings)
}

fn measure(request: &BenchRequest, notes: &mut Vec<String>, progress: &dyn Progress) -> Result<Findings> {
    let open = || Data::open(request.data.as_deref(), request.sample_bytes, request.read);
    let level = *request.levels.first().ok_or_else(|| Error::bug("no level to measure"))?;
    let mut data = open()?;
    notes.extend(data.notes());
    let kind = data.kind();
    let stages = stages::run(&mut data, &request.levels, request.scratch.as_deref(), progress)?;
    drop(data);
    let (mut all_sends, mut fetch) = (Vec::new(), None);
    if let Some(store) = &request.store {
        let shapes = if request.stages_only { sends::own_shape() } else { sends::all_shapes() };
        (all_sends, fetch) = sends::run(&**store, &shapes, progress)?;
    }
    let joined = if request.stages_only {
        None
    } else {
        let options = Options { level, workers: request.workers, ..Options::default() };
        Some(joined::run(open()?, request.store.clone(), options, progress)?)
    };
    let advice = Advice::of(&stages, &all_sends, &request.wish);
    Ok(Findings { kind, stages, sends: all_sends, fetch, joined, advice, notes: Vec::new() })
}

#[cfg(test)]
mod tests;
