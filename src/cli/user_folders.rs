//! The folders for files of this user's programs (XDG Base Directory Specification).

use std::path::PathBuf;

/// The folder for state that must be kept: `$XDG_STATE_HOME/amber`, or `~/.local/state/amber`.
pub fn state() -> Option<PathBuf> {
    below("XDG_STATE_HOME", ".local/state")
}

/// The folder for files that can be made again: `$XDG_CACHE_HOME/amber`, or `~/.cache/amber`.
pub fn cache() -> Option<PathBuf> {
    below("XDG_CACHE_HOME", ".cache")
}

fn below(variable: &str, of_home: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").map(|home| home.join(of_home));
    set(variable).filter(|path| path.is_absolute()).or_else(home).map(|folder| folder.join("amber"))
}
