//! The program `amber`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The panic has already reported its place on standard error. To a script it is a bug, which
    // exit code 1 stands for.
    std::panic::catch_unwind(amber::cli::run).unwrap_or(ExitCode::FAILURE)
}
