//! The stages joined as in a backup: reader, workers and uploads run side by side, through the real
//! object writer.
//!
//! Flow: a repository is created for the measurement (in the user's store, or in one that discards
//! everything). Windows are read and checked, and their pieces go to the writer, which begins
//! another object when one is as large as a pack. The cost is compared with the sum of the stages
//! alone.

use super::cost::Cost;
use super::data::{Data, Piece};
use super::discard::DiscardStore;
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::frame::ObjectKind;
use crate::repository::key::{self, Secret};
use crate::repository::object_writer::{Finishing, ObjectWriter};
use crate::repository::{Options, Repository};
use crate::store::Store;
use crate::tb_format::table::record_bytes_of;
use crate::tier::tigerbeetle::format::pack::PACK_BYTES_TARGET;
use crate::units::now_ns;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What the joined pipeline took.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// Cost, counted over the bytes read.
    pub cost: Cost,
    /// Bytes that were sent.
    pub stored_bytes: u64,
    /// Whether they went to the user's store.
    pub to_store: bool,
    /// Threads that compressed and sealed.
    pub workers: usize,
}

/// Runs the sample through the pipeline.
///
/// # Errors
/// Those of the file and the store.
pub fn run(mut data: Data, store: Option<Arc<dyn Store>>, options: Options, progress: &dyn Progress) -> Result<Joined> {
    let (to_store, workers) = (store.is_some(), options.workers);
    let store = store.unwrap_or_else(|| Arc::new(DiscardStore::default()));
    // A key file is used, because a passphrase would cost 64 MiB and time that is not the
    // pipeline's.
    let secret = Secret::KeyFile(Zeroizing::new(key::random::<32>()?.to_vec()));
    Repository::init(&store, &secret, now_ns())?;
    let repository = Repository::open(store, &secret, options)?;
    progress.begin("all stages joined", Some(data.total_bytes()));
    let mut cost = Cost::default();
    let (source_bytes, stored_bytes) = cost.of(0, || write(&mut data, &repository, progress))?;
    cost.bytes = source_bytes;
    progress.end();
    Ok(Joined { cost, stored_bytes, to_store, workers })
}

/// Writes the sample. Returns the source bytes read and the bytes stored.
fn write(data: &mut Data, repository: &Arc<Repository>, progress: &dyn Progress) -> Result<(u64, u64)> {
    let (mut finishing, mut source_bytes) = (Vec::<Finishing>::new(), 0);
    let mut writer: Option<ObjectWriter> = None;
    loop {
        let window = data.next_window(&mut Cost::default())?;
        if window.is_empty() {
            break;
        }
        let count = window.len();
        for (number, mut piece) in window.into_iter().enumerate() {
            source_bytes += piece.as_ref().len() as u64;
            data.check(number, count, &mut piece)?;
            if writer.as_ref().is_some_and(|writer| writer.stored_bytes() >= PACK_BYTES_TARGET) {
                finishing.extend(writer.take().map(|writer| writer.finish(Vec::new())).transpose()?);
            }
            let open = match &mut writer {
                Some(open) => open,
                none => none.insert(ObjectWriter::create(repository, ObjectKind::Pack, format!("objects/{:06}", finishing.len()))?),
            };
            push(open, piece)?;
        }
        progress.position(source_bytes);
    }
    finishing.extend(writer.map(|writer| writer.finish(Vec::new())).transpose()?);
    let mut stored_bytes = 0;
    for object in finishing {
        stored_bytes += object.wait()?.size_bytes;
    }
    Ok((source_bytes, stored_bytes))
}

fn push(writer: &mut ObjectWriter, piece: Piece) -> Result<()> {
    let record_bytes = record_bytes_of(piece.as_ref());
    writer.push_records(piece, record_bytes).map(|_| ())
}
