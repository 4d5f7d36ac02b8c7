//! Sending parts to the user's store and fetching them back, as uploads and restores do, and
//! nothing else: which part size and how many parts in flight are fast, and what HTTP costs.
//!
//! Flow: each shape sends one object under a name that nobody else uses. The parts of an object are
//! the same bytes, digested beforehand, so that only the sending is measured. Afterwards [`tidy`]
//! deletes everything below the prefix.

use super::cost::Cost;
use crate::error::{Error, Result};
use crate::pipeline::digest::digest_of;
use crate::progress::Progress;
use crate::repository::object_writer::PART_BYTES;
use crate::store::{Multipart, Part, Store};
use crate::units::MIB;
use bytes::Bytes;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A shape sends at least this many bytes.
const SENT_BYTES_MIN: u64 = 64 * MIB;
/// And at least this many parts for each one in flight.
const ROUNDS_MIN: u32 = 2;
/// How many parts Amber's own writer has in flight.
const OWN_IN_FLIGHT: u32 = 4;
/// Objects listed at once while cleaning up.
const LIST_PAGE: usize = 1000;

/// A part size and how many parts are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Size of a part, in bytes.
    pub part_bytes: u64,
    /// Parts in flight.
    pub in_flight: u32,
}

/// What sending or fetching took in one shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Send {
    /// The shape.
    pub shape: Shape,
    /// What it took, from the first request to the last answer.
    pub cost: Cost,
}

/// Amber's own shape.
pub fn own_shape() -> Vec<Shape> {
    vec![Shape { part_bytes: PART_BYTES as u64, in_flight: OWN_IN_FLIGHT }]
}

/// All shapes that are tried.
pub fn all_shapes() -> Vec<Shape> {
    [8, 16, 32].iter().flat_map(|mib| [1, 2, 4, 8].map(|in_flight| Shape { part_bytes: mib * MIB, in_flight })).collect()
}

impl Shape {
    fn parts(self) -> u32 {
        let least = u32::try_from(SENT_BYTES_MIN.div_ceil(self.part_bytes)).unwrap_or(u32::MAX);
        least.max(self.in_flight * ROUNDS_MIN)
    }
}

/// Sends an object in every shape, and fetches the first one back.
///
/// # Errors
/// Those of the store.
pub fn run(store: &dyn Store, shapes: &[Shape], progress: &dyn Progress) -> Result<(Vec<Send>, Option<Send>)> {
    let largest = shapes.iter().map(|shape| shape.part_bytes).max().unwrap_or(0);
    let body = noise(largest as usize);
    progress.begin("send parts", Some(shapes.iter().map(|shape| shape.part_bytes * u64::from(shape.parts())).sum()));
    let (mut sent, mut fetched, mut done) = (Vec::with_capacity(shapes.len()), None, 0);
    for (number, shape) in shapes.iter().enumerate() {
        let name = format!("bench-{number}");
        let send = send(store, &name, *shape, &body.slice(..shape.part_bytes as usize))?;
        if fetched.is_none() {
            fetched = Some(fetch(store, &name, *shape)?);
        }
        store.delete(&name)?;
        done += send.cost.bytes;
        progress.position(done);
        sent.push(send);
    }
    progress.end();
    Ok((sent, fetched))
}

fn send(store: &dyn Store, name: &str, shape: Shape, body: &Bytes) -> Result<Send> {
    let part = Part { size_bytes: shape.part_bytes, digest: digest_of(body) };
    let parts = vec![part.clone(); shape.parts() as usize];
    let mut cost = Cost::default();
    cost.of(shape.part_bytes * u64::from(shape.parts()), || {
        let multipart: Box<dyn Multipart> = store.begin_multipart(name)?;
        let pieces = [body.clone()];
        side_by_side(shape, |number| multipart.part(number + 1, &pieces, &part.digest).map(drop).map_err(Error::from))?;
        multipart.complete(&parts).map(drop).map_err(Error::from)
    })?;
    Ok(Send { shape, cost })
}

fn fetch(store: &dyn Store, name: &str, shape: Shape) -> Result<Send> {
    let mut cost = Cost::default();
    cost.of(shape.part_bytes * u64::from(shape.parts()), || {
        side_by_side(shape, |number| {
            let range = store.get_range(name, u64::from(number) * shape.part_bytes, shape.part_bytes);
            range.map(|bytes| drop(std::hint::black_box(bytes))).map_err(Error::from)
        })
    })?;
    Ok(Send { shape, cost })
}

/// Runs all parts of a shape on as many threads as parts are to be in flight. The first error ends
/// it.
fn side_by_side(shape: Shape, work: impl Fn(u32) -> Result<()> + Sync) -> Result<()> {
    let (next, failed) = (AtomicU32::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..shape.in_flight {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= shape.parts() {
                        return;
                    }
                    if let Err(error) = work(number) {
                        next.store(shape.parts(), Ordering::Relaxed);
                        if let Ok(mut failed) = failed.lock() {
                            failed.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(Error::bug("a sending thread panicked")),
    }
}

/// Bytes that look sealed: nothing on the way can compress them.
fn noise(length: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    Bytes::from(bytes)
}

/// Deletes everything below the prefix. Returns what could not be deleted, in sentences for the
/// user.
pub fn tidy(store: &dyn Store) -> Vec<String> {
    let mut notes = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = match store.list("", after.as_deref(), LIST_PAGE) {
            Ok(page) => page,
            Err(error) => {
                notes.push(format!("{}: what the measurement left could not be listed: {error}", store.describe()));
                return notes;
            }
        };
        for listed in &page {
            if let Err(error) = store.delete(&listed.name) {
                notes.push(format!("{}: {} is left and may be deleted: {error}", store.describe(), listed.name));
            }
        }
        if page.len() < LIST_PAGE {
            return notes;
        }
        after = page.last().map(|last| last.name.clone());
    }
}
