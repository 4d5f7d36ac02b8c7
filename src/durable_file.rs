//! Files that are replaced as a whole: after a crash there is the old content or the new one, never
//! a part.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a file; it is on the disk when this returns. The content is written beside it under the
/// name `temporary` first, which is overwritten where a crash left one.
///
/// # Errors
/// What the system says. The old content is still there, unless only the folder's own sync failed.
pub fn replace(path: &Path, temporary: &str, mode: u32, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(temporary);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_folder(folder)
}

/// Makes names durable that were made, moved or removed in a folder.
///
/// # Errors
/// What the system says.
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
        // A folder where the temporary file should be: nothing is changed.
        std::fs::create_dir(folder.path().join("state.new")).unwrap();
        replace(&path, "state.new", 0o640, b"the third").unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"the second");
    }
}
