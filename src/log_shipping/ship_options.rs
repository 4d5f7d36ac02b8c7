//! How segments are shipped, and who hears of it.

use crate::log_shipping::queue::Durable;
use crate::log_shipping::spool::Damaged;
use std::time::Duration;

/// What the shipper reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The store has this segment and everything before it.
    Durable(Durable),
    /// A segment was damaged in the spool and is lost. What comes after it still becomes durable.
    Damaged(Damaged),
    /// A problem that a person should act on. It is reported once, and again only after it was
    /// gone.
    Alert(String),
}

/// What the shipper asks, and where it reports events. Both are called from its threads and from
/// the caller's. They must be quick, and must not call the shipper's `Shipper::offer` or
/// `Shipper::drain`.
pub struct Hooks {
    /// Whether this agent may put segments (it holds the lease). Asked before each put.
    pub may_ship: Box<dyn Fn() -> bool + Send + Sync>,
    /// Notified of each event; [`Event::Durable`] comes in order.
    pub observe: Box<dyn Fn(Event) + Send + Sync>,
}

/// How to ship.
#[derive(Debug, Clone, Copy)]
pub struct ShipOptions {
    /// The most stored bytes that wait in memory. Each upload holds one more segment. A segment
    /// larger than this goes through the spool.
    pub memory_bytes: u64,
    /// How long a segment may wait in memory alone before it is written to the spool.
    pub spool_after: Duration,
    /// How many uploads run at once.
    pub uploads: usize,
    /// The pause after a failed upload; it doubles with each further failure.
    pub retry_first: Duration,
    /// The longest pause.
    pub retry_max: Duration,
}

impl Default for ShipOptions {
    fn default() -> Self {
        ShipOptions {
            memory_bytes: 256 << 20,
            spool_after: Duration::from_secs(5),
            uploads: 4,
            retry_first: Duration::from_millis(250),
            retry_max: Duration::from_secs(5),
        }
    }
}
