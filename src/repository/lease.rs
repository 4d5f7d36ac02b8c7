//! Who ships the log of a timeline, when every replica has an agent.
//!
//! Nobody's clock is trusted, and nothing is overwritten. A lease has a fencing number that only
//! grows. An agent takes the lease by creating the object of the next number, which one agent alone
//! can do. The holder shows that it lives by creating one beat after the other and deleting the one
//! before. An agent that has seen no new beat for a while, by its own monotonic clock, takes the
//! next number. A holder that finds a higher number than its own has lost the lease.
//!
//! The lease saves work and requests; it is not what keeps the log right. Two agents that ship at
//! once write the same prepares under different names. So nothing is corrupted where the store does
//! not honour create-only puts and two agents may believe that they hold the same number.

use super::frame::ObjectKind;
use super::name::{LeaseName, lease_prefix};
use super::remove::Reason;
use super::{Repository, record};
use crate::error::{Kind, Result};
use crate::store::PutOutcome;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a beat says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Beat {
    /// The holder's name, for people.
    holder: String,
    /// What the agent recognises itself by.
    token: String,
    /// The holder has released the lease.
    released: bool,
}

/// The newest beat that is visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The fencing number.
    pub fence: u64,
    /// The beat.
    pub beat: u64,
    /// Who holds it, for people.
    pub holder: String,
    /// Who holds it, for the holder to recognise itself.
    pub token: String,
    /// It was released: anybody may take the next number at once.
    pub released: bool,
}

/// A lease that is held.
#[derive(Debug)]
pub struct Lease {
    repository: Arc<Repository>,
    timeline: u32,
    fence: u64,
    beat: u64,
    holder: String,
    token: String,
}

impl Repository {
    fn beats(&self, timeline: u32) -> Result<Vec<LeaseName>> {
        Ok(self.list_all(&lease_prefix(timeline))?.iter().filter_map(|listed| LeaseName::parse(&listed.name)).collect())
    }

    /// The newest beat of a timeline's lease; `None` if nobody ever took it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn lease(&self, timeline: u32) -> Result<Option<Seen>> {
        let Some(name) = self.beats(timeline)?.into_iter().max() else { return Ok(None) };
        let beat = match record::read(self, ObjectKind::Lease, &name.object()) {
            Ok(beat) => beat,
            // The next beat has replaced it since the listing, or it is damaged. Whether its holder
            // is alive or not, the number counts.
            Err(error) if error.kind == Kind::Damaged => Beat { holder: "unknown".into(), token: String::new(), released: false },
            Err(error) => return Err(error),
        };
        Ok(Some(Seen { fence: name.fence, beat: name.beat, holder: beat.holder, token: beat.token, released: beat.released }))
    }

    /// Takes the lease with the number that follows `after` (0 for the first). `None` when another
    /// agent was quicker. The agent recognises itself by the token.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub fn take_lease(self: &Arc<Self>, timeline: u32, after: u64, holder: &str, token: &str) -> Result<Option<Lease>> {
        let lease = Lease {
            repository: Arc::clone(self),
            timeline,
            fence: after.saturating_add(1),
            beat: 0,
            holder: holder.to_owned(),
            token: token.to_owned(),
        };
        if lease.write(0, false)? == PutOutcome::AlreadyExists {
            return Ok(None);
        }
        // Where the store knows no create-only put, the last writer has the lease: the one that
        // reads its own record back.
        let read: Result<Beat> = record::read(self, ObjectKind::Lease, &lease.name(0).object());
        if !read.is_ok_and(|beat| beat.token == lease.token) {
            return Ok(None);
        }
        for older in self.beats(timeline)?.into_iter().filter(|older| older.fence < lease.fence) {
            // If this fails, the leftover harms nobody.
            let _ = self.remove(&older.object(), Reason::PassedBy(&lease.name(0)));
        }
        Ok(Some(lease))
    }
}

impl Lease {
    /// The fencing number.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    fn name(&self, beat: u64) -> LeaseName {
        LeaseName { timeline: self.timeline, fence: self.fence, beat }
    }

    fn write(&self, beat: u64, released: bool) -> Result<PutOutcome> {
        let record = Beat { holder: self.holder.clone(), token: self.token.clone(), released };
        record::write(&self.repository, ObjectKind::Lease, self.name(beat).object(), &record)
    }

    /// Shows that the holder lives. `false` when another agent has taken a higher number: the lease
    /// is lost.
    ///
    /// # Errors
    /// When the store cannot be asked; the lease may still be ours then.
    pub fn beat(&mut self) -> Result<bool> {
        if self.repository.beats(self.timeline)?.iter().any(|other| other.fence > self.fence) {
            return Ok(false);
        }
        self.step(false)?;
        Ok(true)
    }

    fn step(&mut self, released: bool) -> Result<()> {
        let next = self.beat.saturating_add(1);
        // An earlier attempt whose answer was lost may have created it already.
        self.write(next, released)?;
        let before = self.name(self.beat).object();
        self.beat = next;
        let _ = self.repository.remove(&before, Reason::PassedBy(&self.name(next)));
        Ok(())
    }

    /// Releases the lease, so that others need not wait.
    ///
    /// # Errors
    /// When the store cannot be asked; the others then wait as if this agent had died.
    pub fn release(mut self) -> Result<()> {
        self.step(true)
    }
}

#[cfg(test)]
mod tests;
