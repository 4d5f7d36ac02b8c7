//! The parts of the agent that make it a process.

mod process;
