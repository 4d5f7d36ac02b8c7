//! `amber list`: the backups in a repository.

use super::backup::summary_json;
use super::output::{Report, table};
use super::repository::RepositoryArguments;
use crate::error::{Kind, Result};
use crate::repository::Options;
use crate::repository::manifest::Manifest;
use crate::units::{bytes_text, time_text};
use clap::Args;
use serde_json::{Value, json};

/// Arguments of `amber list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    repository: RepositoryArguments,
}

/// Lists the backups, oldest first.
pub fn run(arguments: &ListArguments) -> Result<Report> {
    let repository = arguments.repository.open(Options::default())?;
    let (mut rows, mut backups) = (Vec::new(), Vec::new());
    let mut failure = None;
    for name in repository.backups()? {
        let summary = match Manifest::read_summary(&repository, &name) {
            Ok(summary) => summary,
            Err(error) if error.kind == Kind::Damaged => {
                let damaged = vec![
                    name.checkpoint_op.to_string(),
                    "damaged or lost".into(),
                    "-".into(),
                    name.replica.to_string(),
                    name.timeline.to_string(),
                ];
                rows.push([damaged, vec!["-".into(), "-".into(), name.run.to_string()]].concat());
                backups.push(json!({ "name": name.object(), "error": error.message }));
                failure.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        rows.push(vec![
            summary.checkpoint_op.to_string(),
            format!("{}..{}", summary.first_restorable_op, summary.recovered_to_op),
            time_text(summary.recovered_to_timestamp_ns),
            summary.replica.to_string(),
            summary.timeline.to_string(),
            summary.blocks.to_string(),
            bytes_text(summary.bytes_stored),
            name.run.to_string(),
        ]);
        let mut backup = summary_json(&summary);
        if let Value::Object(fields) = &mut backup {
            fields.insert("name".into(), json!(name.object()));
        }
        backups.push(backup);
    }
    let cluster = repository.cluster()?.map(|cluster| cluster.to_string());
    let text = if rows.is_empty() {
        format!("{}: no backups yet", repository.describe())
    } else {
        let header = ["checkpoint", "restorable ops", "recovered to", "replica", "timeline", "blocks", "stored", "run"];
        let of = cluster.as_deref().map(|cluster| format!(" of cluster {cluster}")).unwrap_or_default();
        format!("{} backups{of} in {}\n\n{}", rows.len(), repository.describe(), table(&header, &rows))
    };
    let report = Report::new(text, json!({ "repository": repository.describe(), "cluster": cluster, "backups": backups }));
    Ok(Report { failure, ..report })
}
