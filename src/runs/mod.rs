//! What ran: the record of every run, and how it reaches the repository, the catalog and the
//! ledger.

pub mod delivery;
pub mod outbox;
pub mod reconcile;
pub mod recorder;
pub mod recording;
