//! Accounts and transfers as the value blocks of their object trees hold them (`tigerbeetle.zig`,
//! `state_machine.zig`).
//!
//! A record of 128 bytes comes in, fields come out. Only the fields that are asked for are decoded.
//! The bytes come from checked blocks, and any 128 of them are a record, so only another length is
//! refused.

use super::bytes::{u16_at, u32_at, u64_at, u128_at};
use super::error::LedgerError;

/// The tree of the accounts, keyed by timestamp. An account has a value for each change; its newest
/// is in the lowest level.
pub const TREE_ACCOUNTS: u16 = 7;
/// The tree of the transfers, keyed by timestamp. A transfer never changes and is found once.
pub const TREE_TRANSFERS: u16 = 18;
/// The tree of the pending transfers, by timestamp.
pub const TREE_PENDING_TRANSFERS: u16 = 20;
/// The index of the pending transfers by their status.
pub const TREE_PENDING_TRANSFERS_STATUS: u16 = 21;
/// The tree of the account events (balances as of each transfer), keyed by timestamp.
pub const TREE_ACCOUNT_EVENTS: u16 = 22;

/// Size of an account and of a transfer.
pub const RECORD_BYTES: usize = 128;

/// The bit of the timestamp that marks a deletion in an object tree (`lsm/groove.zig`).
const TOMBSTONE: u64 = 1 << 63;

/// `flags` of a transfer: it reserves its amount, which is posted or voided later.
pub const TRANSFER_PENDING: u16 = 1 << 1;
/// `flags` of a transfer: it posts a pending one.
pub const TRANSFER_POST_PENDING: u16 = 1 << 2;
/// `flags` of a transfer: it voids a pending one.
pub const TRANSFER_VOID_PENDING: u16 = 1 << 3;
/// `flags` of a transfer: its amount is not what it moves, but a limit, or a marker for all that is
/// pending or available (it posts, voids, or balances debits or credits).
pub const TRANSFER_AMOUNT_IS_DERIVED: u16 = TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING | 1 << 4 | 1 << 5;
/// `flags` of a transfer: it was imported, with a timestamp that the application chose.
pub const TRANSFER_IMPORTED: u16 = 1 << 8;
/// `flags` of an account: it was imported, with a timestamp that the application chose.
pub const ACCOUNT_IMPORTED: u16 = 1 << 4;
/// `flags` of an account: it accepts no more transfers.
pub const ACCOUNT_CLOSED: u16 = 1 << 5;

/// The key of a value of the accounts or transfers: its timestamp; 0 for bytes that are not a
/// record.
pub fn key_of(record: &[u8]) -> u64 {
    last_field(record) & !TOMBSTONE
}

/// Whether a value of the accounts or transfers marks a deletion.
pub fn is_deletion(record: &[u8]) -> bool {
    last_field(record) & TOMBSTONE != 0
}

/// The last field of both: the timestamp and the bit for deletions.
fn last_field(record: &[u8]) -> u64 {
    record.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn record<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8; RECORD_BYTES], LedgerError> {
    let available = bytes.len() as u64;
    bytes.try_into().map_err(|_| LedgerError::Length { what, needed: RECORD_BYTES as u64, available })
}

/// An account at one moment.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Account<'a>(&'a [u8; RECORD_BYTES]);

impl<'a> Account<'a> {
    /// A value of tree [`TREE_ACCOUNTS`].
    ///
    /// # Errors
    /// [`LedgerError::Length`] unless it is 128 bytes long.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Account<'a>, LedgerError> {
        record("account", bytes).map(Account)
    }

    /// The account's id.
    pub fn id(&self) -> u128 {
        u128_at::<0, _>(self.0)
    }

    /// Debits reserved by pending transfers.
    pub fn debits_pending(&self) -> u128 {
        u128_at::<16, _>(self.0)
    }

    /// Debits that are posted.
    pub fn debits_posted(&self) -> u128 {
        u128_at::<32, _>(self.0)
    }

    /// Credits reserved by pending transfers.
    pub fn credits_pending(&self) -> u128 {
        u128_at::<48, _>(self.0)
    }

    /// Credits that are posted.
    pub fn credits_posted(&self) -> u128 {
        u128_at::<64, _>(self.0)
    }

    /// A field of the application.
    pub fn user_data_128(&self) -> u128 {
        u128_at::<80, _>(self.0)
    }

    /// A field of the application.
    pub fn user_data_64(&self) -> u64 {
        u64_at::<96, _>(self.0)
    }

    /// A field of the application.
    pub fn user_data_32(&self) -> u32 {
        u32_at::<104, _>(self.0)
    }

    /// The ledger that it belongs to.
    pub fn ledger(&self) -> u32 {
        u32_at::<112, _>(self.0)
    }

    /// The kind of account.
    pub fn code(&self) -> u16 {
        u16_at::<116, _>(self.0)
    }

    /// Bits; see [`ACCOUNT_CLOSED`].
    pub fn flags(&self) -> u16 {
        u16_at::<118, _>(self.0)
    }

    /// When it was created, in nanoseconds since the Unix epoch; its key.
    pub fn timestamp(&self) -> u64 {
        u64_at::<120, _>(self.0) & !TOMBSTONE
    }

    /// Whether the value marks a deletion (of an account created in a batch that was rolled back).
    pub fn is_tombstone(&self) -> bool {
        u64_at::<120, _>(self.0) & TOMBSTONE != 0
    }

    /// The record.
    pub fn bytes(&self) -> &'a [u8; RECORD_BYTES] {
        self.0
    }
}

/// A transfer.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Transfer<'a>(&'a [u8; RECORD_BYTES]);

impl<'a> Transfer<'a> {
    /// A value of tree [`TREE_TRANSFERS`].
    ///
    /// # Errors
    /// [`LedgerError::Length`] unless it is 128 bytes long.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Transfer<'a>, LedgerError> {
        record("transfer", bytes).map(Transfer)
    }

    /// The transfer's id.
    pub fn id(&self) -> u128 {
        u128_at::<0, _>(self.0)
    }

    /// The account that is debited.
    pub fn debit_account_id(&self) -> u128 {
        u128_at::<16, _>(self.0)
    }

    /// The account that is credited.
    pub fn credit_account_id(&self) -> u128 {
        u128_at::<32, _>(self.0)
    }

    /// The amount.
    pub fn amount(&self) -> u128 {
        u128_at::<48, _>(self.0)
    }

    /// The id of the pending transfer that it posts or voids; otherwise 0.
    pub fn pending_id(&self) -> u128 {
        u128_at::<64, _>(self.0)
    }

    /// A field of the application.
    pub fn user_data_128(&self) -> u128 {
        u128_at::<80, _>(self.0)
    }

    /// A field of the application.
    pub fn user_data_64(&self) -> u64 {
        u64_at::<96, _>(self.0)
    }

    /// A field of the application.
    pub fn user_data_32(&self) -> u32 {
        u32_at::<104, _>(self.0)
    }

    /// Seconds after which a pending transfer expires; 0 for never.
    pub fn timeout_s(&self) -> u32 {
        u32_at::<108, _>(self.0)
    }

    /// The ledger of both accounts.
    pub fn ledger(&self) -> u32 {
        u32_at::<112, _>(self.0)
    }

    /// The reason.
    pub fn code(&self) -> u16 {
        u16_at::<116, _>(self.0)
    }

    /// Bits; see [`TRANSFER_PENDING`] and its neighbours.
    pub fn flags(&self) -> u16 {
        u16_at::<118, _>(self.0)
    }

    /// When it was created, in nanoseconds since the Unix epoch; its key.
    pub fn timestamp(&self) -> u64 {
        u64_at::<120, _>(self.0) & !TOMBSTONE
    }

    /// Whether the value marks a deletion (of a transfer created in a batch that was rolled back).
    pub fn is_tombstone(&self) -> bool {
        u64_at::<120, _>(self.0) & TOMBSTONE != 0
    }

    /// The record.
    pub fn bytes(&self) -> &'a [u8; RECORD_BYTES] {
        self.0
    }
}
