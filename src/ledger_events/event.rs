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

use super::packing::{BackupType, Compression, Encryption, Packed, Status};
use crate::error::{Error, Result};
use crate::pipeline::digest::digest_of;
use crate::repository::run_record::{RunRecord, Work};
use uuid::Uuid;

/// The code of an event's transfer, and of the accounts that are made for events.
pub const CODE: u16 = 12;
/// The context of the digest that an event's id is, besides backup and status.
const ID_CONTEXT: &[u8] = b"amber/1/backup-event";
const NS_PER_S: u64 = 1_000_000_000;

/// Where events are booked. No number in it is 0, which the ledger refuses, or the greatest of its
/// type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accounts {
    /// The ledger. It is best used for events alone: its unit is the stored byte.
    pub ledger: u32,
    /// The account that is debited with every event.
    pub system: u128,
    /// The account that is credited with what belongs to no single tenant.
    pub all_tenants: u128,
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

/// Whether work of this kind has events.
pub fn is_reported(work: Work) -> bool {
    BackupType::of(work).is_some()
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
    /// The account that is credited for a tenant, by its number; the one of all tenants if there is
    /// none.
    ///
    /// # Errors
    /// [`Error::input`] if it cannot be that account: it is no number, a number that the ledger
    /// refuses, or that of the system account.
    pub fn credited(&self, tenant: Option<&str>) -> Result<u128> {
        let Some(tenant) = tenant else { return Ok(self.all_tenants) };
        let number = tenant.parse::<u128>().ok().filter(|number| !(*number == 0 || *number == u128::MAX));
        let account = number.ok_or_else(|| Error::input(format!("tenant {tenant:?} has no account: its number must be 1 to 2^128 - 2")))?;
        if account == self.system {
            return Err(Error::input(format!("tenant {tenant} has the number of the system account: give system_account another one")));
        }
        Ok(account)
    }
}

impl Event {
    /// The event of a backup's record; `None` for work that has no events.
    ///
    /// # Errors
    /// [`Error::input`] for a record that no event can express: a tenant that is no account, a
    /// compression or encryption without a number.
    pub fn of(backup_id: Uuid, record: &RunRecord, accounts: &Accounts) -> Result<Option<Event>> {
        let run = &record.run;
        let Some(backup_type) = BackupType::of(run.work) else { return Ok(None) };
        let status = status_of(record);
        let (mut compression, mut encryption, mut amount) = (Compression::None, Encryption::None, 0);
        if let Some(outcome) = record.outcome.as_ref().filter(|outcome| outcome.completed) {
            let unknown = |what: &str, word: &str| Error::input(format!("an event has no number for the {what} {word:?}"));
            compression = Compression::of(&outcome.compression).ok_or_else(|| unknown("compression", &outcome.compression))?;
            encryption = Encryption::of(&outcome.encryption).ok_or_else(|| unknown("encryption", &outcome.encryption))?;
            amount = if run.work == Work::Kms { 1 } else { u128::from(outcome.stored_bytes) };
        }
        let packed = Packed { backup_type, scope: run.scope, compression, encryption, status, retention_days: run.retention_days };
        Ok(Some(Event {
            id: id_of(backup_id, status),
            debit_account: accounts.system,
            credit_account: accounts.credited(run.tenant.as_deref())?,
            amount,
            packed: packed.pack(),
            started_s: run.started_ns / NS_PER_S,
            ledger: accounts.ledger,
        }))
    }
}

#[cfg(test)]
mod tests;
