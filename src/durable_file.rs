//! Files that are replaced as a whole: after a crash a file has either its old content or the new
//! one, never a part.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a file. The new content is durable when this returns. It is first written to a file
/// named `temporary` in the same folder; one that a crash left there is overwritten.
///
/// # Errors
/// The system's error. The old content is still there, unless only the sync of the folder failed.
pub fn replace(path: &Path, temporary: &str, mode: u32, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(temporary);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_folder(folder)
}

/// Makes names durable that were created, moved or removed in a folder.
///
/// # Errors
/// The system's error.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        replace(&path, "state.new", 0o640, b"a longer content").unwrap();
        replace(&path, "state.new", 0o640, b"the second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"the second");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        // A folder is where the temporary file should be: nothing is changed.
        std::fs::create_dir(folder.path().join("state.new")).unwrap();
        replace(&path, "state.new", 0o640, b"the third").unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"the second");
    }
}
