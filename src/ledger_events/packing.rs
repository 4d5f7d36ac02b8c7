//! The facts of an event in TigerBeetle's `user_data_128`: fields of fixed width, packed from the
//! top.
//!
//! | field | bits | values |
//! |---|---|---|
//! | kind of work | 8, from bit 120 | 1 tigerbeetle, 2 duckdb, 3 parquet, 4 kms, ... ([`Work`]) |
//! | scope | 8, from bit 112 | 1 full, 2 incremental |
//! | compression | 8, from bit 104 | 1 none, 2 gzip, 3 zstd |
//! | encryption | 8, from bit 96 | 1 none, 2 aes256 |
//! | status | 8, from bit 88 | 1 started, 2 completed, 3 failed |
//! | retention in days | 16, from bit 72 | 0 is for ever |
//! | zero | 72, from bit 0 | |
//!
//! A value that is not listed is refused, and so is a bit that is set in the zeros: a reader must
//! not misunderstand an event that a later release has written.

use crate::error::{Error, Result};
use crate::repository::run_record::{Scope, Work};

const WORK_SHIFT: u32 = 120;
const SCOPE_SHIFT: u32 = 112;
const COMPRESSION_SHIFT: u32 = 104;
const ENCRYPTION_SHIFT: u32 = 96;
const STATUS_SHIFT: u32 = 88;
const RETENTION_SHIFT: u32 = 72;

/// How stored bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, or nothing is stored.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// How stored bytes are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all, or nothing is stored.
    None,
    /// AES with 256 bits.
    Aes256,
}

/// The status of a backup that an event records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// The backup begins.
    Started,
    /// The backup is stored.
    Completed,
    /// The backup failed.
    Failed,
}

/// The values of each field; the first has the number 1.
const SCOPES: [Scope; 2] = [Scope::Full, Scope::Incremental];
const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];
const ENCRYPTIONS: [Encryption; 2] = [Encryption::None, Encryption::Aes256];
const STATUSES: [Status; 3] = [Status::Started, Status::Completed, Status::Failed];

/// The facts that are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// What the run does.
    pub work: Work,
    /// How much of it the backup holds by itself.
    pub scope: Scope,
    /// How the stored bytes are compressed.
    pub compression: Compression,
    /// How the stored bytes are encrypted.
    pub encryption: Encryption,
    /// The status of the backup.
    pub status: Status,
    /// For how many days it is retained; 0 is for ever.
    pub retention_days: u16,
}

impl Packed {
    /// Packs the facts into a `user_data_128`.
    pub fn pack(&self) -> u128 {
        u128::from(self.work.event_number()) << WORK_SHIFT
            | number(&SCOPES, &self.scope) << SCOPE_SHIFT
            | number(&COMPRESSIONS, &self.compression) << COMPRESSION_SHIFT
            | number(&ENCRYPTIONS, &self.encryption) << ENCRYPTION_SHIFT
            | number(&STATUSES, &self.status) << STATUS_SHIFT
            | u128::from(self.retention_days) << RETENTION_SHIFT
    }

    /// Unpacks a `user_data_128`.
    ///
    /// # Errors
    /// [`Error::damaged`] naming the field with an unknown value, or saying that a bit is set in
    /// the zeros.
    pub fn unpack(bits: u128) -> Result<Packed> {
        let zeros = bits & ((1 << RETENTION_SHIFT) - 1);
        if zeros != 0 {
            return Err(Error::damaged(format!("user_data_128 {bits:#034x}: its lowest {RETENTION_SHIFT} bits are not zero")));
        }
        Ok(Packed {
            work: work_of(bits)?,
            scope: value(&SCOPES, bits, SCOPE_SHIFT, "scope")?,
            compression: value(&COMPRESSIONS, bits, COMPRESSION_SHIFT, "compression")?,
            encryption: value(&ENCRYPTIONS, bits, ENCRYPTION_SHIFT, "encryption")?,
            status: value(&STATUSES, bits, STATUS_SHIFT, "status")?,
            retention_days: (bits >> RETENTION_SHIFT) as u16,
        })
    }
}

fn number<T: PartialEq>(values: &[T], one: &T) -> u128 {
    values.iter().position(|value| value == one).map_or(0, |position| position as u128 + 1)
}

fn value<T: Copy>(values: &[T], bits: u128, shift: u32, field: &str) -> Result<T> {
    let number = (bits >> shift) as u8;
    let known = usize::from(number).checked_sub(1).and_then(|position| values.get(position)).copied();
    known.ok_or_else(|| Error::damaged(format!("user_data_128 {bits:#034x}: there is no {field} {number}")))
}

fn work_of(bits: u128) -> Result<Work> {
    let number = (bits >> WORK_SHIFT) as u8;
    let known = Work::ALL.iter().copied().find(|work| work.event_number() == number);
    known.ok_or_else(|| Error::damaged(format!("user_data_128 {bits:#034x}: there is no kind of work {number}")))
}

impl Compression {
    /// Its name, as records and catalog have it.
    pub fn text(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }

    /// Reads its name.
    pub fn of(text: &str) -> Option<Compression> {
        COMPRESSIONS.into_iter().find(|one| one.text() == text)
    }
}

impl Encryption {
    /// Its name, as records and catalog have it.
    pub fn text(self) -> &'static str {
        match self {
            Encryption::None => "none",
            Encryption::Aes256 => "aes256",
        }
    }

    /// Reads its name.
    pub fn of(text: &str) -> Option<Encryption> {
        ENCRYPTIONS.into_iter().find(|one| one.text() == text)
    }
}

impl Status {
    /// Its number in an event.
    pub fn number(self) -> u8 {
        number(&STATUSES, &self) as u8
    }

    /// Its name, as the catalog has it.
    pub fn text(self) -> &'static str {
        match self {
            Status::Started => "started",
            Status::Completed => "completed",
            Status::Failed => "failed",
        }
    }

    /// Reads its name.
    pub fn of(text: &str) -> Option<Status> {
        STATUSES.into_iter().find(|one| one.text() == text)
    }
}

#[cfg(test)]
mod tests;
