//! Tells programs and tests where the prebuilt DuckDB library lies: beside the program, in `lib` beside its folder, or where `tools/setup` has put it.

fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_DUCKDB_BUNDLED").is_some() {
        return;
    }
    for place in ["$ORIGIN", "$ORIGIN/../lib"] {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{place}");
    }
    if let Some(folder) = std::env::var_os("DUCKDB_LIB_DIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
