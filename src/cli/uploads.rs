//! `amber uploads`: multipart uploads that were begun and never finished. They take up space, and
//! no listing of objects shows them.
//!
//! Only uploads of objects of this repository are considered: below its prefix, and with names that
//! Amber gives. Nothing is aborted unless that is asked for. An upload that may still be in
//! progress (younger than `--older-than`) is left alone.

use super::output::{Report, table};
use super::repository::PlaceArguments;
use crate::error::{Error, Result};
use crate::repository::name;
use crate::store::{Store, Unfinished};
use crate::units::{bytes_text, now_ns, time_text};
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

const AFTER_HELP: &str = "\
A backup that is interrupted leaves the parts of the objects that it was sending; the next run goes on with them. What no run will
resume is aborted here, or by a lifecycle rule of the bucket (AbortIncompleteMultipartUpload).

  amber uploads --repo s3://backups/ledger
  amber uploads --repo s3://backups/ledger --older-than 3d --abort";

const HEADER: [&str; 5] = ["object", "begun", "age", "bytes", "upload"];

/// Arguments of `amber uploads`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct UploadsArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// Only uploads begun longer ago than this: a number with s, m, h or d. Those of unknown age
    /// are left out.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_age)]
    older_than: Duration,
    /// Give them back; otherwise they are only listed.
    #[arg(long)]
    abort: bool,
}

/// Lists unfinished uploads, and aborts them if asked to.
pub fn run(arguments: &UploadsArguments) -> Result<Report> {
    let store = arguments.place.store()?;
    if store.size_bytes(name::HEADER)?.is_none() {
        return Err(Error::input(format!("{}: there is no repository, so no upload here is Amber's", store.describe())));
    }
    let now_ns = now_ns();
    let least_ns = u64::try_from(arguments.older_than.as_nanos()).unwrap_or(u64::MAX);
    let mut found = Vec::new();
    for prefix in crate::tier::top_prefixes() {
        found.extend(store.unfinished(&prefix)?);
    }
    let in_all = found.len();
    found.retain(|upload| age_ns(upload, now_ns).is_some_and(|age_ns| age_ns >= least_ns));
    let failure = if arguments.abort { abort_all(&*store, &found) } else { None };
    let text = text(&*store, arguments, &found, in_all, now_ns);
    let uploads: Vec<Value> = found.iter().map(|upload| upload_json(upload, now_ns)).collect();
    let json = json!({
        "repository": store.describe(),
        "older_than_s": arguments.older_than.as_secs(),
        "aborted": arguments.abort && failure.is_none(),
        "younger": in_all - found.len(),
        "uploads": uploads,
    });
    Ok(Report { failure, ..Report::new(text, json) })
}

/// Aborts all uploads. Returns the first error, but tries all the others too.
fn abort_all(store: &dyn Store, uploads: &[Unfinished]) -> Option<Error> {
    let outcomes: Vec<_> = uploads.iter().map(|upload| store.abort_upload(&upload.name, &upload.upload_id)).collect();
    outcomes.into_iter().find_map(|outcome| outcome.err().map(Error::from))
}

fn age_ns(upload: &Unfinished, now_ns: u64) -> Option<u64> {
    upload.began_ns.map(|began_ns| now_ns.saturating_sub(began_ns))
}

fn text(store: &dyn Store, arguments: &UploadsArguments, found: &[Unfinished], in_all: usize, now_ns: u64) -> String {
    let older = age_text(u64::try_from(arguments.older_than.as_nanos()).unwrap_or(u64::MAX));
    let younger = in_all - found.len();
    let head = format!("{} unfinished uploads older than {older} in {}, {younger} younger", found.len(), store.describe());
    if found.is_empty() {
        return head;
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|upload| {
            vec![
                upload.name.clone(),
                upload.began_ns.map_or_else(|| "-".into(), time_text),
                age_ns(upload, now_ns).map_or_else(|| "-".into(), age_text),
                upload.size_bytes.map_or_else(|| "-".into(), bytes_text),
                upload.upload_id.clone(),
            ]
        })
        .collect();
    let done = if arguments.abort { "aborted" } else { "nothing was changed; --abort aborts them" };
    format!("{head}\n\n{}\n{done}", table(&HEADER, &rows))
}

fn upload_json(upload: &Unfinished, now_ns: u64) -> Value {
    json!({
        "name": upload.name,
        "upload_id": upload.upload_id,
        "began_ns": upload.began_ns,
        "age_s": age_ns(upload, now_ns).map(|age_ns| age_ns / 1_000_000_000),
        "bytes": upload.size_bytes,
    })
}

fn age_text(age_ns: u64) -> String {
    let seconds = age_ns / 1_000_000_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Reads `24h`, `3d`, `90m`, `0s`.
pub(super) fn parse_age(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || "write a number with s, m, h or d, for example 24h".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_told() {
        assert_eq!(parse_age("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_age("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_age("3d"), Ok(Duration::from_secs(259_200)));
        for bad in ["", "h", "24", "-1h", "1.5h", "24x", "1\u{e4}", "99999999999999999999d", "18446744073709551615d"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
        let reported = [0, 119, 120, 7199, 7200, 172_799, 172_800].map(|seconds: u64| age_text(seconds * 1_000_000_000));
        assert_eq!(reported, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days"]);
    }
}
