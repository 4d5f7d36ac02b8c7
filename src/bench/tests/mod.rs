//! The measurement measures what a backup does, advises what its figures say, and leaves nothing
//! behind.

mod measure;
