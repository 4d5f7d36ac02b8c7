//! Events: a run's record as transfers in a ledger, one when a backup begins and one when it has
//! ended.
//!
//! Everything in an event follows from the record and the configured accounts; its id follows from
//! the backup's id and the status. So the ledger accepts it once, whoever delivers it and however
//! often. And a reader can tell whether it still agrees with the record.
//!
//! The amount is the number of bytes that were stored, and 1 for a key. It is 0, which the ledger
//! accepts, while nothing is stored: when a backup begins, and when it failed. Compression and
//! encryption are `none` then.

use super::packing::{Compression, Encryption, Packed, Status};
use crate::error::{Error, Result};
use crate::pipeline::digest::digest_of;
use crate::repository::run_record::{RunRecord, Work};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The code of an event's transfer, and of the accounts that are made for events.
pub const CODE: u16 = 12;
/// The context of the digest that an event's id is, besides backup and status.
const ID_CONTEXT: &[u8] = b"amber/1/backup-event";
const NS_PER_S: u64 = 1_000_000_000;

/// Where events are booked. No number in it is 0, which the ledger refuses, or the greatest of its
/// type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// The ledger. It is best used for events alone: its unit is the stored byte.
    pub ledger: u32,
    /// The account that is debited with every event.
    pub system: u128,
    /// The account that is credited with what belongs to no single tenant.
    pub all_tenants: u128,
    /// Where the events of tenants are booked, by the tenant's number. A tenant that is not here
    /// has the account with its own number.
    pub tenants: BTreeMap<u128, TenantAccounts>,
}

/// Where the events of a tenant are booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantAccounts {
    /// The account that is credited.
    pub account: u128,
    /// A ledger of the tenant's own; `None` for the ledger of all events.
    pub ledger: Option<TenantLedger>,
}

/// A ledger of a tenant's own. An account is in one ledger alone, so the account that is debited is
/// another one there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantLedger {
    /// Its number.
    pub ledger: u32,
    /// The account that is debited in it.
    pub system: u128,
}

/// Where one event is booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPlace {
    /// The ledger.
    pub ledger: u32,
    /// The account that is debited.
    pub debit: u128,
    /// The account that is credited.
    pub credit: u128,
}

/// An event: the transfer without the fields that are always zero, and without its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The transfer's id.
    pub id: u128,
    /// The account that is debited.
    pub debit_account: u128,
    /// The account that is credited.
    pub credit_account: u128,
    /// The amount.
    pub amount: u128,
    /// The packed facts: `user_data_128`.
    pub packed: u128,
    /// When the backup began, in seconds since the epoch: `user_data_64`.
    pub started_s: u64,
    /// The ledger.
    pub ledger: u32,
}

/// The status that a record describes.
pub fn status_of(record: &RunRecord) -> Status {
    match &record.outcome {
        None => Status::Started,
        Some(outcome) if outcome.completed => Status::Completed,
        Some(_) => Status::Failed,
    }
}

/// The id of a backup's event.
pub fn id_of(backup_id: Uuid, status: Status) -> u128 {
    let digest = digest_of(&[ID_CONTEXT, backup_id.as_bytes(), &[status.number()]].concat());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    // The ledger accepts neither the least nor the greatest id.
    u128::from_be_bytes(bytes).clamp(1, u128::MAX - 1)
}

impl Accounts {
    /// Where the events of a tenant are booked; without one, where those of all tenants are.
    ///
    /// # Errors
    /// [`Error::input`] if the tenant has no account: it is no number, a number that the ledger
    /// refuses, or that of the system account.
    pub fn place(&self, tenant: Option<&str>) -> Result<EventPlace> {
        let own = EventPlace { ledger: self.ledger, debit: self.system, credit: self.all_tenants };
        let Some(tenant) = tenant else { return Ok(own) };
        if let Some(accounts) = tenant.parse::<u128>().ok().and_then(|number| self.tenants.get(&number)) {
            let TenantLedger { ledger, system } = accounts.ledger.unwrap_or(TenantLedger { ledger: self.ledger, system: self.system });
            return Ok(EventPlace { ledger, debit: system, credit: accounts.account });
        }
        let number = tenant.parse::<u128>().ok().filter(|number| !(*number == 0 || *number == u128::MAX));
        let account = number.ok_or_else(|| Error::input(format!("tenant {tenant:?} has no account: its number must be 1 to 2^128 - 2")))?;
        if account == self.system {
            return Err(Error::input(format!("tenant {tenant} has the number of the system account: give system_account another one")));
        }
        Ok(EventPlace { credit: account, ..own })
    }

    /// All ledgers that have events, each once.
    pub fn ledgers(&self) -> BTreeSet<u32> {
        let own = self.tenants.values().filter_map(|tenant| tenant.ledger).map(|own| own.ledger);
        own.chain([self.ledger]).collect()
    }
}

impl Event {
    /// The event of a run's record.
    ///
    /// # Errors
    /// [`Error::input`] for a record that no event can express: a tenant that is no account, a
    /// compression or encryption without a number.
    pub fn of(backup_id: Uuid, record: &RunRecord, accounts: &Accounts) -> Result<Event> {
        let run = &record.run;
        let status = status_of(record);
        let (mut compression, mut encryption, mut amount) = (Compression::None, Encryption::None, 0);
        if let Some(outcome) = record.outcome.as_ref().filter(|outcome| outcome.completed) {
            let unknown = |what: &str, word: &str| Error::input(format!("an event has no number for the {what} {word:?}"));
            compression = Compression::of(&outcome.compression).ok_or_else(|| unknown("compression", &outcome.compression))?;
            encryption = Encryption::of(&outcome.encryption).ok_or_else(|| unknown("encryption", &outcome.encryption))?;
            amount = if run.work == Work::Kms { 1 } else { u128::from(outcome.stored_bytes) };
        }
        let packed = Packed { work: run.work, scope: run.scope, compression, encryption, status, retention_days: run.retention_days };
        let place = accounts.place(run.tenant.as_deref())?;
        Ok(Event {
            id: id_of(backup_id, status),
            debit_account: place.debit,
            credit_account: place.credit,
            amount,
            packed: packed.pack(),
            started_s: run.started_ns / NS_PER_S,
            ledger: place.ledger,
        })
    }
}

#[cfg(test)]
mod tests;
