//! Reads once more before anything is called damaged.
//!
//! On a connection without TLS a byte may change on the way, and nothing but the object's own authentication notices. What is damaged at
//! rest is damaged again the second time, and only then it is said; what was damaged on the way is right then.

use crate::error::{Error, Kind, Result};

/// Reads, and again if what came is damaged.
///
/// # Errors
/// Those of `read`; damage only if both times.
pub fn twice<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    match read() {
        Err(error) if error.kind == Kind::Damaged => read(),
        first => first,
    }
}

/// Reads, and again if what came is not what is expected; what the second read brings counts.
///
/// # Errors
/// Those of `read`.
pub fn expecting<T: PartialEq>(expected: Option<T>, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let found = read()?;
    if expected.is_some_and(|expected| expected != found) { read() } else { Ok(found) }
}

/// Reads twice what is about to be written down, where nothing else says whether it is right.
///
/// # Errors
/// Those of `read`; [`Error::try_again`] if the two differ.
pub fn agreed<T: PartialEq>(what: &str, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let (first, second) = (read()?, read()?);
    if first == second {
        Ok(second)
    } else {
        Err(Error::try_again(format!("{what} came out differently when it was read twice: try again")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_damage_is_read_again() {
        let run = |outcomes: &[std::result::Result<u8, Error>]| {
            let mut calls = 0;
            let found = twice(|| {
                calls += 1;
                outcomes[calls - 1].clone()
            });
            (calls, found.map_err(|error| error.message))
        };
        let (damaged, away) = (Error::damaged("first"), Error::try_again("away"));
        assert_eq!(run(&[Ok(7)]), (1, Ok(7)));
        assert_eq!(run(&[Err(damaged.clone()), Ok(7)]), (2, Ok(7)));
        assert_eq!(run(&[Err(damaged), Err(Error::damaged("second"))]), (2, Err("second".to_owned())));
        assert_eq!(run(&[Err(away)]), (1, Err("away".to_owned())));
    }

    #[test]
    fn the_second_read_decides() {
        let read = |expected: Option<u8>, outcomes: [u8; 2]| {
            let mut outcomes = outcomes.into_iter();
            let found = expecting(expected, || Ok(outcomes.next().unwrap())).unwrap();
            (found, outcomes.len())
        };
        assert_eq!(read(Some(1), [1, 9]), (1, 1));
        assert_eq!(read(None, [2, 9]), (2, 1));
        assert_eq!(read(Some(1), [2, 1]), (1, 0));
        assert_eq!(read(Some(1), [2, 3]), (3, 0));
        let mut outcomes = [1, 1, 1, 2].into_iter();
        assert_eq!(agreed("it", || Ok(outcomes.next().unwrap())).unwrap(), 1);
        assert_eq!(agreed("it", || Ok(outcomes.next().unwrap())).unwrap_err().kind, Kind::TryAgain);
    }
}
