//! `amber events`: reads the trail of backups in a ledger and compares it with the repository and
//! the agent's catalog.
//!
//! Flow: first the events that the catalog's rows and the repository's records expect ([`Sides`]),
//! then what waits in the outbox of this machine's agent, then every event of the ledger. In this
//! order an event that an agent delivers meanwhile is seen on one side or the other. If there are
//! differences, everything is compared a second time, and only those found both times are reported.

use super::output::{Report, facts, table};
use super::repository::{PlaceArguments, SecretArguments};
use crate::catalog::backups::BackupRows;
use crate::catalog::folder::{Folder, STATE_FOLDER};
use crate::catalog::ledger_check::Sides;
use crate::catalog::reader::Reader;
use crate::config::AgentConfig;
use crate::config::events::check_addresses;
use crate::error::{Error, Result};
use crate::ledger_events::client::{Ledger, LedgerAddress};
use crate::ledger_events::event::Accounts;
use crate::ledger_events::packing::Packed;
use crate::ledger_events::trail::{Booked, Difference, DifferenceKind, Expected, Side, waits_in};
use crate::ledger_events::{Delivered, EventLedger};
use crate::repository::{Options, Repository};
use crate::runs::outbox;
use crate::runs::recorder::OUTBOX;
use crate::units::{bytes_text, time_text};
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const AFTER_HELP: &str = "\
An agent whose configuration has [events] tells a TigerBeetle ledger of every backup: a transfer of code 12 when it begins and one when it has ended. A
ledger's transfers cannot be changed or removed, so whatever differs was altered in the repository or in the catalog, or booked by somebody else:

  missing     the repository has a record or the catalog a row, the ledger no event
  altered     the event says something else than the record or the row (amount, times, flags and so on)
  doubled     an event once more, under another id
  unknown     an event that no record leads to: the record was removed, or the event is forged
  unreadable  a record is damaged, or a record or row says what no event can

Exit code 4 when anything differs. What waits in the outbox of the agent (--config) is not missing; what waits in another agent's is. --post delivers what is missing, from the records: backups
of the command line, for example, which an agent otherwise delivers within an hour. The catalog is that of the agent, or --catalog; runs that it does not have yet are counted, and no difference:
`amber catalog rebuild` brings them and says what was otherwise.

  amber events --config /etc/amber/amber.toml
  amber events --config /etc/amber/amber.toml --post
  amber events --repo /backup/ledger --addresses 127.0.0.1:3000 --ledger 700 --system-account 1 --all-tenants-account 2";

/// Arguments of `amber events`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, mut_arg("repo", |argument| argument.required(false)))]
pub struct EventsArguments {
    /// The agent's configuration: repository, secret, ledger and outbox.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of a catalog to compare, too; that of the agent otherwise.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Deliver the events that are missing.
    #[arg(long)]
    post: bool,
    /// How many of the newest events are printed.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    last: usize,
    #[command(flatten)]
    ledger: LedgerArguments,
    #[command(flatten)]
    place: Option<PlaceArguments>,
    #[command(flatten)]
    secret: SecretArguments,
}

/// Which ledger, where there is no configuration.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ledger, without --config")]
struct LedgerArguments {
    /// The cluster's replicas, with commas; numbers only.
    #[arg(long, value_name = "ADDRESSES", conflicts_with = "config", requires = "ledger")]
    addresses: Option<String>,
    /// The cluster's id; that of the repository otherwise.
    #[arg(long, value_name = "ID", conflicts_with = "config")]
    cluster: Option<u128>,
    /// The ledger.
    #[arg(long, value_name = "NUMBER", conflicts_with = "config", requires = "system_account", value_parser = clap::value_parser!(u32).range(1..))]
    ledger: Option<u32>,
    /// The account that is debited with every event.
    #[arg(long, value_name = "ID", conflicts_with = "config", requires = "all_tenants_account")]
    system_account: Option<u128>,
    /// The account that is credited with what belongs to no tenant.
    #[arg(long, value_name = "ID", conflicts_with = "config", requires = "addresses")]
    all_tenants_account: Option<u128>,
    /// How long an answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with = "config", default_value_t = 10)]
    timeout_s: u64,
}

/// What the arguments name.
struct Opened {
    repository: Arc<Repository>,
    ledger: Ledger,
    /// The outbox of this machine's agent.
    outbox: Option<PathBuf>,
    /// The folder of the catalog.
    catalog: Option<PathBuf>,
}

/// The result of one comparison.
struct Look {
    sides: Sides,
    differences: Vec<Difference>,
    events: u64,
    waiting: u64,
    newest: VecDeque<Booked>,
}

/// Reads the trail, and with `--post` delivers the missing events.
pub fn run(arguments: &EventsArguments) -> Result<Report> {
    let mut opened = open(arguments)?;
    let mut look = opened.look(arguments.last)?;
    if !look.differences.is_empty() {
        let again = opened.look(arguments.last)?;
        let before: BTreeSet<Difference> = look.differences.drain(..).collect();
        look = Look { differences: again.differences.into_iter().filter(|one| before.contains(one)).collect(), ..again };
    }
    let posted = if arguments.post { opened.post(&mut look)? } else { 0 };
    Ok(report(&opened, &look, posted))
}

fn open(arguments: &EventsArguments) -> Result<Opened> {
    let (repository, events, state_directory) = match (&arguments.config, &arguments.place) {
        (Some(config), _) => {
            let plan = AgentConfig::load(config)?;
            let off = || Error::input(format!("{}: [events] is off: write addresses, ledger and accounts there", config.display()));
            let events = plan.events.clone().ok_or_else(off)?;
            let place = (events.addresses, events.cluster, events.accounts, events.answer_timeout);
            (plan.open_repository()?, place, Some(plan.state_directory.clone()))
        }
        (None, Some(place)) => {
            let events = arguments.ledger.place()?;
            (Repository::open(place.store()?, &arguments.secret.secret()?, Options::default())?, events, None)
        }
        (None, None) => return Err(Error::input("give --config FILE, or --repo URL with --addresses and the rest of the ledger")),
    };
    let (addresses, cluster, accounts, answer_timeout) = events;
    let unbound = || {
        Error::input(format!("{}: no backup was made yet, so it belongs to no cluster: say which has the ledger", repository.describe()))
    };
    let cluster = match cluster {
        Some(cluster) => cluster,
        None => repository.cluster()?.ok_or_else(unbound)?,
    };
    let ledger = Ledger::new(LedgerAddress { cluster, addresses, accounts, answer_timeout });
    let outbox = state_directory.as_ref().map(|directory| directory.join(OUTBOX));
    // An agent that has never run has no catalog yet.
    let kept = state_directory
        .map(|directory| directory.join(STATE_FOLDER))
        .filter(|folder| Folder::new(folder, crate::host::Clock::SYSTEM).catalog().exists());
    Ok(Opened { repository, ledger, outbox, catalog: arguments.catalog.clone().or(kept) })
}

impl LedgerArguments {
    fn place(&self) -> Result<(String, Option<u128>, Accounts, Duration)> {
        let (Some(addresses), Some(ledger), Some(system), Some(all_tenants)) =
            (&self.addresses, self.ledger, self.system_account, self.all_tenants_account)
        else {
            return Err(Error::input("which ledger? Give --addresses, --ledger, --system-account and --all-tenants-account, or --config"));
        };
        check_addresses(addresses).map_err(|advice| Error::input(format!("--addresses: {advice}")))?;
        if [system, all_tenants].iter().any(|account| [0, u128::MAX].contains(account)) || system == all_tenants {
            return Err(Error::input("--system-account and --all-tenants-account must be two numbers, neither of them 0 or 2^128 - 1"));
        }
        Ok((
            addresses.clone(),
            self.cluster,
            Accounts { ledger, system, all_tenants, tenants: std::collections::BTreeMap::new() },
            Duration::from_secs(self.timeout_s),
        ))
    }
}

impl Opened {
    fn look(&mut self, last: usize) -> Result<Look> {
        let rows = self.catalog.as_deref().map(|folder| self.rows(folder)).transpose()?;
        let sides = Sides::new(&self.repository, rows, self.ledger.place().accounts.clone())?;
        let waits = self.outbox.as_deref().map(outbox::peek).transpose()?.unwrap_or_default();
        let (mut check, mut newest) = (sides.check(), VecDeque::new());
        self.ledger.read(&mut |booked| {
            check.see(&booked);
            newest.push_back(booked);
            if newest.len() > last {
                newest.pop_front();
            }
        })?;
        let events = check.events();
        let (differences, waiting) = check.finish(|expected| waits_in(&waits, expected));
        Ok(Look { sides, differences, events, waiting, newest })
    }

    /// The catalog's rows of backups.
    fn rows(&self, folder: &Path) -> Result<BackupRows> {
        let reader = Reader::open(folder)?;
        let (its, ours) = (reader.about()?.repository_id, Uuid::from_bytes(self.repository.header().repository_id));
        if its != ours {
            let path = reader.path();
            return Err(Error::input(format!("{}: the catalog of repository {its}, while this one is {ours}", path.display())));
        }
        reader.backups()
    }

    /// Delivers the missing events, the oldest first. A delivered event is no longer a difference.
    fn post(&mut self, look: &mut Look) -> Result<u64> {
        let missing = look.differences.iter().filter(|difference| difference.kind == DifferenceKind::Missing);
        let mut missing: Vec<Expected> = missing.filter_map(|difference| look.sides.repository.expected(difference.id)).cloned().collect();
        missing.sort_by(|one, other| (&one.backup, one.status).cmp(&(&other.backup, other.status)));
        let mut posted = 0;
        for expected in missing {
            let (began, timeout) = (Instant::now(), self.ledger.place().answer_timeout);
            match self.ledger.deliver(&expected.event, &|| began.elapsed() >= timeout) {
                Delivered::Yes => {
                    posted += 1;
                    look.differences.retain(|difference| difference.id != expected.event.id);
                }
                Delivered::Refused(reason) => {
                    let refused = look.differences.iter_mut().filter(|difference| difference.id == expected.event.id);
                    refused.for_each(|difference| difference.what.push_str(&format!("; {reason}")));
                }
                Delivered::NotNow(error) => return Err(error),
                Delivered::GaveUp => {
                    let (place, seconds) = (self.ledger.describe(), timeout.as_secs());
                    return Err(Error::try_again(format!(
                        "the {place} did not answer within {seconds} s; {posted} events were delivered before"
                    )));
                }
            }
        }
        Ok(posted)
    }
}

fn report(opened: &Opened, look: &Look, posted: u64) -> Report {
    let (repository, ledger) = (opened.repository.describe(), opened.ledger.describe());
    let mut text = facts(&[
        ("ledger", ledger.clone()),
        ("repository", repository.clone()),
        ("events", format!("{} in the ledger, {} by the records", look.events, look.sides.repository.len())),
        ("catalog", catalog_text(opened, look)),
        ("waiting", format!("{} in the outbox of the agent", look.waiting)),
        ("delivered", format!("{posted} now")),
        ("differences", look.differences.len().to_string()),
    ]);
    for difference in &look.differences {
        text.push_str(&format!("  {}: {}: {}\n", difference.kind.text(), difference.subject, difference.what));
    }
    if !look.newest.is_empty() {
        let rows: Vec<Vec<String>> = look.newest.iter().map(|booked| row(&look.sides.repository, booked)).collect();
        text.push_str(&format!("\n{}", table(&["booked", "type", "scope", "status", "amount", "account", "run"], &rows)));
    }
    let differences: Vec<Value> = look.differences.iter().map(difference_json).collect();
    let newest: Vec<Value> = look.newest.iter().map(|booked| booked_json(&look.sides.repository, booked)).collect();
    let json = json!({
        "repository": repository,
        "ledger": ledger,
        "ok": differences.is_empty(),
        "events": look.events,
        "expected": look.sides.repository.len(),
        "catalog": look.sides.catalog.as_ref().map(|side| json!({ "events": side.len(), "behind": look.sides.behind() })),
        "waiting": look.waiting,
        "posted": posted,
        "differences": differences,
        "newest": newest,
    });
    let count = look.differences.len();
    let failure = (count > 0).then(|| Error::damaged(format!("{count} differences between the {ledger} and {repository}: see above")));
    Report { failure, ..Report::new(text, json) }
}

fn catalog_text(opened: &Opened, look: &Look) -> String {
    let (Some(folder), Some(side)) = (&opened.catalog, &look.sides.catalog) else { return "none, so not compared".to_owned() };
    let behind = look.sides.behind();
    let mut text = format!("{} events by its rows, in {}", side.len(), folder.display());
    if let Some(first) = behind.first() {
        text.push_str(&format!("; {} runs are not in it yet, {first} the first: `amber catalog rebuild` brings them", behind.len()));
    }
    text
}

fn row(side: &Side, booked: &Booked) -> Vec<String> {
    let event = &booked.event;
    let (backup_type, scope, status) = match Packed::unpack(event.packed) {
        Ok(packed) => (packed.work.text(), packed.scope.text(), packed.status.text()),
        Err(_) => ("?", "?", "?"),
    };
    let amount = u64::try_from(event.amount).map_or_else(|_| event.amount.to_string(), bytes_text);
    let run = side.expected(event.id).map_or_else(|| "-".to_owned(), |expected| expected.backup.clone());
    let words = [backup_type, scope, status].map(str::to_owned);
    [vec![time_text(booked.timestamp_ns)], words.to_vec(), vec![amount, event.credit_account.to_string(), run]].concat()
}

fn difference_json(difference: &Difference) -> Value {
    let id = (difference.id != 0).then(|| format!("{:032x}", difference.id));
    json!({ "kind": difference.kind.text(), "id": id, "subject": difference.subject, "what": difference.what })
}

/// Numbers of 128 bits are text: decimal, the way TigerBeetle's own tools print them.
fn booked_json(side: &Side, booked: &Booked) -> Value {
    let event = &booked.event;
    let facts = Packed::unpack(event.packed).ok().map(|packed| {
        json!({
            "backup_type": packed.work.text(),
            "scope": packed.scope.text(),
            "compression": packed.compression.text(),
            "encryption": packed.encryption.text(),
            "status": packed.status.text(),
            "retention_days": packed.retention_days,
        })
    });
    json!({
        "id": event.id.to_string(),
        "run": side.expected(event.id).map(|expected| &expected.backup),
        "timestamp_ns": booked.timestamp_ns,
        "started_s": event.started_s,
        "amount": event.amount.to_string(),
        "debit_account": event.debit_account.to_string(),
        "credit_account": event.credit_account.to_string(),
        "user_data_128": event.packed.to_string(),
        "facts": facts,
    })
}
