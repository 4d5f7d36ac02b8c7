//! What ran: the record of every run, and its way to the repository, to the catalog and to the
//! ledger.

pub mod delivery;
pub mod outbox;
pub mod reconcile;
pub mod recorder;
