//! Backup events in a TigerBeetle ledger: a trail, which nobody can alter, of what was backed up,
//! when, and with what result.
//!
//! Flow: a run's record waits in the outbox (`runs::outbox`) until repository and ledger
//! have it. For the ledger it becomes an [`event`], a transfer whose facts are [packed](packing)
//! into its user data. `client` delivers the event through a `session` of TigerBeetle's client
//! library, to accounts that are created on first use. [`trail`] compares all events of the ledger
//! with records, so that an alteration on either side shows.

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

/// The result of delivering an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// The ledger has it, from this try or an earlier one.
    Yes,
    /// The ledger refuses it for this reason, and will do so at every further try.
    Refused(String),
    /// It was not delivered now; trying again may help.
    NotNow(Error),
    /// The caller gave up waiting: the ledger may or may not have it.
    GaveUp,
}

/// Where events are delivered to: a ledger, or a double of one in tests.
pub trait EventLedger: Send {
    /// Delivers an event. Waits for the answer until `give_up` holds, which is checked several
    /// times a second.
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
