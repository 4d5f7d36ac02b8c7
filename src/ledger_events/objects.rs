//! Accounts, transfers, queries and refusals, as they are in requests and answers of TigerBeetle
//! 0.16.78 (`tb_client.h`, `tigerbeetle.zig`).
//!
//! The body of a request is a sequence of records of a fixed size, and so is the answer. Records in
//! both directions have little-endian fields at fixed offsets, the same as in the ledger's own
//! blocks ([`crate::tb_format::record`]).

use crate::tb_format::record::{self, RECORD_BYTES};

/// Flags of an account that limit what may be booked to it.
pub mod account_flags {
    pub use crate::tb_format::record::ACCOUNT_CLOSED as CLOSED;
    /// Its debits must not exceed its credits.
    pub const DEBITS_MUST_NOT_EXCEED_CREDITS: u16 = 1 << 1;
    /// Its credits must not exceed its debits.
    pub const CREDITS_MUST_NOT_EXCEED_DEBITS: u16 = 1 << 2;
}

/// An account; a new one has neither balances nor a timestamp.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// The account's id.
    pub id: u128,
    /// Debits reserved by pending transfers.
    pub debits_pending: u128,
    /// Debits.
    pub debits_posted: u128,
    /// Credits reserved by pending transfers.
    pub credits_pending: u128,
    /// Credits.
    pub credits_posted: u128,
    /// The application's own.
    pub user_data_128: u128,
    /// The application's own.
    pub user_data_64: u64,
    /// The application's own.
    pub user_data_32: u32,
    /// The ledger that it belongs to.
    pub ledger: u32,
    /// The kind of account.
    pub code: u16,
    /// Bits; see [`account_flags`].
    pub flags: u16,
    /// When it was created, in nanoseconds since the Unix epoch; 0 in a request.
    pub timestamp: u64,
}

/// A transfer; a new one has no timestamp.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfer {
    /// The transfer's id.
    pub id: u128,
    /// The account that is debited.
    pub debit_account_id: u128,
    /// The account that is credited.
    pub credit_account_id: u128,
    /// How much.
    pub amount: u128,
    /// The pending transfer that it posts or voids; else 0.
    pub pending_id: u128,
    /// The application's own.
    pub user_data_128: u128,
    /// The application's own.
    pub user_data_64: u64,
    /// The application's own.
    pub user_data_32: u32,
    /// Seconds after which a pending transfer expires; 0 for never.
    pub timeout_s: u32,
    /// The ledger of both accounts.
    pub ledger: u32,
    /// The reason.
    pub code: u16,
    /// Bits; see [`record::TRANSFER_PENDING`] and its neighbours.
    pub flags: u16,
    /// When it was created, in nanoseconds since the Unix epoch; 0 in a request.
    pub timestamp: u64,
}

/// Which transfers are queried: those that match every field that is not 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransferQuery {
    /// The ledger of both accounts.
    pub ledger: u32,
    /// The reason.
    pub code: u16,
    /// The earliest timestamp.
    pub timestamp_min: u64,
    /// The most that the answer may hold.
    pub limit: u32,
    /// Newest first.
    pub reversed: bool,
}

/// A record of a request's body.
pub(super) trait Encode {
    fn encode(&self, body: &mut Vec<u8>);
}

/// A record of an answer.
pub(super) trait Decode: Sized {
    /// The size of a record.
    const BYTES: usize;

    /// Decodes a record; `None` unless `bytes` has this size.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// The body of a request.
pub(super) fn encode<T: Encode>(items: &[T]) -> Vec<u8> {
    let mut body = Vec::with_capacity(items.len() * RECORD_BYTES);
    items.iter().for_each(|item| item.encode(&mut body));
    body
}

/// The records of an answer; `None` if its length is no multiple of a record's size.
pub(super) fn decode<T: Decode>(answer: &[u8]) -> Option<Vec<T>> {
    let records = answer.chunks_exact(T::BYTES);
    if !records.remainder().is_empty() {
        return None;
    }
    records.map(T::decode).collect()
}

impl Encode for u128 {
    fn encode(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.to_le_bytes());
    }
}

impl Encode for Account {
    fn encode(&self, body: &mut Vec<u8>) {
        for field in [self.id, self.debits_pending, self.debits_posted, self.credits_pending, self.credits_posted, self.user_data_128] {
            body.extend_from_slice(&field.to_le_bytes());
        }
        body.extend_from_slice(&self.user_data_64.to_le_bytes());
        body.extend_from_slice(&self.user_data_32.to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        encode_tail(self.ledger, self.code, self.flags, self.timestamp, body);
    }
}

impl Encode for Transfer {
    fn encode(&self, body: &mut Vec<u8>) {
        for field in [self.id, self.debit_account_id, self.credit_account_id, self.amount, self.pending_id, self.user_data_128] {
            body.extend_from_slice(&field.to_le_bytes());
        }
        body.extend_from_slice(&self.user_data_64.to_le_bytes());
        body.extend_from_slice(&self.user_data_32.to_le_bytes());
        body.extend_from_slice(&self.timeout_s.to_le_bytes());
        encode_tail(self.ledger, self.code, self.flags, self.timestamp, body);
    }
}

/// Appends the fields that accounts and transfers end with.
fn encode_tail(ledger: u32, code: u16, flags: u16, timestamp: u64, body: &mut Vec<u8>) {
    body.extend_from_slice(&ledger.to_le_bytes());
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&flags.to_le_bytes());
    body.extend_from_slice(&timestamp.to_le_bytes());
}

impl Encode for TransferQuery {
    /// `tb_query_filter_t`.
    fn encode(&self, body: &mut Vec<u8>) {
        // The three user data fields, by which nothing is queried.
        body.extend_from_slice(&[0; 16 + 8 + 4]);
        body.extend_from_slice(&self.ledger.to_le_bytes());
        body.extend_from_slice(&self.code.to_le_bytes());
        body.extend_from_slice(&[0; 6]);
        body.extend_from_slice(&self.timestamp_min.to_le_bytes());
        // The latest timestamp: any.
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&self.limit.to_le_bytes());
        body.extend_from_slice(&u32::from(self.reversed).to_le_bytes());
    }
}

impl Decode for Account {
    const BYTES: usize = RECORD_BYTES;

    fn decode(bytes: &[u8]) -> Option<Account> {
        let record = record::Account::from_bytes(bytes).ok()?;
        Some(Account {
            id: record.id(),
            debits_pending: record.debits_pending(),
            debits_posted: record.debits_posted(),
            credits_pending: record.credits_pending(),
            credits_posted: record.credits_posted(),
            user_data_128: record.user_data_128(),
            user_data_64: record.user_data_64(),
            user_data_32: record.user_data_32(),
            ledger: record.ledger(),
            code: record.code(),
            flags: record.flags(),
            timestamp: record.timestamp(),
        })
    }
}

impl Decode for Transfer {
    const BYTES: usize = RECORD_BYTES;

    fn decode(bytes: &[u8]) -> Option<Transfer> {
        let record = record::Transfer::from_bytes(bytes).ok()?;
        Some(Transfer {
            id: record.id(),
            debit_account_id: record.debit_account_id(),
            credit_account_id: record.credit_account_id(),
            amount: record.amount(),
            pending_id: record.pending_id(),
            user_data_128: record.user_data_128(),
            user_data_64: record.user_data_64(),
            user_data_32: record.user_data_32(),
            timeout_s: record.timeout_s(),
            ledger: record.ledger(),
            code: record.code(),
            flags: record.flags(),
            timestamp: record.timestamp(),
        })
    }
}

/// One event of a request that was not executed as asked: its index in the request, and the number
/// of the result (`tb_create_accounts_result_t`, `tb_create_transfers_result_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) index: u32,
    pub(super) result: u32,
}

impl Decode for Refused {
    const BYTES: usize = 8;

    fn decode(bytes: &[u8]) -> Option<Refused> {
        let (index, result) = bytes.split_first_chunk()?;
        Some(Refused { index: u32::from_le_bytes(*index), result: u32::from_le_bytes(result.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_sent() {
        let account = Account {
            id: 1,
            debits_pending: 2,
            debits_posted: 3,
            credits_pending: 4,
            credits_posted: 5,
            user_data_128: 6,
            user_data_64: 7,
            user_data_32: 8,
            ledger: 9,
            code: 10,
            flags: 11,
            timestamp: 12,
        };
        let transfer = Transfer {
            id: u128::MAX - 1,
            debit_account_id: 2,
            credit_account_id: 3,
            amount: 4,
            pending_id: 5,
            user_data_128: 6,
            user_data_64: 7,
            user_data_32: 8,
            timeout_s: 9,
            ledger: 10,
            code: 11,
            flags: 12,
            timestamp: 13,
        };
        let (accounts, transfers) = (encode(&[account, Account::default()]), encode(&[transfer]));
        assert_eq!((accounts.len(), transfers.len()), (2 * RECORD_BYTES, RECORD_BYTES));
        assert_eq!(decode::<Account>(&accounts).unwrap(), [account, Account::default()]);
        assert_eq!(decode::<Transfer>(&transfers).unwrap(), [transfer]);
        assert_eq!(decode::<Transfer>(&transfers[1..]), None);
        assert_eq!(decode::<Transfer>(&[]).unwrap(), []);
    }

    #[test]
    fn a_query_has_the_layout_of_the_header_file() {
        let query = TransferQuery { ledger: 0x0102_0304, code: 0x0506, timestamp_min: 7, limit: 8, reversed: true };
        let body = encode(&[query]);
        assert_eq!(body.len(), 64);
        assert_eq!((&body[28..32], &body[32..34]), (&[4, 3, 2, 1][..], &[6, 5][..]));
        assert_eq!((body[40], body[48], body[56], body[60]), (7, 0, 8, 1));
        assert_eq!(body.iter().map(|byte| usize::from(*byte)).sum::<usize>(), 4 + 3 + 2 + 1 + 6 + 5 + 7 + 8 + 1, "all else is zero");
    }

    #[test]
    fn refusals_say_which_and_why() {
        let answer = [3, 0, 0, 0, 46, 0, 0, 0, 4, 0, 0, 0, 21, 1, 0, 0];
        assert_eq!(decode::<Refused>(&answer).unwrap(), [Refused { index: 3, result: 46 }, Refused { index: 4, result: 277 }]);
        assert_eq!(decode::<Refused>(&answer[..12]), None);
    }
}
