//! The output of `amber --version`: which build this is, down to the commit, and its features.

/// Version, revision and features, one per line. The first line is also the output of `-V`.
/// Revision and features come from `build.rs`.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), "\nrevision: ", env!("AMBER_REVISION"), "\nfeatures: ", env!("AMBER_FEATURES"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_version_revision_and_features() {
        let lines: Vec<&str> = LONG.lines().collect();
        assert_eq!(lines[0], env!("CARGO_PKG_VERSION"));
        assert!(lines[1].strip_prefix("revision: ").is_some_and(|revision| !revision.is_empty()), "{LONG}");
        let features = lines[2].strip_prefix("features: ").unwrap();
        assert_eq!(features.contains("client"), cfg!(feature = "client"), "{LONG}");
        assert!(features.contains("samples") && !features.contains("default"), "{LONG}");
    }
}
