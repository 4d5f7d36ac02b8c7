//! The parts of the agent that make it a process, and all its parts in one thread.

mod process;
mod simulated;
mod simulation;
