//! Makes the data files of `perf/scale`: a valid one of any size, and on request its next
//! checkpoint with some tables changed.
//!
//! `cargo run --release --no-default-features --features samples --example large_file -- FILE
//! TABLES VALUES full|sparse` writes the first checkpoint and prints its size. Then each number on
//! the standard input is a count of tables to change, and each answer is the number of bytes of
//! their blocks.

use amber::tier::sample_large::{LargeFile, Shape};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, tables, values, fill] = &arguments[..] else { return Err("give FILE TABLES VALUES full|sparse".into()) };
    let shape = Shape { tables: tables.parse()?, values: values.parse()?, sparse: fill == "sparse" };
    let mut large = LargeFile::create(&PathBuf::from(file), shape)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", large.table_bytes())?;
    for line in std::io::stdin().lines() {
        let changed_bytes = large.next_checkpoint(line?.trim().parse()?)?;
        writeln!(out, "{changed_bytes}")?;
    }
    Ok(())
}
