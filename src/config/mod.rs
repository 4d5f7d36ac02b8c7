//! The configuration of `amber agent`: reads TOML and returns checked values.
//!
//! Flow: [`AgentConfig::load`](plan::AgentConfig::load) reads the file. `file` is its form as
//! written, with the place of every value. `explain` turns an error of the parser into the line and
//! what to write instead. [`plan`] checks every value against its [`bounds`], and is all that the
//! rest of the program sees. [`place`] and [`secret`] say where a repository is and what opens it,
//! both for the file and for the command line.

pub mod bounds;
pub mod events;
mod explain;
mod file;
pub mod jobs;
pub mod notify;
pub mod origin;
pub mod page;
pub mod place;
pub mod plan;
pub mod reader;
pub mod secret;
pub mod telemetry;
pub mod tenants;
pub mod value;

pub use explain::nearest;
pub use plan::AgentConfig;

#[cfg(test)]
mod tests;
