//! The program `amber`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A panic has said its place on the standard error; to a script it is what exit code 1 stands
    // for, a bug.
    std::panic::catch_unwind(amber::cli::run).unwrap_or(ExitCode::FAILURE)
}
