//! `amber catalog`: queries the catalog, shows what it is, rebuilds it from the repository.

use super::Manner;
use super::catalog_place::CatalogArguments;
use super::output::{Report, facts, table};
use crate::catalog::reader::{Answer, ROWS_MAX};
use crate::catalog::rebuild::{Change, Difference, Rebuilt, rebuild};
use crate::catalog::schema;
use crate::error::Result;
use crate::monitor::progress::for_people;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// How many differences the text lists; JSON has all.
const DIFFERENCES_SHOWN_MAX: usize = 20;

const QUERY_HELP: &str = "\
The tables are backup_metadata, kms_key_backups, verification_runs, recovery_drills and retention_runs, the view `runs` has what ran of all
kinds; docs/catalog.md tells every column. Times are UTC. The SQL is DuckDB's; it can read these tables and nothing else, and change nothing. An
agent may be running.

  amber catalog query --config /etc/amber/amber.toml \"SHOW TABLES\"
  amber catalog query --repo s3://backups/ledger \"SELECT backup_type, count(*), sum(backup_size_bytes) FROM backup_metadata GROUP BY ALL\"
  amber catalog query --json \"SELECT * FROM runs WHERE status = 'failed' AND start_time > now() - INTERVAL 7 DAYS\"";

const REBUILD_HELP: &str = "\
The catalog is a cache. Everything in it is made again from the repository: the records of runs, and the backups whose runs left none. The old
catalog is compared first, and what differs is reported; then it is replaced. An agent may be running: what it writes down meanwhile stays.

  amber catalog rebuild --config /etc/amber/amber.toml
  amber catalog rebuild --repo s3://backups/ledger --catalog /var/lib/amber/catalog";

const SHOW_HELP: &str = "\
  amber catalog show --config /etc/amber/amber.toml
  amber catalog show --repo s3://backups/ledger";

/// What to do with the catalog.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Ask the catalog with SQL.
    Query(QueryArguments),
    /// Show what the catalog is: its repository, its schema, its tables.
    Show(ShowArguments),
    /// Make the catalog again from the repository alone, and tell what differed.
    Rebuild(RebuildArguments),
}

/// Arguments of `amber catalog query`.
#[derive(Debug, Args)]
#[command(after_help = QUERY_HELP)]
pub struct QueryArguments {
    #[command(flatten)]
    catalog: CatalogArguments,
    /// One SELECT.
    sql: String,
}

/// Arguments of `amber catalog show`.
#[derive(Debug, Args)]
#[command(after_help = SHOW_HELP)]
pub struct ShowArguments {
    #[command(flatten)]
    catalog: CatalogArguments,
}

/// Arguments of `amber catalog rebuild`.
#[derive(Debug, Args)]
#[command(after_help = REBUILD_HELP)]
pub struct RebuildArguments {
    #[command(flatten)]
    catalog: CatalogArguments,
}

/// Runs the subcommand.
pub fn run(command: &CatalogCommand, manner: Manner) -> Result<Report> {
    match command {
        CatalogCommand::Query(arguments) => {
            let answer = arguments.catalog.reader(manner)?.query(&arguments.sql)?;
            Ok(Report::new(answer_text(&answer), answer.json()))
        }
        CatalogCommand::Show(arguments) => show(arguments, manner),
        CatalogCommand::Rebuild(arguments) => {
            let catalog = arguments.catalog.catalog()?;
            let rebuilt = rebuild(&catalog, &*for_people(manner.quiet))?;
            Ok(rebuilt_report(&catalog.folder().catalog().display().to_string(), &rebuilt))
        }
    }
}

fn answer_text(answer: &Answer) -> String {
    let header: Vec<&str> = answer.columns.iter().map(|column| column.name.as_str()).collect();
    let cells = |row: &Vec<Option<String>>| row.iter().map(|text| text.as_deref().unwrap_or("-").replace('\n', " ")).collect();
    let rows: Vec<Vec<String>> = answer.rows.iter().map(cells).collect();
    let cut = if answer.is_cut { format!("\nonly the first {ROWS_MAX} rows: add a LIMIT or a WHERE") } else { String::new() };
    format!("{}\n{} rows{cut}", table(&header, &rows), rows.len())
}

fn show(arguments: &ShowArguments, manner: Manner) -> Result<Report> {
    let reader = arguments.catalog.reader(manner)?;
    let about = reader.about()?;
    let path = reader.path().display().to_string();
    let complete = if about.is_complete { "yes" } else { "no: `amber catalog rebuild` brings what is missing" };
    let mut rows = vec![
        ("catalog", path.clone()),
        ("repository", about.repository_id.to_string()),
        ("schema", format!("version {} of {}", about.version, schema::VERSION)),
        ("complete", complete.to_owned()),
    ];
    rows.extend(about.rows.iter().map(|(table, count)| (*table, format!("{count} rows"))));
    let tables: serde_json::Map<String, Value> = about.rows.iter().map(|(table, count)| ((*table).to_owned(), json!(count))).collect();
    let json = json!({
        "catalog": path,
        "repository_id": about.repository_id.to_string(),
        "schema_version": about.version,
        "is_complete": about.is_complete,
        "rows": tables,
    });
    Ok(Report::new(facts(&rows), json))
}

fn rebuilt_report(path: &str, rebuilt: &Rebuilt) -> Report {
    let differences = rebuilt.differences.as_deref();
    let compared = match differences {
        None => "with nothing: there was no catalog that could be compared".to_owned(),
        Some([]) => "the old catalog said the same".to_owned(),
        Some(differences) => format!("{} rows differ", differences.len()),
    };
    let mut rows = vec![("catalog", path.to_owned())];
    rows.extend(rebuilt.rows.iter().map(|(table, count)| (*table, format!("{count} rows"))));
    rows.push(("compared", compared));
    let mut text = facts(&rows);
    for difference in differences.unwrap_or_default().iter().take(DIFFERENCES_SHOWN_MAX) {
        text.push_str(&format!("  {}\n", difference_text(difference)));
    }
    let more = differences.unwrap_or_default().len().saturating_sub(DIFFERENCES_SHOWN_MAX);
    if more > 0 {
        text.push_str(&format!("  and {more} more; --json has all\n"));
    }
    if rebuilt.kept > 0 {
        text.push_str(&format!("note: {} rows of runs that began or ended meanwhile stay as they were\n", rebuilt.kept));
    }
    rebuilt.notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
    let json = json!({
        "catalog": path,
        "rows": rebuilt.rows,
        "compared": differences.is_some(),
        "same": differences.map(<[Difference]>::is_empty),
        "differences": differences.unwrap_or_default().iter().map(difference_json).collect::<Vec<_>>(),
        "kept": rebuilt.kept,
        "notes": rebuilt.notes,
    });
    Report::new(text, json)
}

fn difference_text(difference: &Difference) -> String {
    let what = match &difference.change {
        Change::Missing => "the old catalog did not have it".to_owned(),
        Change::Extra => "the repository does not know it; it is gone now".to_owned(),
        Change::Fields(fields) => {
            let quoted = |text: &Option<String>| text.as_ref().map_or("nothing".to_owned(), |text| format!("{text:?}"));
            let reported: Vec<String> =
                fields.iter().map(|field| format!("{} was {}, is {}", field.name, quoted(&field.was), quoted(&field.is))).collect();
            reported.join("; ")
        }
    };
    format!("{}, run {} ({}): {what}", difference.table, difference.run, difference.id)
}

fn difference_json(difference: &Difference) -> Value {
    let (kind, fields) = match &difference.change {
        Change::Missing => ("missing", Vec::new()),
        Change::Extra => ("extra", Vec::new()),
        Change::Fields(fields) => {
            let fields = fields.iter().map(|field| json!({ "name": field.name, "was": field.was, "is": field.is }));
            ("changed", fields.collect())
        }
    };
    json!({ "table": difference.table, "id": difference.id, "run": difference.run, "kind": kind, "fields": fields })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::rebuild::Field;

    #[test]
    fn what_differed_is_told_by_field() {
        let difference =
            |id: &str, change| Difference { table: "backup_metadata", id: id.to_owned(), run: "00000000000000ab".to_owned(), change };
        let status = Field { name: "status", was: Some("started".to_owned()), is: Some("completed".to_owned()) };
        let end = Field { name: "end_time", was: None, is: Some("2026-11-21 10:00:00".to_owned()) };
        let differences =
            vec![difference("1", Change::Missing), difference("2", Change::Extra), difference("3", Change::Fields(vec![status, end]))];
        let rebuilt =
            Rebuilt { rows: [("backup_metadata", 7)].into(), differences: Some(differences), kept: 1, notes: vec!["x is damaged".into()] };
        let report = rebuilt_report("/c/catalog.duckdb", &rebuilt);
        for part in [
            "backup_metadata  7 rows",
            "3 rows differ",
            "run 00000000000000ab (1): the old catalog did not have it",
            "(2): the repository does not know it",
            "(3): status was \"started\", is \"completed\"; end_time was nothing, is \"2026-11-21 10:00:00\"",
            "note: 1 rows of runs",
            "note: x is damaged",
        ] {
            assert!(report.text.contains(part), "{part}: {}", report.text);
        }
        assert_eq!((&report.json["same"], &report.json["differences"][2]["fields"][0]["was"]), (&json!(false), &json!("started")));
        let same = rebuilt_report("c", &Rebuilt { differences: Some(Vec::new()), ..Rebuilt::default() });
        assert!(same.text.contains("said the same") && same.json["same"] == true);
        let alone = rebuilt_report("c", &Rebuilt::default());
        assert!(alone.text.contains("nothing") && alone.json["same"].is_null() && alone.json["compared"] == false);
    }

    #[test]
    fn many_differences_are_counted() {
        let one = Difference { table: "backup_metadata", id: "1".into(), run: "2".into(), change: Change::Missing };
        let rebuilt = Rebuilt { differences: Some(vec![one; 25]), ..Rebuilt::default() };
        let report = rebuilt_report("c", &rebuilt);
        assert!(report.text.contains("and 5 more"), "{}", report.text);
        assert_eq!(report.json["differences"].as_array().map(Vec::len), Some(25));
    }
}
