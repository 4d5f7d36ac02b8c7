//! The kinds of objects that a tier keeps, by the prefixes of their names.

/// What objects of a class are there for. Retention, locks and merging go by this, never by a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Makes a backup exist, or says that it was promised. Locked and kept as long as the backup.
    Promise,
    /// Holds what records name. Locked and kept as long as a backup that names it.
    Data,
    /// Holds what continues a backup and what no record names. Kept as long as something behind it
    /// is restorable; small ones may be merged into a larger one.
    Log,
    /// Says what belongs together. Few, small, and kept for ever.
    State,
    /// Comes and goes while agents run. Never locked.
    Passing,
}

impl Role {
    /// Whether objects of this role must not be removed or replaced while they are needed, so that
    /// a lock on them costs nothing that Amber wants to do.
    pub fn is_lockable(self) -> bool {
        matches!(self, Role::Promise | Role::Data | Role::State)
    }
}

/// A kind of objects.
#[derive(Debug, Clone, Copy)]
pub struct ObjectClass {
    /// What their names begin with. No prefix of one class begins with that of another one.
    pub prefix: &'static str,
    /// What they are called for people; several classes may share a name.
    pub name: &'static str,
    /// What they are there for.
    pub role: Role,
    /// Whether a name with this prefix is one of ours.
    pub is_ours: fn(&str) -> bool,
}
