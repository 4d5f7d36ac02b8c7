//! `amber show`: everything about one backup.

use super::backup::{summary_json, summary_rows};
use super::catalog_place::CatalogArguments;
use super::list_catalog;
use super::output::{Report, facts, table};
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::repository::name::CheckpointName;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::restore::select;
use crate::units::bytes_text;
use clap::Args;
use serde_json::{Value, json};

const AFTER_HELP: &str = "\
With --config or --catalog the catalog says what it knows of the backup, and the store is not asked; then backups of every kind can be named, by run or \
whole name, and the newest is the one that reaches furthest on the newest timeline.

  amber show --repo s3://backups/ledger
  amber show --config /etc/amber/amber.toml 000019a4c1d2e3f4";

/// Arguments of `amber show`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ShowArguments {
    #[command(flatten)]
    place: CatalogArguments,
    /// Which backup: its run (as `amber list` prints it), its checkpoint op or its whole name; the
    /// newest otherwise.
    backup: Option<String>,
}

/// Shows one backup.
pub fn run(arguments: &ShowArguments) -> Result<Report> {
    if let Some(reader) = arguments.place.named()? {
        return list_catalog::show(&reader, arguments.backup.as_deref());
    }
    let repository = arguments.place.repository()?;
    let name = find(&repository, arguments.backup.as_deref())?;
    let manifest = Manifest::read(&repository, &name, None)?;
    let mut rows = summary_rows(&manifest.summary);
    rows.insert(0, ("backup", name.object()));
    rows.push(("checkpoint id", manifest.summary.checkpoint_id.clone()));
    rows.push(("client replies", manifest.replies.len().to_string()));
    rows.push(("extents", manifest.extents.len().to_string()));
    let packs: Vec<Vec<String>> = manifest
        .packs
        .iter()
        .enumerate()
        .map(|(number, pack)| {
            let used: u64 = manifest
                .extents
                .iter()
                .filter(|extent| extent.location.pack as usize == number)
                .map(|extent| u64::from(extent.location.blocks))
                .sum();
            vec![pack.name.object(), bytes_text(pack.stored_bytes), format!("{used} of {}", pack.blocks)]
        })
        .collect();
    let segments: Vec<Vec<String>> =
        manifest.segments.iter().map(|segment| vec![segment.name.object(), bytes_text(segment.stored_bytes)]).collect();
    let text = format!(
        "{}\n{}\n{}",
        facts(&rows),
        table(&["pack", "stored", "blocks used"], &packs),
        table(&["log segment", "stored"], &segments)
    );
    let mut json = summary_json(&manifest.summary);
    if let Value::Object(fields) = &mut json {
        fields.insert("name".into(), json!(name.object()));
        fields.insert("extents".into(), json!(manifest.extents.len()));
        fields.insert("client_replies".into(), json!(manifest.replies.len()));
        let pack_names = manifest
            .packs
            .iter()
            .map(|pack| json!({ "name": pack.name.object(), "stored_bytes": pack.stored_bytes, "blocks": pack.blocks }));
        fields.insert("packs".into(), pack_names.collect());
        let segment_names =
            manifest.segments.iter().map(|segment| json!({ "name": segment.name.object(), "stored_bytes": segment.stored_bytes }));
        fields.insert("segments".into(), segment_names.collect());
    }
    Ok(Report::new(text, json))
}

fn find(repository: &Repository, wanted: Option<&str>) -> Result<CheckpointName> {
    let Some(wanted) = wanted else { return select::newest(repository).map(|(name, _)| name) };
    let names = repository.checkpoints()?;
    let fits =
        |name: &&CheckpointName| name.object() == wanted || name.run.to_string() == wanted || name.checkpoint_op.to_string() == wanted;
    let found: Vec<&CheckpointName> = names.iter().filter(fits).collect();
    match found[..] {
        [name] => Ok(*name),
        [] => Err(Error::input(format!("{}: there is no backup {wanted:?}; `amber list` shows what there is", repository.describe()))),
        _ => Err(Error::input(format!("{} backups fit {wanted:?}: name one by its run, as `amber list` prints it", found.len()))),
    }
}
