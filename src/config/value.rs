//! A value of the configuration with its place in the text.

use toml::Spanned;

/// A value and its place.
pub type Value<T> = Option<Spanned<T>>;
