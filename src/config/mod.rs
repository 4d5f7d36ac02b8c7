//! The configuration of `amber agent`: TOML in, checked values out.
//!
//! Flow: [`AgentConfig::load`](plan::AgentConfig::load) reads the file; `file` is its form as
//! written, with the place of every value; what the parser refuses `explain` turns into the line
//! and what to write instead; [`plan`] checks every value against its [`bounds`] and is all that
//! the rest of the program sees. [`place`] and [`secret`] say where a repository is and what opens
//! it, for the file and for the command line alike.

pub mod bounds;
pub mod events;
mod explain;
mod file;
pub mod jobs;
pub mod origin;
pub mod page;
pub mod place;
pub mod plan;
pub mod secret;
pub mod telemetry;

pub use explain::nearest;
pub use plan::AgentConfig;

#[cfg(test)]
mod tests;
