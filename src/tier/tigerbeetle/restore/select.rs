//! Which backup and which op a point in time means.
//!
//! A backup restores to every op from the one that its superblock says is committed to the last
//! prepare of its log. Beyond that it restores as far as the repository's log continues without a
//! gap (`history`). Manifests are read downwards from the newest that may fit, so a restore to a
//! recent moment reads few.
//!
//! A point that is not restorable is refused with the nearest points on both sides; it is never
//! rounded to one of them. A damaged backup does not keep others from being restored, but it is
//! reported.

use super::history::History;
use super::log;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::name::CheckpointName;
use crate::tb_format::layout::prepare_max_for_checkpoint;
use crate::tier::tigerbeetle::format::manifest::{Manifest, Summary};
use crate::tier::tigerbeetle::restore::point::Moment;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::point::Selected;
use crate::tier::tigerbeetle::restore::point::point_text;

/// Chooses backup and op in the history that ends with `timeline`, or with the newest one.
///
/// # Errors
/// [`Error::input`] when the point is not restorable, naming the nearest points that are;
/// [`Error::damaged`] when a damaged backup might hold it.
pub fn select(repository: &Repository, point: Point, timeline: Option<u32>) -> Result<Selected> {
    let mut history = History::of(repository, timeline)?;
    match point {
        Point::Newest => by_newest(&mut history),
        Point::Op(op) => by_moment(&history, Moment::Op(op)),
        Point::Time(timestamp_ns) => by_moment(&history, Moment::Time(timestamp_ns)),
    }
}

fn by_newest(history: &mut History<'_>) -> Result<Selected> {
    let newest = history.newest()?;
    if let Some((name, error)) = newest.damaged.first() {
        if newest.best.is_none() {
            let text = format!("the only backup, {}, is damaged ({error}): `amber verify` tells more", name.object());
            return Err(Error::damaged(text).caused_by(error.clone()));
        }
        // An older one instead loses what only the damaged one reached, and must not do so
        // silently.
        history.note(format!(
            "the newest backup may be {}, which is damaged ({error}): what only it holds is not restored; `amber verify` tells more",
            name.object()
        ));
    }
    let (name, summary) = newest.best.ok_or_else(|| no_backup(history.repository()))?;
    history.newest_behind(&name, &summary)
}

fn by_moment(history: &History<'_>, moment: Moment) -> Result<Selected> {
    let names = history.backups()?;
    if names.is_empty() {
        return Err(no_backup(history.repository()));
    }
    let (mut search, mut uncertain): (Search, Option<Selected>) = (Search::default(), None);
    for name in names.iter().rev() {
        let reach = prepare_max_for_checkpoint(name.checkpoint_op);
        let found_above = uncertain.as_ref().map(|found| found.op.saturating_sub(1));
        if search.below.map(|(op, _)| op).max(found_above).is_some_and(|op| reach <= op) {
            break;
        }
        let Some((summary, found)) = search.opened(name, look_into(history, name, moment))? else { continue };
        match found {
            // What was committed at the time of the capture is the same in every backup.
            Some(found) if found.op <= summary.commit_known_op => return Ok(search.done(found)),
            Some(found) => {
                uncertain.get_or_insert(found);
            }
            None => search.consider(name, &summary, moment),
        }
    }
    if let Some(found) = uncertain {
        let found = newest_of(history, moment, found)?;
        return Ok(search.done(history.as_the_log_has_it(found)?));
    }
    match history.behind_a_backup(&names, moment)? {
        Some(found) => Ok(search.done(found)),
        None => {
            search.below = search.below.max(history.last_before(&names, moment)?);
            Err(search.refusal(history.repository(), moment))
        }
    }
}

/// A backup's summary, and the selection if the backup holds the point.
fn look_into(history: &History<'_>, name: &CheckpointName, moment: Moment) -> Result<(Summary, Option<Selected>)> {
    let repository = history.repository();
    let summary = history.summary(name)?;
    if !moment.is_within(&summary) {
        return Ok((summary, None));
    }
    let manifest = Manifest::read(repository, name, None)?;
    let op = match moment {
        Moment::Op(op) => op,
        Moment::Time(timestamp_ns) => log::op_at(repository, &manifest, timestamp_ns)?,
    };
    let found = (summary.first_restorable_op..=summary.recovered_to_op).contains(&op) && !moment.is_before_all(op);
    let found =
        found.then(|| Selected { name: *name, manifest, op, log: None, timeline: history.timeline(), notes: history.notes().to_vec() });
    Ok((summary, found))
}

/// Only backups that did not see it committed hold the op, so a view change may have replaced it.
/// The newest backup decides, if it holds the op.
fn newest_of(history: &History<'_>, moment: Moment, found: Selected) -> Result<Selected> {
    let Some((newest, _)) = history.newest()?.best.filter(|(newest, _)| *newest != found.name) else { return Ok(found) };
    Ok(look_into(history, &newest, moment)?.1.unwrap_or(found))
}

/// What a search has seen on the way to what it looks for.
#[derive(Debug, Default)]
struct Search {
    /// The highest restorable point below: op and timestamp.
    below: Option<(u64, u64)>,
    /// The lowest restorable op above, and the backup that begins with it.
    above: Option<(u64, CheckpointName)>,
    damaged: Vec<String>,
}

impl Search {
    /// The result, if it could be read. Damage is noted for later.
    fn opened<T>(&mut self, name: &CheckpointName, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(opened) => Ok(Some(opened)),
            Err(error) if error.kind == Kind::Damaged => {
                self.damaged.push(format!("{} is damaged and was skipped ({error})", name.object()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn consider(&mut self, name: &CheckpointName, summary: &Summary, moment: Moment) {
        if moment.is_behind(summary) {
            self.below = self.below.max(Some((summary.recovered_to_op, summary.recovered_to_timestamp_ns)));
        } else if self.above.is_none_or(|(best, _)| summary.first_restorable_op < best) {
            self.above = Some((summary.first_restorable_op, *name));
        }
    }

    fn done(self, found: Selected) -> Selected {
        Selected { notes: [found.notes, self.damaged].concat(), ..found }
    }

    fn refusal(&self, repository: &Repository, moment: Moment) -> Error {
        let below = self.below.map(|(op, timestamp_ns)| format!("{} before it", point_text(op, timestamp_ns)));
        let above = self.above.map(|(op, name)| {
            let manifest = Manifest::read(repository, &name, None);
            let timestamp_ns = manifest.and_then(|manifest| log::timestamp_of(repository, &manifest, op)).unwrap_or(0);
            format!("{} after it", point_text(op, timestamp_ns))
        });
        let nearest: Vec<String> = below.into_iter().chain(above).collect();
        let nearest = if nearest.is_empty() { "none".into() } else { nearest.join(" and ") };
        let refusal = format!("{} is not restorable from this repository; the nearest restorable points are {nearest}", moment.text());
        if self.damaged.is_empty() { Error::input(refusal) } else { Error::damaged(format!("{refusal}; {}", self.damaged.join("; "))) }
    }
}

/// The newest backup that opens.
///
/// # Errors
/// [`Error::input`] when there is none, [`Error::damaged`] when every backup that might be it is
/// damaged.
pub fn newest(repository: &Repository) -> Result<(CheckpointName, Summary)> {
    let mut newest = repository.newest_checkpoint()?;
    newest.best.ok_or_else(|| newest.damaged.pop().map_or_else(|| no_backup(repository), |(_, error)| error))
}

fn no_backup(repository: &Repository) -> Error {
    Error::input(format!("{}: there is no backup in this repository yet: `amber backup tigerbeetle` makes one", repository.describe()))
}
