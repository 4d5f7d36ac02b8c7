//! `amber inspect --books`: the accounts and transfers of a data file, counted and added up.
//!
//! Flow: the checkpoint's accounts and transfers, each once ([`crate::replica::objects`]), are
//! added up by ledger. Then come the requests in the prepares after the checkpoint. Those are
//! counted as requested: which of them the ledger accepts is known only once a server has executed
//! them.

use super::output::{facts, table};
use crate::disk::file::ReadOptions;
use crate::disk::read_error::SourceError;
use crate::error::Error;
use crate::error::Result;
use crate::progress::Progress;
use crate::replica::checkpoint::Walk;
use crate::replica::log::{LogSource, Polled};
use crate::replica::objects::{ObjectSink, ObjectTree, read_objects};
use crate::replica::tail::Tail;
use crate::tb_format::layout::WAL_SLOTS;
use crate::tb_format::record::{Account, TRANSFER_AMOUNT_IS_DERIVED, TREE_ACCOUNTS, Transfer};
use crate::tb_format::request::Events;
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::Prepare;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The books of one ledger as of the checkpoint.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct LedgerBooks {
    accounts: u64,
    transfers: u64,
    debits_posted: u128,
    credits_posted: u128,
    debits_pending: u128,
    credits_pending: u128,
}

impl LedgerBooks {
    fn balance(&self) -> bool {
        self.debits_posted == self.credits_posted && self.debits_pending == self.credits_pending
    }
}

/// The requests in the log after the checkpoint.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct LogBooks {
    op: u64,
    accounts: u64,
    transfers: u64,
    /// The sum over the transfers that state their amount. If a transfer posts or voids a pending
    /// one, or balances, only a server can determine its amount.
    amount: u128,
    of_other_amounts: u64,
    /// Why the log could not be read to its end, if so.
    lost: Option<String>,
}

/// All sums.
pub(super) struct Books<'a> {
    progress: &'a dyn Progress,
    checkpoint_op: u64,
    objects: u64,
    ledgers: BTreeMap<u32, LedgerBooks>,
    log: LogBooks,
}

/// Adds up the books of a data file, whose server may be running.
///
/// # Errors
/// As [`read_objects`], and those of reading the log.
pub(super) fn books<'a>(path: &Path, walk: &mut Walk, progress: &'a dyn Progress) -> Result<Books<'a>> {
    let mut books = Books { progress, checkpoint_op: 0, objects: 0, ledgers: BTreeMap::new(), log: LogBooks::default() };
    let superblock = read_objects(walk, &[ObjectTree::Accounts, ObjectTree::Transfers], &mut books)?;
    books.add_log(path, &superblock)?;
    Ok(books)
}

impl ObjectSink for Books<'_> {
    fn begin(&mut self, superblock: &SuperBlock) -> Result<()> {
        (self.checkpoint_op, self.objects) = (superblock.checkpoint().header().op(), 0);
        self.ledgers.clear();
        self.progress.begin("accounts and transfers", None);
        Ok(())
    }

    fn object(&mut self, tree: ObjectTree, record: &[u8]) -> Result<()> {
        let unknown = |error: crate::tb_format::LedgerError| Error::bug(error.to_string());
        match tree {
            ObjectTree::Accounts => {
                let account = Account::from_bytes(record).map_err(unknown)?;
                let books = self.ledgers.entry(account.ledger()).or_default();
                books.accounts += 1;
                for (sum, more) in [
                    (&mut books.debits_posted, account.debits_posted()),
                    (&mut books.credits_posted, account.credits_posted()),
                    (&mut books.debits_pending, account.debits_pending()),
                    (&mut books.credits_pending, account.credits_pending()),
                ] {
                    *sum = sum.saturating_add(more);
                }
            }
            ObjectTree::Transfers => {
                let transfer = Transfer::from_bytes(record).map_err(unknown)?;
                self.ledgers.entry(transfer.ledger()).or_default().transfers += 1;
            }
        }
        self.objects += 1;
        self.progress.position(self.objects);
        Ok(())
    }
}

impl Books<'_> {
    fn add_log(&mut self, path: &Path, superblock: &SuperBlock) -> Result<(), SourceError> {
        let header = superblock.checkpoint().header();
        // A server under load may write for ever. One length of the WAL ring after this checkpoint
        // there is a newer one, so reading stops there.
        let last_op = header.op() + u64::from(WAL_SLOTS);
        let mut tail = Tail::open(path, ReadOptions::default(), header.op(), header.checksum())?;
        loop {
            let polled = tail.poll(&mut |prepare| {
                self.log.add(prepare);
                Ok(())
            })?;
            self.log.op = tail.op();
            match polled {
                Polled::Prepares(_) if tail.op() < last_op => {}
                Polled::Prepares(_) | Polled::Idle => return Ok(()),
                Polled::Lost { reason, .. } => {
                    self.log.lost = Some(reason);
                    return Ok(());
                }
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .ledgers
            .iter()
            .map(|(ledger, books)| {
                let sums = [books.debits_posted, books.credits_posted, books.debits_pending, books.credits_pending];
                let row = [ledger.to_string(), books.accounts.to_string(), books.transfers.to_string()].into_iter();
                row.chain(sums.map(|sum| sum.to_string())).chain([if books.balance() { "yes" } else { "NO" }.to_owned()]).collect()
            })
            .collect();
        let header = ["ledger", "accounts", "transfers", "debits", "credits", "pending debits", "pending credits", "balanced"];
        let log = facts(&[(
            "log behind it",
            format!(
                "to op {}: {} transfers of {} in all, {} that post, void or balance, and {} accounts are asked for (whether each was taken, a server that executes them decides)",
                self.log.op,
                self.log.transfers - self.log.of_other_amounts,
                self.log.amount,
                self.log.of_other_amounts,
                self.log.accounts
            ),
        )]);
        let lost = self.log.lost.as_ref().map_or_else(String::new, |reason| format!("note: the log goes on, but not here: {reason}\n"));
        format!("\nbooks as of checkpoint {}\n\n{}{log}{lost}", self.checkpoint_op, table(&header, &rows))
    }

    pub(super) fn json(&self) -> Value {
        let ledgers = self.ledgers.iter().map(|(ledger, books)| {
            json!({
                "ledger": ledger,
                "accounts": books.accounts,
                "transfers": books.transfers,
                "debits_posted": books.debits_posted.to_string(),
                "credits_posted": books.credits_posted.to_string(),
                "debits_pending": books.debits_pending.to_string(),
                "credits_pending": books.credits_pending.to_string(),
                "balanced": books.balance(),
            })
        });
        let log = json!({
            "op": self.log.op,
            "accounts_asked_for": self.log.accounts,
            "transfers_asked_for": self.log.transfers,
            "amount_asked_for": self.log.amount.to_string(),
            "transfers_of_other_amounts": self.log.of_other_amounts,
            "lost": self.log.lost,
        });
        json!({ "checkpoint_op": self.checkpoint_op, "ledgers": ledgers.collect::<Vec<_>>(), "log": log })
    }
}

impl LogBooks {
    fn add(&mut self, prepare: &Prepare<'_>) {
        let Some(events) = Events::of(prepare) else { return };
        if events.tree_id() == TREE_ACCOUNTS {
            self.accounts += events.records().len() as u64;
            return;
        }
        for transfer in events.records().filter_map(|record| Transfer::from_bytes(record).ok()) {
            self.transfers += 1;
            if transfer.flags() & TRANSFER_AMOUNT_IS_DERIVED == 0 {
                self.amount = self.amount.saturating_add(transfer.amount());
            } else {
                self.of_other_amounts += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::objects::ObjectSink;
    use crate::tb_format::record::{TRANSFER_POST_PENDING, TRANSFER_VOID_PENDING};
    use crate::tb_format::sample::{PrepareSample, account, root_header, transfer};

    /// The sums for a log with these operations and bodies, which have no trailer.
    fn log_of(requests: &[(u8, &[[u8; 128]])]) -> LogBooks {
        let mut books = LogBooks::default();
        for (operation, events) in requests {
            let sample = PrepareSample::after(&root_header(7));
            let bytes = PrepareSample { operation: *operation, body: events.concat(), ..sample }.bytes();
            books.add(&Prepare::check(&bytes).unwrap());
        }
        books
    }

    #[test]
    fn amounts_that_only_a_server_can_tell_are_not_added_up() {
        let of_flags = |flags: u16, amount| {
            let mut record = transfer(9, 1, 2, amount, 0);
            record[118..120].copy_from_slice(&flags.to_le_bytes());
            record
        };
        let mut transfers = vec![of_flags(0, 10), of_flags(1 << 1, 30)];
        for flags in [TRANSFER_POST_PENDING, TRANSFER_VOID_PENDING, 1 << 4, 1 << 5] {
            transfers.push(of_flags(flags, u128::MAX));
        }
        let books = log_of(&[(130, &transfers), (129, &[account(1, 0, 0, 0)]), (140, &[[0; 128]])]);
        let expected = LogBooks { accounts: 1, transfers: 6, amount: 40, of_other_amounts: 4, ..LogBooks::default() };
        assert_eq!(books, expected);
    }

    #[test]
    fn each_ledger_has_its_books_and_says_whether_they_balance() {
        let progress = crate::progress::Silent;
        let (ledgers, log) = (BTreeMap::new(), LogBooks::default());
        let mut books = Books { progress: &progress, checkpoint_op: 0, objects: 0, ledgers, log };
        let of_ledger = |mut record: [u8; 128], ledger: u32| {
            record[112..116].copy_from_slice(&ledger.to_le_bytes());
            record
        };
        for record in [account(1, 30, 0, 1), account(2, 0, 30, 2), of_ledger(account(3, 5, 4, 3), 2)] {
            books.object(ObjectTree::Accounts, &record).unwrap();
        }
        books.object(ObjectTree::Transfers, &transfer(9, 1, 2, 30, 4)).unwrap();
        let json = books.json();
        let balanced: Vec<&Value> = json["ledgers"].as_array().unwrap().iter().map(|ledger| &ledger["balanced"]).collect();
        assert_eq!(balanced, [&json!(true), &json!(false)], "{json:#}");
        assert_eq!((&json["ledgers"][0]["accounts"], &json["ledgers"][0]["transfers"]), (&json!(2), &json!(1)));
        assert!(books.text().contains("NO"), "{}", books.text());
    }
}
