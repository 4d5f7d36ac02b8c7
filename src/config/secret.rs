//! What opens a repository: a passphrase file, a key file or the environment, both for the
//! configuration and for the command line.
//!
//! Flow: [`SecretSource`] says where the secret is; [`SecretSource::read`] reads it when it is
//! needed, into memory that is wiped.

use crate::error::{Error, Result};
use crate::repository::key::{KEY_FILE_BYTES_MAX, KEY_FILE_BYTES_MIN, Secret};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A passphrase file larger than this is surely another file.
const PASSPHRASE_BYTES_MAX: u64 = 4096;
/// The variable that may hold the passphrase.
pub const PASSPHRASE_VARIABLE: &str = "AMBER_PASSPHRASE";

/// Where the secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that contains the passphrase; a newline at its end is removed.
    PassphraseFile(PathBuf),
    /// A file of random bytes.
    KeyFile(PathBuf),
    /// [`PASSPHRASE_VARIABLE`].
    Environment,
}

impl SecretSource {
    /// Reads the secret.
    ///
    /// # Errors
    /// [`Error::input`] if it is missing, may not be read, is empty, or has a size that no secret
    /// has.
    pub fn read(&self) -> Result<Secret> {
        let (passphrase, source) = match self {
            SecretSource::KeyFile(path) => return read_key(path),
            SecretSource::PassphraseFile(path) => (without_line_end(read_bounded(path, PASSPHRASE_BYTES_MAX)?), path.display().to_string()),
            SecretSource::Environment => (from_environment()?, PASSPHRASE_VARIABLE.to_owned()),
        };
        if passphrase.is_empty() {
            return Err(Error::input(format!("{source}: the passphrase is empty")));
        }
        Ok(Secret::Passphrase(passphrase))
    }
}

fn read_key(path: &Path) -> Result<Secret> {
    let content = read_bounded(path, KEY_FILE_BYTES_MAX as u64)?;
    if content.len() < KEY_FILE_BYTES_MIN {
        let length = content.len();
        return Err(Error::input(format!("{}: a key file has at least {KEY_FILE_BYTES_MIN} bytes, this one has {length}", path.display())));
    }
    Ok(Secret::KeyFile(content))
}

fn from_environment() -> Result<Zeroizing<Vec<u8>>> {
    let value = std::env::var_os(PASSPHRASE_VARIABLE).ok_or_else(|| {
        Error::input(format!(
            "no passphrase: give a passphrase file (--passphrase-file) or a key file (--key-file), or set {PASSPHRASE_VARIABLE}"
        ))
    })?;
    Ok(Zeroizing::new(value.into_encoded_bytes()))
}

fn without_line_end(mut content: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if content.ends_with(b"\n") {
        content.pop();
    }
    if content.ends_with(b"\r") {
        content.pop();
    }
    content
}

/// Reads a file that holds a secret, of at most this many bytes.
///
/// # Errors
/// [`Error::input`] if it is longer or cannot be read.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error: std::io::Error| Error::input(format!("{}: {error}", path.display())).caused_by(error);
    // A pipe has no size, and a device no end. The buffer never grows, so no copy stays behind.
    let mut content = Zeroizing::new(Vec::with_capacity(bytes_max as usize + 1));
    File::open(path).map_err(failed)?.take(bytes_max + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > bytes_max {
        return Err(Error::input(format!("{}: it has more than the {bytes_max} bytes of a secret: is it the right file?", path.display())));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn secrets_are_read_and_wrong_files_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let passphrase = |content: &[u8]| match SecretSource::PassphraseFile(write("pass", content)).read() {
            Ok(Secret::Passphrase(bytes)) => Ok(bytes.to_vec()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.message),
        };
        assert_eq!(passphrase(b"correct horse\r\n").unwrap(), b"correct horse");
        assert_eq!(passphrase(b"two\n\n").unwrap(), b"two\n");
        assert!(passphrase(b"\n").unwrap_err().contains("empty"));
        assert!(passphrase(&[b'x'; 5000]).unwrap_err().contains("right file"));
        assert!(matches!(SecretSource::KeyFile(write("key", &[7; 32])).read(), Ok(Secret::KeyFile(bytes)) if *bytes == [7; 32]));
        assert!(SecretSource::KeyFile(write("key", &[7; 31])).read().unwrap_err().message.contains("at least 32"));
        // Neither has a size that could be looked at.
        let endless = |source: SecretSource| source.read().unwrap_err();
        for endless in [SecretSource::KeyFile("/dev/zero".into()), SecretSource::PassphraseFile("/dev/zero".into())].map(endless) {
            assert!(endless.kind == Kind::Input && endless.message.contains("/dev/zero: it has more than"), "{endless}");
        }
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| std::fs::write(&pipe, b"from a pipe\n").unwrap());
            assert!(
                matches!(SecretSource::PassphraseFile(pipe.clone()).read(), Ok(Secret::Passphrase(bytes)) if *bytes == *b"from a pipe")
            );
        });
        let missing = SecretSource::KeyFile(folder.path().join("missing")).read().unwrap_err();
        assert!(missing.message.contains("missing: No such file"), "{missing}");
    }
}
