//! The catalog: what ran, when, how large, where it is and whether it verified, as DuckDB tables that anybody can ask.
//!
//! It is a cache: everything in it can be made again from the repository (the records of runs, the manifests).
