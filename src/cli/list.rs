//! `amber list`: the backups in a repository, tier by tier, and what else each tier has to say.

use super::catalog_place::CatalogArguments;
use super::list_catalog;
use super::output::{Report, table};
use crate::error::Result;
use crate::repository::Repository;
use crate::tier::facts::{Listing, Section};
use crate::tier::tiers;
use clap::Args;
use serde_json::{Map, Value, json};

const AFTER_HELP: &str = "\
With --config or --catalog the catalog is read and the store is not asked: the backups as the catalog knew them when it was brought up to date last, also \
while the agent runs or the store is away. It says nothing of timelines, gaps and the log. Otherwise the repository itself says what it has.

  amber list --repo s3://backups/ledger
  amber list --config /etc/amber/amber.toml";

/// Arguments of `amber list`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ListArguments {
    #[command(flatten)]
    place: CatalogArguments,
}

/// Lists the backups, oldest first.
pub fn run(arguments: &ListArguments) -> Result<Report> {
    match arguments.place.named()? {
        Some(reader) => list_catalog::list(&reader),
        None => list(&*arguments.place.repository()?),
    }
}

/// The backups of a repository.
fn list(repository: &Repository) -> Result<Report> {
    let listings = tiers().iter().map(|tier| tier.list(repository)).collect::<Result<Vec<Listing>>>()?;
    let place = repository.describe();
    let shown: Vec<&Listing> = listings.iter().filter(|listing| !listing.sections.is_empty()).collect();
    let text = if shown.is_empty() {
        format!("{place}: no backups yet")
    } else {
        let counts: Vec<String> = shown.iter().map(|listing| format!("{} {}", listing.backups, listing.title)).collect();
        let tables: Vec<String> = shown.iter().map(|listing| sections_text(&listing.sections)).collect();
        format!("{} in {place}\n\n{}", counts.join(", "), tables.join("\n"))
    };
    let mut json = Map::from_iter([("repository".to_owned(), json!(place))]);
    let mut failure = None;
    for listing in listings {
        json.extend(listing.json.into_iter().map(|(member, value)| (member.to_owned(), value)));
        failure = failure.or(listing.failure);
    }
    Ok(Report { failure, ..Report::new(text, Value::Object(json)) })
}

/// Parts with titles are set apart from one another, and those below others are indented.
fn sections_text(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        let indent = "  ".repeat(section.depth);
        let rows = if section.rows.is_empty() { String::new() } else { table(&section.headings, &section.rows) };
        let body = rows.lines().chain(section.lines.iter().map(String::as_str));
        match &section.title {
            Some(title) => {
                text.push_str(&format!("{indent}{title}\n"));
                body.for_each(|line| text.push_str(&format!("{indent}  {line}\n")));
                text.push('\n');
            }
            None => {
                text.push_str(&rows);
                if !rows.is_empty() && !section.lines.is_empty() {
                    text.push('\n');
                }
                section.lines.iter().for_each(|line| text.push_str(&format!("{indent}{line}\n")));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
