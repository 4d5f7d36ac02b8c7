//! The limits that a user sets, and whose turn it is when they are reached.

/// What a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// CPU time.
    Cpu = 0,
    /// Bytes sent to the store.
    Upload = 1,
    /// Bytes read: from the node's disk by backups, from the store by verification.
    Read = 2,
}

/// The limits. `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU time in percent of all cores together.
    pub cpu_budget_percent: Option<u32>,
    /// Bytes sent to the store in a second.
    pub upload_bytes_per_s: Option<u64>,
    /// Bytes read in a second.
    pub read_bytes_per_s: Option<u64>,
}
