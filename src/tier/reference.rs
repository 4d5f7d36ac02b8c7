//! What a backup needs. Verification, retention, locks, merging and repair ask one place.

use super::object_class::Role;
use crate::store::Digest;

/// An object that a backup needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectReference {
    /// Its name.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// Size and digest that are promised; `None` for objects that authenticate themselves.
    pub promised: Option<PromisedBytes>,
}

/// What is promised of an object's stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromisedBytes {
    /// How many there are.
    pub size_bytes: u64,
    /// Their digest: SHA-256, or that of the SHA-256 of all parts.
    pub digest: Digest,
    /// The size of those parts.
    pub part_bytes: u64,
}

impl ObjectReference {
    /// An object that authenticates itself.
    pub fn sealed(name: String, role: Role) -> ObjectReference {
        ObjectReference { name, role, promised: None }
    }
}
