//! The environment of the process, as far as it concerns S3.
//!
//! A variable that is set to nothing counts as unset, because units, containers and scripts write
//! `AWS_PROFILE=` where they mean none. The SDK does not see it so everywhere. Hence what it would
//! read from such a variable is decided here and in [`settings`](super::settings), and handed to
//! it.

use std::collections::HashMap;
use std::fmt;

/// The variables that are set to something. Their values are never shown: some are secrets.
#[derive(Clone, Default)]
pub(super) struct Environment(HashMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Environment {
    /// That of this process. Variables that are no text are left out: none of ours can be.
    pub(super) fn of_process() -> Self {
        Environment::of(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))))
    }

    /// One with these variables.
    pub(super) fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Environment(variables.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect())
    }

    /// The value of a variable, if it is set to something.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim())
    }

    /// The first of these variables that is set, with its name.
    pub(super) fn first<'a>(&self, names: &[&'a str]) -> Option<(&'a str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    /// Whether a switch is on. The AWS tools write `true`.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// All variables that are set, for the SDK's parser of profiles.
    pub(super) fn variables(&self) -> HashMap<String, String> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_to_nothing_is_not_set() {
        let environment =
            Environment::of([("A", ""), ("B", " "), ("C", " c "), ("D", "True")].map(|(name, value)| (name.into(), value.into())));
        assert_eq!((environment.get("A"), environment.get("B"), environment.get("C")), (None, None, Some("c")));
        assert_eq!(environment.first(&["A", "C", "D"]), Some(("C", "c")));
        assert!(environment.is_on("D") && !environment.is_on("C") && !environment.is_on("A"));
        assert_eq!(environment.variables().len(), 2);
        assert!(!format!("{environment:?}").contains("True"));
        assert_eq!(Environment::of_process().get("PATH"), std::env::var("PATH").ok().as_deref());
    }
}
