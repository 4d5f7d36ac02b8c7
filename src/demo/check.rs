//! The books of a restored ledger, checked against what the load wrote.
//!
//! A restore to op T promises every transfer up to T and none after it. For a load this means
//! something exact. Every client sends its requests one after the other, so the restored ledger
//! must hold, for each client, a prefix of its requests:
//!
//! 1. the prefix ends with a complete request: all transfers of the last request are there, and no
//!    transfer of the next one is;
//! 2. it reaches at least as far as what was acknowledged before the backup began;
//! 3. it ends where T says: in the original ledger the last request is stamped at or before T's
//!    prepare, and the next one after it;
//! 4. the newest transfer has the timestamp of T's prepare, if T created transfers (an event's
//!    timestamp is the prepare's, counted back from the last);
//! 5. every account's balance is the sum of exactly those prefixes.
//!
//! [`check_every_transfer`] then reads the transfers one by one. Any mismatch is [`Error::damaged`]
//! and names the client or the account.

use super::plan::LoadPlan;
use crate::error::{Error, Result};
use crate::ledger_events::objects::{Transfer, TransferQuery};
use crate::ledger_events::session::{EVENTS_PER_REQUEST_MAX, Session};
use std::time::{Duration, Instant};

/// What a restored ledger must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What the load wrote.
    pub plan: LoadPlan,
    /// How many requests of each client were acknowledged before the backup began; none of them may
    /// be missing.
    pub acknowledged: Vec<u64>,
    /// The timestamp of the prepare to which the ledger was restored.
    pub recovered_to_ns: u64,
    /// Whether that prepare created transfers of this load. Then the newest transfer must have
    /// exactly its timestamp.
    pub ends_with_transfers: bool,
    /// The addresses of the original cluster, if it still runs. Then the end of every prefix is
    /// checked on both sides.
    pub original: Option<String>,
    /// How long the whole check may take.
    pub timeout: Duration,
}

/// What the check found of a load in a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    /// Complete requests of each client: a prefix of what it sent.
    pub requests: Vec<u64>,
    /// All transfers in them.
    pub transfers: u64,
    /// Accounts that exist.
    pub accounts: u32,
    /// The sum of what all accounts have paid.
    pub debits: u128,
    /// The sum of what all accounts have received; it equals `debits`.
    pub credits: u128,
    /// When the newest transfer was stamped; `None` if there is none.
    pub newest_timestamp_ns: Option<u64>,
}

/// Checks the ledger that the cluster at `addresses` serves. The check makes some requests, so the
/// cluster's op advances a little.
///
/// # Errors
/// [`Error::damaged`] when the books are not as expected; [`Error::try_again`] when an answer does
/// not come in time; [`Error::input`] when the expectation contradicts itself.
pub fn check_books(cluster: u128, addresses: &str, expected: &Expected) -> Result<Books> {
    let plan = expected.plan.checked()?;
    if expected.acknowledged.len() != plan.clients {
        return Err(Error::input(format!("{} acknowledged counts for {} clients", expected.acknowledged.len(), plan.clients)));
    }
    let restored = Reader::new(cluster, addresses, plan, expected.timeout)?;
    let requests = restored.prefixes()?;
    for (client, (&found, &acknowledged)) in requests.iter().zip(&expected.acknowledged).enumerate() {
        if found < acknowledged {
            return damaged(format!("client {client} had {acknowledged} requests acknowledged before the backup, only {found} are there"));
        }
    }
    let original = expected.original.as_deref().map(|at| Reader::new(cluster, at, plan, expected.timeout)).transpose()?;
    let mut newest = None;
    for (client, &count) in requests.iter().enumerate() {
        newest = newest.max(restored.check_end(client, count, original.as_ref(), expected.recovered_to_ns)?);
    }
    restored.check_newest(newest, expected)?;
    let (accounts, debits, credits) = restored.check_balances(&requests)?;
    let transfers = requests.iter().sum::<u64>() * plan.transfers_per_request as u64;
    Ok(Books { requests, transfers, accounts, debits, credits, newest_timestamp_ns: newest })
}

/// Reads every transfer of the load and compares it with what was written. `requests` is how many
/// requests of each client must be there ([`Books::requests`]). This reads every block that holds
/// transfers.
///
/// # Errors
/// As [`check_books`].
pub fn check_every_transfer(cluster: u128, addresses: &str, plan: &LoadPlan, requests: &[u64], timeout: Duration) -> Result<()> {
    let reader = Reader::new(cluster, addresses, plan.checked()?, timeout)?;
    let mut next = vec![0_u64; plan.clients];
    let mut timestamp_min = 1;
    loop {
        let page = reader.page(EVENTS_PER_REQUEST_MAX, timestamp_min, Order::OldestFirst)?;
        for entry in &page {
            let Some((client, sequence)) = plan.place(entry.id) else {
                return damaged(format!("transfer {:#x} is nothing that the load wrote", entry.id));
            };
            if sequence != next[client] {
                return damaged(format!("after transfer {} of client {client} comes its transfer {sequence}", next[client]));
            }
            check_entry(plan, client, sequence, entry)?;
            next[client] += 1;
        }
        match page.last() {
            Some(last) => timestamp_min = last.timestamp + 1,
            None => break,
        }
    }
    let goal: Vec<u64> = requests.iter().map(|count| count * plan.transfers_per_request as u64).collect();
    if next == goal { Ok(()) } else { damaged(format!("reading every transfer found {next:?} of the clients' transfers, not {goal:?}")) }
}

/// A transfer as the ledger returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    id: u128,
    debit_account: u128,
    credit_account: u128,
    amount: u128,
    timestamp: u64,
}

/// The order in which transfers are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    OldestFirst,
    NewestFirst,
}

/// One ledger, read for one plan, until one deadline.
struct Reader {
    session: Session,
    plan: LoadPlan,
    deadline: Instant,
}

impl Reader {
    fn new(cluster: u128, addresses: &str, plan: LoadPlan, timeout: Duration) -> Result<Reader> {
        Ok(Reader { session: Session::new(cluster, addresses)?, plan, deadline: Instant::now() + timeout })
    }

    fn lookup(&self, ids: &[u128]) -> Result<Vec<Entry>> {
        Ok(self.session.lookup_transfers(ids, self.deadline)?.iter().map(Entry::from).collect())
    }

    fn page(&self, limit: usize, timestamp_min: u64, order: Order) -> Result<Vec<Entry>> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let (ledger, reversed) = (self.plan.ledger, order == Order::NewestFirst);
        let query = TransferQuery { ledger, code: 0, timestamp_min, limit, reversed };
        Ok(self.session.query_transfers(query, self.deadline)?.iter().map(Entry::from).collect())
    }

    /// How many requests of each client are there, if they are a prefix of its requests. The search
    /// doubles, then halves, for all clients at once.
    fn prefixes(&self) -> Result<Vec<u64>> {
        // For each client, `low` requests are there and the `high`th is not; `None` while none is
        // known to be missing.
        let mut bounds: Vec<(u64, Option<u64>)> = vec![(0, None); self.plan.clients];
        loop {
            let mut asked = Vec::new();
            for (client, &(low, high)) in bounds.iter().enumerate() {
                let count = high.map_or(low * 2 + 1, |high| low.midpoint(high));
                if high.is_none_or(|high| high - low > 1) {
                    asked.push((client, count, self.plan.transfer_id(client, self.plan.sequences(count - 1).start)));
                }
            }
            if asked.is_empty() {
                return Ok(bounds.into_iter().map(|(low, _)| low).collect());
            }
            let found = self.lookup(&asked.iter().map(|&(_, _, id)| id).collect::<Vec<_>>())?;
            for (client, count, id) in asked {
                let bound = &mut bounds[client];
                if found.iter().any(|entry| entry.id == id) { bound.0 = count } else { bound.1 = Some(count) }
            }
        }
    }

    /// Checks the end of a client's prefix of `count` requests: the last request is complete, and
    /// the prefix ends where `recovered_to_ns` says. Returns the newest timestamp in it.
    fn check_end(&self, client: usize, count: u64, original: Option<&Reader>, recovered_to_ns: u64) -> Result<Option<u64>> {
        let next = self.plan.request_ids(client, count);
        let too_many = self.lookup(&next)?.len();
        if too_many > 0 {
            return damaged(format!("request {count} of client {client} is there in part: {too_many} of {} transfers", next.len()));
        }
        if let Some(original) = original {
            // If nothing of it is there, either the client had not sent it, or the original is
            // older than its copy, which the last request shows.
            let missed = original.lookup(&next)?.into_iter().find(|entry| entry.timestamp <= recovered_to_ns);
            if let Some(entry) = missed {
                let at = entry.timestamp;
                return damaged(format!("request {count} of client {client} is missing: stamped {at}, restored to {recovered_to_ns}"));
            }
        }
        let Some(last_request) = count.checked_sub(1) else { return Ok(None) };
        let entries = self.whole_request(client, last_request)?;
        let newest = entries.last().map_or(0, |entry| entry.timestamp);
        if newest > recovered_to_ns {
            return damaged(format!(
                "request {last_request} of client {client} is stamped {newest}, after the restored op's {recovered_to_ns}"
            ));
        }
        if let Some(original) = original {
            let there = original.lookup(&self.plan.request_ids(client, last_request))?;
            if there != entries {
                return damaged(format!("request {last_request} of client {client} is not what the original ledger holds"));
            }
        }
        Ok(Some(newest))
    }

    /// The transfers of a request: all are there, as written, stamped one nanosecond apart.
    fn whole_request(&self, client: usize, request: u64) -> Result<Vec<Entry>> {
        let entries = self.lookup(&self.plan.request_ids(client, request))?;
        let size = self.plan.transfers_per_request;
        if entries.len() != size {
            return damaged(format!("request {request} of client {client} is there in part: {} of {size} transfers", entries.len()));
        }
        for (entry, sequence) in entries.iter().zip(self.plan.sequences(request)) {
            check_entry(&self.plan, client, sequence, entry)?;
        }
        if entries.windows(2).any(|pair| pair[0].timestamp + 1 != pair[1].timestamp) {
            return damaged(format!("the transfers of request {request} of client {client} are not stamped one after the other"));
        }
        Ok(entries)
    }

    /// Checks that the newest transfer of the ledger is the newest one at the end of a prefix, and
    /// that it has the timestamp of the restored op if that created transfers.
    fn check_newest(&self, newest: Option<u64>, expected: &Expected) -> Result<()> {
        let found = self.page(1, 0, Order::NewestFirst)?.first().map(|entry| entry.timestamp);
        if found != newest {
            return damaged(format!("the newest transfer is stamped {found:?}, the newest of the clients' last requests {newest:?}"));
        }
        if expected.ends_with_transfers && newest != Some(expected.recovered_to_ns) {
            return damaged(format!("the newest transfer is stamped {newest:?}, the restored op {}", expected.recovered_to_ns));
        }
        Ok(())
    }

    /// Checks every account's balance. Returns how many accounts there are, and the sums of debits
    /// and credits.
    fn check_balances(&self, requests: &[u64]) -> Result<(u32, u128, u128)> {
        let found = self.session.lookup_accounts(&self.plan.account_ids(), self.deadline)?;
        let all_there = found.len() == self.plan.accounts as usize;
        if !all_there && requests.iter().any(|&count| count > 0) {
            return damaged(format!("{} of {} accounts are there, and transfers between them", found.len(), self.plan.accounts));
        }
        let (mut debits, mut credits) = (0, 0);
        for (account, balance) in found.iter().zip(self.plan.balances(requests)) {
            let (paid, received) = (account.debits_posted, account.credits_posted);
            if (paid, received) != (balance.debits, balance.credits) || account.debits_pending != 0 || account.credits_pending != 0 {
                let id = account.id;
                return damaged(format!("account {id:#x} has paid {paid} and received {received}, its transfers say {balance:?}"));
            }
            debits += paid;
            credits += received;
        }
        if debits != credits {
            return damaged(format!("all accounts together have paid {debits} and received {credits}"));
        }
        Ok((u32::try_from(found.len()).unwrap_or(u32::MAX), debits, credits))
    }
}

impl From<&Transfer> for Entry {
    fn from(transfer: &Transfer) -> Self {
        Entry {
            id: transfer.id,
            debit_account: transfer.debit_account_id,
            credit_account: transfer.credit_account_id,
            amount: transfer.amount,
            timestamp: transfer.timestamp,
        }
    }
}

fn check_entry(plan: &LoadPlan, client: usize, sequence: u64, entry: &Entry) -> Result<()> {
    let posting = plan.posting(client, sequence);
    let written = Entry {
        id: plan.transfer_id(client, sequence),
        debit_account: plan.account_id(posting.debit),
        credit_account: plan.account_id(posting.credit),
        amount: u128::from(posting.amount),
        timestamp: entry.timestamp,
    };
    if written == *entry { Ok(()) } else { damaged(format!("transfer {sequence} of client {client} is {entry:?}, not {written:?}")) }
}

fn damaged<T>(message: String) -> Result<T> {
    Err(Error::damaged(format!("the restored ledger is wrong: {message}")))
}
