//! What the tests of several files of this room use.

pub(crate) mod bench;
pub(crate) mod store_double;
