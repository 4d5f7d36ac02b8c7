//! Names of objects: the same for every store, so that a repository can be copied from any store to
//! any other.
//!
//! A name is a path of parts that every file system and every S3 server takes as it is: no upper
//! case (some file systems ignore case), nothing that a URL or a shell would need to quote, no part
//! that has a meaning of its own in a file system.

/// Longest name of an object, in bytes. S3 allows 1024 for prefix and name together; the rest is
/// for the user's prefix.
pub const NAME_BYTES_MAX: usize = 512;

/// Longest part of a name, in bytes: the most that Linux file systems take for one file name.
pub const NAME_PART_BYTES_MAX: usize = 255;

/// The first part of names that belong to the folder store itself. No object may have it, in any
/// store, so that every store takes the same names.
pub(crate) const RESERVED_PART: &str = ".tmp";

/// Checks the name of an object: parts of `[a-z0-9._-]`, none empty, `.` or `..`, at most
/// [`NAME_BYTES_MAX`] bytes. The error is only the reason; the store adds its own name and the
/// object's.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes, this one {}", name.len()));
    }
    name.split('/').try_for_each(check_part)?;
    check_reserved(name)
}

/// Checks the prefix of a listing. It is like a name, but its last part may be incomplete or
/// missing.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.len() > NAME_BYTES_MAX {
        return Err(format!("a prefix has at most {NAME_BYTES_MAX} bytes, this one {}", prefix.len()));
    }
    let (folders, unfinished) = match prefix.rsplit_once('/') {
        Some((folders, unfinished)) => (Some(folders), unfinished),
        None => (None, prefix),
    };
    if let Some(folders) = folders {
        folders.split('/').try_for_each(check_part)?;
        check_reserved(folders)?;
    }
    check_characters(unfinished)
}

/// Checks one part of a name, between two `/`.
pub(crate) fn check_part(part: &str) -> Result<(), String> {
    if part.is_empty() || part == "." || part == ".." {
        return Err("a part between two '/' may not be empty, '.' or '..'".to_owned());
    }
    if part.len() > NAME_PART_BYTES_MAX {
        return Err(format!("a part between two '/' has at most {NAME_PART_BYTES_MAX} bytes, this one {}", part.len()));
    }
    check_characters(part)
}

fn check_characters(part: &str) -> Result<(), String> {
    match part.bytes().find(|byte| !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')) {
        None => Ok(()),
        Some(_) => Err("only a-z, 0-9, '.', '_', '-' and '/' may stand in a name".to_owned()),
    }
}

/// Refuses names at and below [`RESERVED_PART`].
pub(crate) fn check_reserved(name: &str) -> Result<(), String> {
    if name == RESERVED_PART || name.strip_prefix(RESERVED_PART).is_some_and(|rest| rest.starts_with('/')) {
        return Err(format!("{RESERVED_PART} is where a folder keeps files on their way"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = format!("{}/{}/x", "a".repeat(255), "b".repeat(254));
        assert_eq!(longest.len(), NAME_BYTES_MAX);
        for name in ["a", "a/b", "a.b-c_d/0", "...", "a/.b", ".tmpx/a", &longest] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let too_long = format!("{longest}y");
        let long_part = "a".repeat(256);
        for name in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "A", "a b", "a\0b", "ä", ".tmp", ".tmp/a", "a\\b", &too_long,
            &long_part,
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn prefixes() {
        for prefix in ["", "a", "a/", "a/b", "a/.", "a-"] {
            assert_eq!(check_prefix(prefix), Ok(()), "{prefix}");
        }
        let too_long = "a".repeat(513);
        for prefix in ["/", "/a", "a//", "../", "a/../b", "A", ".tmp/", ".tmp/a", &too_long] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }
}
