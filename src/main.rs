//! The program `amber`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    amber::cli::run()
}
