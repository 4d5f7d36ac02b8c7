//! Tells the linker and the program where the prebuilt libraries lie.
//!
//! A built program looks for `libduckdb.so` and `libtb_client.so` beside itself, in `../lib/amber`
//! and `../lib` as packages lay it out, and where `tools/setup` has put them (the variables in
//! `.cargo/config.toml`), so that programs and tests run from the build folder. It also hands the
//! revision and the features that are built to `amber --version`.

use std::path::PathBuf;
use std::process::Command;

/// Folders of libraries, as seen from the program.
const INSTALLED: [&str; 3] = ["$ORIGIN", "$ORIGIN/../lib/amber", "$ORIGIN/../lib"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for place in INSTALLED {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{place}");
    }
    let feature = |name: &str| std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    if !feature("DUCKDB_BUNDLED") {
        rpath("DUCKDB_LIB_DIR");
    }
    if feature("CLIENT") {
        // The folder to link from; the name of the library stands in
        // src/ledger_events/tb_client.rs.
        if let Some(folder) = rpath("TB_CLIENT_LIB_DIR") {
            println!("cargo:rustc-link-search=native={}", folder.display());
        }
    }
    revision();
    features();
}

/// Has the program look in the folder that a variable names, unless the build is for a package.
fn rpath(variable: &str) -> Option<PathBuf> {
    println!("cargo:rerun-if-env-changed={variable}");
    println!("cargo:rerun-if-env-changed=AMBER_PACKAGE");
    let folder = PathBuf::from(std::env::var_os(variable)?);
    if std::env::var_os("AMBER_PACKAGE").is_none() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
    Some(folder)
}

/// The commit that is built: `AMBER_REVISION` where it is given, else what git says. A debug build
/// does not ask, or each commit would compile everything again.
fn revision() {
    println!("cargo:rerun-if-env-changed=AMBER_REVISION");
    let given = std::env::var("AMBER_REVISION").ok();
    let is_debug = std::env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let revision = given.or_else(|| if is_debug { Some("debug build".into()) } else { git(&["rev-parse", "--short=12", "HEAD"]) });
    println!("cargo:rustc-env=AMBER_REVISION={}", revision.as_deref().unwrap_or("unknown"));
    // A new commit moves this.
    if let Some(path) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|_| !is_debug) {
        println!("cargo:rerun-if-changed={path}");
    }
}

/// The optional parts that are built in: `AMBER_FEATURES`.
fn features() {
    let names = std::env::vars()
        .filter_map(|(name, _)| name.strip_prefix("CARGO_FEATURE_").map(|feature| feature.to_lowercase().replace('_', "-")));
    let mut names: Vec<String> = names.filter(|name| name != "default").collect();
    names.sort();
    println!("cargo:rustc-env=AMBER_FEATURES={}", if names.is_empty() { "none".into() } else { names.join(", ") });
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
