//! The `tigerbeetle` executables that the user gave, and which releases they run.
//!
//! A data file is opened only by a server of the release that its checkpoint names. Each executable
//! is asked once, before anything is downloaded: with `version`, and with `multiversion` for the
//! older releases that it may bundle. Each hop then uses the executable that fits. If the cluster
//! was upgraded in the middle of the log, that is not the same one for all hops.

use super::hop_server::{HopServer, exit_text};
use crate::error::{Error, Result};
use crate::tb_format::header::release_text;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long an executable may take to report its release. It takes milliseconds, unless the machine
/// is very busy.
const VERSION_PATIENCE: Duration = Duration::from_secs(30);

/// Executables, asked for their releases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binaries {
    given: Vec<Binary>,
}

/// One executable.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Binary {
    path: PathBuf,
    /// Its own release first, then those that it bundles.
    releases: Vec<u32>,
}

/// A release that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseNeeded {
    /// The release.
    pub release: u32,
    /// The first op that it has to execute.
    pub from_op: u64,
}

impl Binaries {
    /// Asks the executables at these paths.
    ///
    /// # Errors
    /// [`Error::input`] for a path where there is no file, or for one that does not report its
    /// release.
    pub fn ask(paths: &[PathBuf]) -> Result<Binaries> {
        let given: Result<Vec<Binary>> = paths.iter().map(|path| ask(path)).collect();
        Ok(Binaries { given: given? })
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// The executable that runs this release. One of exactly this release is preferred to one that
    /// bundles it.
    ///
    /// # Errors
    /// [`Error::input`], naming the release that is needed, from which op on, and the releases that
    /// were given.
    pub fn for_release(&self, needed: ReleaseNeeded) -> Result<&Path> {
        let own = self.given.iter().find(|binary| binary.releases.first() == Some(&needed.release));
        let carrying = || self.given.iter().find(|binary| binary.releases.contains(&needed.release));
        if let Some(binary) = own.or_else(carrying) {
            return Ok(&binary.path);
        }
        let (release, from_op) = (release_text(needed.release), needed.from_op);
        Err(Error::input(format!(
            "TigerBeetle {release} is needed, from op {from_op} on, {}: give --tigerbeetle PATH of a binary of release {release}",
            match self.given.as_slice() {
                [] => "and no binary was given".to_owned(),
                given => format!("and what was given is {}", given.iter().map(Binary::text).collect::<Vec<_>>().join(", ")),
            }
        )))
    }
}

impl Binary {
    fn text(&self) -> String {
        let releases: Vec<String> = self.releases.iter().map(|release| release_text(*release)).collect();
        format!("{} ({})", releases.join(" with "), self.path.display())
    }
}

fn ask(path: &Path) -> Result<Binary> {
    // The server is started by its path, so a bare name must not be searched for in `PATH`.
    let path = match path.canonicalize() {
        Ok(path) if path.is_file() => path,
        _ => return Err(Error::input(format!("--tigerbeetle {}: there is no such file", path.display()))),
    };
    let mut releases = vec![version(&path)?];
    for release in bundled(&path) {
        if !releases.contains(&release) {
            releases.push(release);
        }
    }
    Ok(Binary { path, releases })
}

fn run(path: &Path, arguments: &[&std::ffi::OsStr]) -> Result<(bool, String)> {
    let mut command = Command::new(path);
    command.args(arguments);
    let (status, said) = HopServer::spawn(path.display().to_string(), &command)?.wait(VERSION_PATIENCE)?;
    let said = if status.success() { said } else { format!("{} ({})", said.trim(), exit_text(status)) };
    Ok((status.success(), said))
}

/// "TigerBeetle version 0.16.78+c3d9b09".
fn version(path: &Path) -> Result<u32> {
    let (succeeded, said) = run(path, &["version".as_ref()])?;
    let release = said.lines().find_map(|line| line.strip_prefix("TigerBeetle version ")).and_then(|text| releases_in(text).next());
    release.filter(|_| succeeded).ok_or_else(|| {
        Error::input(format!(
            "--tigerbeetle {}: it does not tell its release, so it is no TigerBeetle; it said: {}",
            path.display(),
            said.trim()
        ))
    })
}

/// The releases that an executable bundles. Most that are built from source bundle none and answer
/// with an error.
fn bundled(path: &Path) -> Vec<u32> {
    let Ok((true, said)) = run(path, &["multiversion".as_ref(), path.as_os_str()]) else { return Vec::new() };
    let line = said.lines().find_map(|line| line.strip_prefix("multiversioning.releases_bundled="));
    line.map(|line| releases_in(line).collect()).unwrap_or_default()
}

/// Every `MAJOR.MINOR.PATCH` of a text.
fn releases_in(text: &str) -> impl Iterator<Item = u32> + '_ {
    text.split(|character: char| !(character.is_ascii_digit() || character == '.')).filter_map(|word| {
        let mut numbers = word.split('.');
        let (major, minor, patch) =
            (numbers.next()?.parse::<u16>().ok()?, numbers.next()?.parse::<u8>().ok()?, numbers.next()?.parse::<u8>().ok()?);
        let [major_low, major_high] = major.to_le_bytes();
        numbers.next().is_none().then(|| u32::from_le_bytes([patch, minor, major_low, major_high]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use tempfile::TempDir;

    const R_78: u32 = 78 | 16 << 8;
    const R_70: u32 = 70 | 16 << 8;

    /// Written by another process: a file that this process has had open for writing may be "busy"
    /// when it is run, because a child that another test has just forked still has it open.
    fn fake(folder: &TempDir, name: &str, script: &str) -> PathBuf {
        let path = folder.path().join(name);
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod +x "$2""#;
        assert!(Command::new("sh").args(["-c", write, "write", script]).arg(&path).status().unwrap().success());
        path
    }

    const PLAIN: &str = "test $1 = version || exit 1; echo TigerBeetle version 0.16.78+c3d9b09";
    const CARRYING: &str = r#"test $1 = version && echo TigerBeetle version 0.17.6+abc && exit
test "$2" = "$0" && echo "multiversioning.releases_bundled={ 0.16.70, 0.16.78, 0.17.6 }""#;

    #[test]
    fn the_release_that_is_needed_is_found() {
        let folder = TempDir::new().unwrap();
        let (plain, carrying) = (fake(&folder, "plain", PLAIN), fake(&folder, "carrying", CARRYING));
        let both = Binaries::ask(&[carrying.clone(), plain.clone()]).unwrap();
        let found = |release| both.for_release(ReleaseNeeded { release, from_op: 1 }).unwrap();
        assert_eq!(found(R_78), plain.canonicalize().unwrap(), "rather one that is this release");
        assert_eq!(found(R_70), carrying.canonicalize().unwrap());
        assert_eq!(found(6 | 17 << 8), carrying.canonicalize().unwrap());
    }

    #[test]
    fn a_release_that_is_missing_is_named_with_those_given() {
        let folder = TempDir::new().unwrap();
        let plain = fake(&folder, "plain", PLAIN);
        let needed = ReleaseNeeded { release: R_70, from_op: 2880 };
        let error = Binaries::ask(&[plain]).unwrap().for_release(needed).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
        assert!(error.message.contains("TigerBeetle 0.16.70 is needed, from op 2880 on, and what was given is 0.16.78 ("), "{error}");
        let none = Binaries::default();
        assert!(none.is_empty());
        assert!(none.for_release(needed).unwrap_err().message.contains("no binary was given"));
    }

    #[test]
    fn what_is_no_tigerbeetle_is_refused() {
        let folder = TempDir::new().unwrap();
        for (script, says) in [("echo I am a teapot", "teapot"), ("echo TigerBeetle version 0.16.78; exit 4", "exit code 4")] {
            let error = Binaries::ask(&[fake(&folder, "other", script)]).unwrap_err();
            assert!(error.kind == Kind::Input && error.message.contains(says), "{error}");
        }
        for path in [folder.path().join("none"), folder.path().to_owned()] {
            let error = Binaries::ask(&[path]).unwrap_err();
            assert!(error.kind == Kind::Input && error.message.contains("no such file"), "{error}");
        }
    }

    #[test]
    fn releases_are_read_as_the_ledger_writes_them() {
        assert_eq!(releases_in("0.16.78+c3d9b09").collect::<Vec<_>>(), [R_78]);
        assert_eq!(releases_in("{ 0.16.70, 0.16.78 } 1.2 1.2.3.4 65535.255.1").collect::<Vec<_>>(), [R_70, R_78, 0xffff_ff01]);
        assert_eq!(release_text(R_78), "0.16.78");
    }
}
