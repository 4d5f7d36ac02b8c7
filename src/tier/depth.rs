//! How deep a check goes.

/// How deep a check goes. Each finds everything that the one before it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Records open, and what they name is there with its size. Nothing else is read.
    Existence,
    /// Every stored byte is read and compared with its digest.
    Digests,
    /// Everything is opened and checked against what it was captured from.
    Full,
}

impl Depth {
    /// The word for it on the command line and in records.
    pub fn word(self) -> &'static str {
        match self {
            Depth::Existence => "existence",
            Depth::Digests => "digests",
            Depth::Full => "full",
        }
    }
}
