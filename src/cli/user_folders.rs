//! Where programs of this user keep what is theirs (XDG Base Directory Specification).

use std::path::PathBuf;

/// What must not be forgotten: `$XDG_STATE_HOME/amber`, or `~/.local/state/amber`.
pub fn state() -> Option<PathBuf> {
    below("XDG_STATE_HOME", ".local/state")
}

/// What can be made again: `$XDG_CACHE_HOME/amber`, or `~/.cache/amber`.
pub fn cache() -> Option<PathBuf> {
    below("XDG_CACHE_HOME", ".cache")
}

fn below(variable: &str, of_home: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").map(|home| home.join(of_home));
    set(variable).filter(|path| path.is_absolute()).or_else(home).map(|folder| folder.join("amber"))
}
