//! `amber manual`: man pages, generated from the commands' own help so that the two never differ.

use super::Arguments;
use super::output::Report;
use crate::error::{Error, Result};
use clap::{Args, CommandFactory};
use serde_json::json;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
  amber manual | man -l -
  amber manual --directory /usr/local/share/man/man1";

/// Arguments of `amber manual`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ManualArguments {
    /// Write a page for each command into this folder, instead of that of amber itself to the
    /// standard output.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Makes the pages.
pub fn run(arguments: &ManualArguments) -> Result<Report> {
    // A man page shows only the version number, not the revision and features of `--version`.
    let command = Arguments::command().long_version(env!("CARGO_PKG_VERSION"));
    let Some(directory) = &arguments.directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(|error| Error::bug(format!("the man page: {error}")).caused_by(error))?;
        return Ok(Report::verbatim(String::from_utf8_lossy(&page).into_owned()));
    };
    let failed = |error: std::io::Error| Error::input(format!("{}: {error}", directory.display())).caused_by(error);
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(command, directory).map_err(failed)?;
    let pages = std::fs::read_dir(directory).map_err(failed)?.count();
    Ok(Report::new(
        format!("{pages} files in {}", directory.display()),
        json!({ "directory": directory.display().to_string(), "files": pages }),
    ))
}
