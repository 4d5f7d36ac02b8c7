//! The ledger that takes events: a TigerBeetle cluster, often the very one that is backed up.
//!
//! Flow: [`Ledger::deliver`] first makes sure that the two accounts exist, every time, because a
//! transfer whose account is missing makes its id unusable for ever. Then it creates the transfer.
//! If the ledger has it already, that is a success too. [`Ledger::read`] reads all events, page by
//! page.
//!
//! One session is kept for the life of the [`Ledger`] value. A request without an answer stays with
//! TigerBeetle's client, which sends it again by itself until the cluster is back. Only when the
//! cluster has ended the session is another one begun.

use super::event::{Accounts, CODE, Event};
use super::objects::{Account, Transfer, TransferQuery, account_flags};
use super::refusal::{AccountRefusal, TransferRefusal};
use super::session::{Answer, EVENTS_PER_REQUEST_MAX, Session};
use super::trail::Booked;
use super::{Delivered, EventLedger};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Where the ledger is, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerAddress {
    /// The cluster's id.
    pub cluster: u128,
    /// Its replicas, as TigerBeetle's clients take them: `127.0.0.1:3000,127.0.0.1:3001`.
    pub addresses: String,
    /// The ledger's number, and the accounts that events are booked to.
    pub accounts: Accounts,
    /// How long an answer may take when somebody waits for it.
    pub answer_timeout: Duration,
}

/// A client of the ledger.
pub struct Ledger {
    place: LedgerAddress,
    session: Option<Session>,
}

/// Why an event was not delivered.
enum Not {
    Refused(String),
    /// An answer did not come in time; the session is still valid.
    Late(Error),
    /// The cluster has ended the session, or there is none.
    Ended(Error),
    GaveUp,
}

impl Ledger {
    /// A client of this ledger; no request is sent yet.
    pub fn new(place: LedgerAddress) -> Ledger {
        Ledger { place, session: None }
    }

    /// The address of the ledger.
    pub fn place(&self) -> &LedgerAddress {
        &self.place
    }

    /// Reads every event in the order of time, whoever wrote it.
    ///
    /// # Errors
    /// [`Error::try_again`] when an answer does not come in time.
    pub fn read(&mut self, take: &mut dyn FnMut(Booked)) -> Result<()> {
        let ledgers = self.place.accounts.ledgers();
        if ledgers.len() == 1 {
            return ledgers.into_iter().try_for_each(|ledger| self.read_ledger(ledger, take));
        }
        let mut all = Vec::new();
        for ledger in ledgers {
            self.read_ledger(ledger, &mut |booked| all.push(booked))?;
        }
        all.sort_by_key(|booked| booked.timestamp_ns);
        all.into_iter().for_each(take);
        Ok(())
    }

    fn read_ledger(&mut self, ledger: u32, take: &mut dyn FnMut(Booked)) -> Result<()> {
        let timeout = self.place.answer_timeout;
        let mut next_ns = 0;
        loop {
            let limit = EVENTS_PER_REQUEST_MAX as u32;
            let query = TransferQuery { ledger, code: CODE, timestamp_min: next_ns, limit, ..TransferQuery::default() };
            let deadline = Instant::now() + timeout;
            let answer = self.session()?.query_transfers(query, deadline);
            if answer.is_err() && Instant::now() < deadline {
                self.session = None;
            }
            let page = answer?;
            let (count, last) = (page.len(), page.last().map(|transfer| transfer.timestamp));
            page.iter().map(booked).for_each(&mut *take);
            match last {
                Some(last_ns) if count == EVENTS_PER_REQUEST_MAX => next_ns = last_ns + 1,
                _ => return Ok(()),
            }
        }
    }

    fn session(&mut self) -> Result<&Session> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::patient(self.place.cluster, &self.place.addresses)?,
        };
        Ok(self.session.insert(session))
    }

    fn try_deliver(&mut self, event: &Event, give_up: &dyn Fn() -> bool) -> Result<(), Not> {
        let timeout = self.place.answer_timeout;
        let session = self.session().map_err(Not::Ended)?;
        let wanted = [event.debit_account, event.credit_account];
        let accounts = wanted.map(|id| Account { id, ledger: event.ledger, code: CODE, ..Account::default() });
        for (place, kind) in answered(session.try_accounts(&accounts, give_up))? {
            let account = wanted.get(place).copied().unwrap_or_default();
            check_account(session, account, event, kind, Instant::now() + timeout)?;
        }
        match answered(session.try_transfer(transfer(event), give_up))? {
            None => Ok(()),
            Some(refusal) => Err(Not::Refused(format!("{refusal:?}: {}", advice(refusal)))),
        }
    }
}

impl EventLedger for Ledger {
    fn deliver(&mut self, event: &Event, give_up: &dyn Fn() -> bool) -> Delivered {
        match self.try_deliver(event, give_up) {
            Ok(()) => Delivered::Yes,
            Err(Not::GaveUp) => Delivered::GaveUp,
            Err(Not::Refused(reason)) => Delivered::Refused(format!("{} refuses event {:032x}: {reason}", self.describe(), event.id)),
            Err(Not::Late(error)) => Delivered::NotNow(error),
            Err(Not::Ended(error)) => {
                // The next try begins another session.
                self.session = None;
                Delivered::NotNow(error)
            }
        }
    }

    fn known(&mut self) -> Result<HashSet<u128>> {
        let mut known = HashSet::new();
        self.read(&mut |booked| {
            known.insert(booked.event.id);
        })?;
        Ok(known)
    }

    fn describe(&self) -> String {
        let LedgerAddress { cluster, addresses, accounts, .. } = &self.place;
        format!("ledger {} of cluster {cluster} at {addresses}", accounts.ledger)
    }
}

fn answered<T>(answer: Answer<T>) -> Result<T, Not> {
    match answer {
        Answer::Done(answer) => answer.map_err(Not::Ended),
        Answer::GaveUp => Err(Not::GaveUp),
    }
}

/// Checks an account that exists, but not as it would be created: it will do if it belongs to the
/// same ledger and accepts what an event books.
fn check_account(session: &Session, id: u128, event: &Event, kind: AccountRefusal, deadline: Instant) -> Result<(), Not> {
    let failed = |error| if Instant::now() < deadline { Not::Ended(error) } else { Not::Late(error) };
    let found = session.lookup_accounts(&[id], deadline).map_err(failed)?;
    let Some(account) = found.first() else { return Err(Not::Refused(format!("account {id} cannot be made: {kind:?}"))) };
    let is_debited = id == event.debit_account;
    let limit = if is_debited { account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS } else { account_flags::CREDITS_MUST_NOT_EXCEED_DEBITS };
    if account.ledger != event.ledger {
        return Err(Not::Refused(format!(
            "account {id} is there already, in ledger {}: give events accounts of their own",
            account.ledger
        )));
    }
    if account.flags & (limit | account_flags::CLOSED) != 0 {
        let why = if account.flags & account_flags::CLOSED != 0 { "closed" } else { "with a limit" };
        return Err(Not::Refused(format!(
            "account {id} is there already and does not take what an event books ({why}, flags {:#x}): give events another one",
            account.flags
        )));
    }
    Ok(())
}

/// What to do about a refusal.
fn advice(refusal: TransferRefusal) -> &'static str {
    if refusal.is_another_under_this_id() {
        "the ledger has another event under this id, so a record was altered, or the accounts of the configuration; `amber events` shows what differs"
    } else if refusal == TransferRefusal::ID_ALREADY_FAILED {
        "an earlier try under this id failed for good, when an account was missing or closed; the ledger never takes the id again"
    } else {
        "see the configured ledger and accounts"
    }
}

fn transfer(event: &Event) -> Transfer {
    Transfer {
        id: event.id,
        debit_account_id: event.debit_account,
        credit_account_id: event.credit_account,
        amount: event.amount,
        user_data_128: event.packed,
        user_data_64: event.started_s,
        ledger: event.ledger,
        code: CODE,
        ..Transfer::default()
    }
}

fn booked(transfer: &Transfer) -> Booked {
    Booked {
        event: Event {
            id: transfer.id,
            debit_account: transfer.debit_account_id,
            credit_account: transfer.credit_account_id,
            amount: transfer.amount,
            packed: transfer.user_data_128,
            started_s: transfer.user_data_64,
            ledger: transfer.ledger,
        },
        timestamp_ns: transfer.timestamp,
        user_data_32: transfer.user_data_32,
        pending_id: transfer.pending_id,
        timeout_s: transfer.timeout_s,
        flags: transfer.flags,
    }
}
