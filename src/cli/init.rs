//! `amber init`: a new repository.

use super::output::{Report, facts};
use super::repository::{PlaceArguments, SecretArguments};
use crate::error::Result;
use crate::repository::Repository;
use crate::units::{now_ns, time_text};
use clap::Args;
use serde_json::json;

const AFTER_HELP: &str = "\
The passphrase is stretched with Argon2id and wraps a random repository key. Without it nobody can read the backups, and nobody can help: keep
a copy where it survives the machine. An existing repository is never touched.

  amber init --repo s3://backups/ledger --passphrase-file pass
  amber init --repo /backup/ledger --key-file ledger.key";

/// Arguments of `amber init`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct InitArguments {
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    secret: SecretArguments,
}

/// Makes the repository.
pub fn run(arguments: &InitArguments) -> Result<Report> {
    let secret = arguments.secret.secret()?;
    let store = arguments.place.store()?;
    let header = Repository::init(&store, &secret, now_ns())?;
    let id = u128::from_be_bytes(header.repository_id);
    let place = store.describe();
    let conditional = store.capabilities().conditional_put;
    let mut rows = vec![("repository", place.clone()), ("id", format!("{id:032x}")), ("created", time_text(header.created_ns))];
    if !conditional {
        rows.push(("note", "this store has no conditional put: let only one writer at a time use the repository".into()));
    }
    let json = json!({ "repository": place, "id": format!("{id:032x}"), "created_ns": header.created_ns, "conditional_put": conditional });
    Ok(Report::new(facts(&rows), json))
}
