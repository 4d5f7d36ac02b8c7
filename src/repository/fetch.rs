//! Reads again before anything is called damaged.
//!
//! On a connection without TLS a byte may change on the way, and nothing but the object's own
//! authentication notices. What is damaged in the store is damaged again each time, and only then
//! it is reported. What was damaged on the way is intact one of the next times.

use crate::error::{Error, Kind, Result};

/// How often something is read before it is called damaged. If one answer in a hundred arrives
/// changed, a repository of thousands of frames meets one that is changed twice in a row every day,
/// and one that is changed four times in a row hardly ever.
const READS_MAX: usize = 4;

/// Reads, and reads again if the result is damaged.
///
/// # Errors
/// Those of `read`; damage only if it was damaged each time.
pub fn until_intact<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..READS_MAX {
        match read() {
            Err(error) if error.kind == Kind::Damaged => {}
            read => return read,
        }
    }
    read()
}

/// Reads, and reads again if the result is not the expected one. The result of the last read
/// counts.
///
/// # Errors
/// Those of `read`.
pub fn until_expected<T: PartialEq>(expected: Option<T>, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let mut found = read()?;
    for _ in 1..READS_MAX {
        if expected.as_ref().is_none_or(|expected| *expected == found) {
            break;
        }
        found = read()?;
    }
    Ok(found)
}

/// Reads what is about to be recorded, where nothing else says whether it is right: until two reads
/// in a row give the same.
///
/// # Errors
/// Those of `read`; [`Error::try_again`] if each read gave something else.
pub fn until_agreed<T: PartialEq>(what: &str, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let mut last = read()?;
    for _ in 1..READS_MAX {
        let next = read()?;
        if next == last {
            return Ok(next);
        }
        last = next;
    }
    Err(Error::try_again(format!("{what} came out differently each of the {READS_MAX} times it was read: try again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_damage_is_read_again() {
        let run = |outcomes: &[std::result::Result<u8, Error>]| {
            let mut calls = 0;
            let found = until_intact(|| {
                calls += 1;
                outcomes[calls - 1].clone()
            });
            (calls, found.map_err(|error| error.message))
        };
        let damaged = |text: &str| Err(Error::damaged(text));
        assert_eq!(run(&[Ok(7)]), (1, Ok(7)));
        assert_eq!(run(&[damaged("1"), Ok(7)]), (2, Ok(7)));
        assert_eq!(run(&[damaged("1"), damaged("2"), damaged("3"), Ok(7)]), (4, Ok(7)));
        assert_eq!(run(&[damaged("1"), damaged("2"), damaged("3"), damaged("4"), Ok(7)]), (4, Err("4".to_owned())));
        assert_eq!(run(&[Err(Error::try_again("away")), Ok(7)]), (1, Err("away".to_owned())));
        assert_eq!(run(&[damaged("1"), Err(Error::try_again("away")), Ok(7)]), (2, Err("away".to_owned())));
    }

    #[test]
    fn the_last_read_decides() {
        let read = |expected: Option<u8>, outcomes: [u8; 5]| {
            let mut outcomes = outcomes.into_iter();
            let found = until_expected(expected, || Ok(outcomes.next().unwrap())).unwrap();
            (found, 5 - outcomes.len())
        };
        assert_eq!(read(Some(1), [1, 9, 9, 9, 9]), (1, 1));
        assert_eq!(read(None, [2, 9, 9, 9, 9]), (2, 1));
        assert_eq!(read(Some(1), [2, 1, 9, 9, 9]), (1, 2));
        assert_eq!(read(Some(1), [2, 3, 4, 1, 9]), (1, 4));
        assert_eq!(read(Some(1), [2, 3, 4, 5, 1]), (5, 4));
    }

    #[test]
    fn two_reads_in_a_row_must_agree() {
        let read = |outcomes: [u8; 5]| {
            let mut outcomes = outcomes.into_iter();
            let found = until_agreed("it", || Ok(outcomes.next().unwrap())).map_err(|error| error.kind);
            (found, 5 - outcomes.len())
        };
        assert_eq!(read([1, 1, 9, 9, 9]), (Ok(1), 2));
        assert_eq!(read([2, 1, 1, 9, 9]), (Ok(1), 3));
        assert_eq!(read([1, 2, 1, 1, 9]), (Ok(1), 4));
        assert_eq!(read([1, 2, 1, 2, 2]), (Err(Kind::TryAgain), 4));
    }
}
