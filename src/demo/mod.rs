//! A real TigerBeetle to back up: servers that are started and killed, a load that writes without
//! pause, and a check of a restored ledger's books against what that load wrote.
//!
//! The load is predictable: a [`LoadPlan`] alone determines which transfer a client sends at which
//! position. So after a restore only a few numbers have to be remembered (how many requests of each
//! client were acknowledged, which op the restore promises), and [`check`] can say exactly whether
//! every promised transfer is there, and no other.
//!
//! [`process`] owns child processes, [`server`] runs TigerBeetle in them,
//! [`crate::ledger_events::session`] talks to it with deadlines, [`plan`] says what is written,
//! [`load`] writes it, [`check`] reads it back.

pub mod check;
pub mod load;
pub mod plan;
pub mod process;
pub mod server;

pub use check::{Books, Expected, check_books, check_every_transfer};
pub use load::{Load, LoadOptions, Report};
pub use plan::LoadPlan;
pub use process::{Guarded, free_ports};
pub use server::{Binary, Server, ServerOptions, wait_serving};
