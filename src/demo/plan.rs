//! What a load writes: every transfer follows from the plan, the client's number and the transfer's
//! position in that client's sequence.
//!
//! Client `c` sends requests 0, 1, 2 and so on, each of `transfers_per_request` transfers; transfer
//! `s` of the client (counted over all its requests) has the id `number << 96 | c << 64 | s + 1`.
//! Accounts and amount come from a hash of (c, s), so a ledger in which some transfer is missing,
//! doubled or swapped has other balances than [`LoadPlan::balances`] computes.

use crate::error::{Error, Result};
use crate::ledger_events::objects::{Account, Transfer};
use crate::ledger_events::session::EVENTS_PER_REQUEST_MAX;

/// A TigerBeetle server with default settings holds 32 client connections. This leaves some for
/// anyone who inspects the ledger.
pub const CLIENTS_MAX: usize = 28;

/// Amounts go from 1 to this. They are small, so that no sum ever overflows, and they differ, so
/// that a sum shows more than a count.
const AMOUNT_MAX: u64 = 9;

/// The code of all accounts and transfers; TigerBeetle requires one that is not 0.
const CODE: u16 = 1;

/// What is written, by how many clients, to which accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadPlan {
    /// Distinguishes several loads on one cluster: part of every id.
    pub number: u32,
    /// The ledger of all accounts and transfers; not 0. Give every load its own, so that its books
    /// can be checked alone.
    pub ledger: u32,
    /// How many accounts there are; at least 2.
    pub accounts: u32,
    /// How many clients write, each with its own session; at most [`CLIENTS_MAX`].
    pub clients: usize,
    /// How many transfers are in a request; at most [`EVENTS_PER_REQUEST_MAX`].
    pub transfers_per_request: usize,
}

/// One transfer of a plan, with accounts by their number in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// The account that pays, `0..accounts`.
    pub debit: u32,
    /// The account that receives; it differs from `debit`.
    pub credit: u32,
    /// How much.
    pub amount: u64,
}

/// The balance of one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// All it has paid.
    pub debits: u128,
    /// All it has received.
    pub credits: u128,
}

impl Default for LoadPlan {
    /// Two clients that write full requests to 1000 accounts.
    fn default() -> Self {
        LoadPlan { number: 1, ledger: 1, accounts: 1000, clients: 2, transfers_per_request: EVENTS_PER_REQUEST_MAX }
    }
}

impl LoadPlan {
    /// Returns the plan, if TigerBeetle can carry it out.
    ///
    /// # Errors
    /// [`Error::input`] that names the number which is out of range.
    pub fn checked(self) -> Result<LoadPlan> {
        let wrong = |what: String| Err(Error::input(format!("this load is impossible: {what}")));
        match self {
            LoadPlan { ledger: 0, .. } => wrong("ledger 0 does not exist, take 1 or more".into()),
            LoadPlan { accounts: 0..=1, .. } => wrong("a transfer needs 2 accounts or more".into()),
            LoadPlan { clients, .. } if !(1..=CLIENTS_MAX).contains(&clients) => {
                wrong(format!("{clients} clients, take 1 to {CLIENTS_MAX}"))
            }
            LoadPlan { transfers_per_request: size, .. } if !(1..=EVENTS_PER_REQUEST_MAX).contains(&size) => {
                wrong(format!("{size} transfers in a request, take 1 to {EVENTS_PER_REQUEST_MAX}"))
            }
            plan => Ok(plan),
        }
    }

    /// The id of an account, by its number in the plan.
    pub fn account_id(&self, account: u32) -> u128 {
        u128::from(self.number) << 96 | (u128::from(account) + 1)
    }

    /// The ids of all accounts.
    pub fn account_ids(&self) -> Vec<u128> {
        (0..self.accounts).map(|account| self.account_id(account)).collect()
    }

    /// The accounts, as the ledger takes them.
    pub fn new_accounts(&self) -> Vec<Account> {
        self.account_ids().into_iter().map(|id| Account { id, ledger: self.ledger, code: CODE, ..Account::default() }).collect()
    }

    /// The id of the transfer at position `sequence` of a client's transfers.
    pub fn transfer_id(&self, client: usize, sequence: u64) -> u128 {
        u128::from(self.number) << 96 | (client as u128) << 64 | (u128::from(sequence) + 1)
    }

    /// Client and position of a transfer, from its id; `None` if no transfer of this plan has that
    /// id.
    pub fn place(&self, id: u128) -> Option<(usize, u64)> {
        let sequence = (id as u64).checked_sub(1)?;
        let client = (id >> 64) as u32 as usize;
        ((id >> 96) as u32 == self.number && client < self.clients).then_some((client, sequence))
    }

    /// What the transfer at position `sequence` of a client's transfers moves.
    pub fn posting(&self, client: usize, sequence: u64) -> Posting {
        let hash = mix(mix(client as u64) ^ sequence);
        let accounts = u64::from(self.accounts);
        let debit = (hash & 0xffff_ffff) % accounts;
        let credit = (debit + 1 + (hash >> 32) % (accounts - 1)) % accounts;
        debug_assert_ne!(debit, credit);
        Posting { debit: debit as u32, credit: credit as u32, amount: 1 + sequence % AMOUNT_MAX }
    }

    /// The sequence numbers of the transfers of request `request`.
    pub fn sequences(&self, request: u64) -> std::ops::Range<u64> {
        let size = self.transfers_per_request as u64;
        request * size..(request + 1) * size
    }

    /// The ids of the transfers of a client's request.
    pub fn request_ids(&self, client: usize, request: u64) -> Vec<u128> {
        self.sequences(request).map(|sequence| self.transfer_id(client, sequence)).collect()
    }

    /// The transfers of a client's request, as the ledger takes them.
    pub fn request(&self, client: usize, request: u64) -> Vec<Transfer> {
        self.sequences(request).map(|sequence| self.transfer(client, sequence)).collect()
    }

    /// Every account's balance once each client's first `requests[client]` requests are carried
    /// out, and nothing else.
    pub fn balances(&self, requests: &[u64]) -> Vec<Balance> {
        let mut balances = vec![Balance::default(); self.accounts as usize];
        for (client, &count) in requests.iter().enumerate() {
            for sequence in 0..count * self.transfers_per_request as u64 {
                let posting = self.posting(client, sequence);
                balances[posting.debit as usize].debits += u128::from(posting.amount);
                balances[posting.credit as usize].credits += u128::from(posting.amount);
            }
        }
        balances
    }

    fn transfer(&self, client: usize, sequence: u64) -> Transfer {
        let posting = self.posting(client, sequence);
        Transfer {
            id: self.transfer_id(client, sequence),
            debit_account_id: self.account_id(posting.debit),
            credit_account_id: self.account_id(posting.credit),
            amount: u128::from(posting.amount),
            ledger: self.ledger,
            code: CODE,
            ..Transfer::default()
        }
    }
}

/// The finaliser of splitmix64: every bit of the input changes about half of the output.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn ids_say_who_sent_them_and_when() {
        let plan = LoadPlan { number: 7, clients: 3, ..LoadPlan::default() };
        let id = plan.transfer_id(2, 41);
        assert_eq!(id, 7 << 96 | 2 << 64 | 42);
        assert_eq!(plan.place(id), Some((2, 41)));
        assert_eq!(plan.place(plan.transfer_id(3, 0)), None, "a client that the plan does not have");
        assert_eq!(plan.place(LoadPlan { number: 8, ..plan }.transfer_id(0, 0)), None);
        assert_eq!(plan.place(0), None);
    }

    #[test]
    fn a_transfer_never_pays_itself_and_balances_add_up() {
        for accounts in [2, 3, 1000] {
            let plan = LoadPlan { accounts, clients: 2, transfers_per_request: 100, ..LoadPlan::default() };
            assert!((0..1000).map(|sequence| plan.posting(1, sequence)).all(|one| one.debit != one.credit && one.debit < accounts));
            let balances = plan.balances(&[3, 5]);
            let paid: u128 = balances.iter().map(|balance| balance.debits).sum();
            let received: u128 = balances.iter().map(|balance| balance.credits).sum();
            let amounts: u64 = [300, 500].into_iter().flat_map(|count| (0..count).map(|sequence| 1 + sequence % AMOUNT_MAX)).sum();
            assert_eq!((paid, received), (u128::from(amounts), u128::from(amounts)));
        }
    }

    #[test]
    fn impossible_plans_are_refused() {
        let good = LoadPlan::default();
        assert!(good.checked().is_ok());
        let bad = [
            LoadPlan { ledger: 0, ..good },
            LoadPlan { accounts: 1, ..good },
            LoadPlan { clients: 0, ..good },
            LoadPlan { clients: 29, ..good },
            LoadPlan { transfers_per_request: 0, ..good },
            LoadPlan { transfers_per_request: 8190, ..good },
        ];
        assert!(bad.iter().all(|plan| plan.checked().is_err_and(|error| error.kind == Kind::Input)));
    }
}
