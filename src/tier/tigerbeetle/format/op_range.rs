//! A range of ops, as the log stores them without a gap or lacks them.

/// The ops from `first_op` to `last_op`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpRange {
    /// The first op.
    pub first_op: u64,
    /// The last op.
    pub last_op: u64,
}

impl OpRange {
    /// Whether `op` is one of them.
    pub fn contains(self, op: u64) -> bool {
        (self.first_op..=self.last_op).contains(&op)
    }
}

/// First and last op, as reports and JSON have them.
impl From<OpRange> for (u64, u64) {
    fn from(range: OpRange) -> (u64, u64) {
        (range.first_op, range.last_op)
    }
}
