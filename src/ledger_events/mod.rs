//! Backup events in a TigerBeetle ledger: a trail that nobody can alter of what was backed up,
//! when, and how it went.
//!
//! Flow: a run's record waits in the [`outbox`] until repository and ledger have it. For the ledger
//! it becomes an [`event`], a transfer whose facts are [packed](packing) into its user data, and
//! [`ledger`] delivers that: through a [`session`] of TigerBeetle's client library, to accounts
//! that are made on first use. [`trail`] reads all events back and holds them against records, so
//! that an alteration on either side shows.

#[cfg(feature = "client")]
pub mod client;
pub mod event;
#[cfg(feature = "client")]
pub mod objects;
pub mod packing;
#[cfg(feature = "client")]
pub mod refusal;
#[cfg(feature = "client")]
pub mod session;
#[cfg(feature = "client")]
mod tb_client;
pub mod trail;

use crate::error::{Error, Result};
use event::Event;
use std::collections::HashSet;

/// What became of an event that was to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// The ledger has it, now or since an earlier try.
    Yes,
    /// The ledger will not take it, for this reason, however often it is tried.
    Refused(String),
    /// Not now; trying again may help.
    NotNow(Error),
    /// The caller gave up waiting: it may or may not be there.
    GaveUp,
}

/// Who takes events: a ledger, or what stands for one in tests.
pub trait Teller: Send {
    /// Delivers an event. Waits for as long as nobody answers and `give_up` does not hold, and
    /// looks at that several times a second.
    fn deliver(&mut self, event: &Event, give_up: &dyn Fn() -> bool) -> Delivered;

    /// The ids of all events that the ledger has.
    ///
    /// # Errors
    /// [`Error::try_again`] when it does not answer in time.
    fn known(&mut self) -> Result<HashSet<u128>>;

    /// Where the ledger is, for messages.
    fn describe(&self) -> String;
}

#[cfg(test)]
pub(crate) mod tests;
