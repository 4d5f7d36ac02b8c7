//! The measurement measures what a backup does, its advice follows from its figures, and it leaves
//! nothing behind.

mod measure;
