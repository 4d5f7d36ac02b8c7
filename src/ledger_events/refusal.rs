//! Why the ledger refuses an account or a transfer: the number of the result in an answer, and its
//! name (`tb_client.h` of 0.16.78, `TB_CREATE_ACCOUNT_RESULT` and `TB_CREATE_TRANSFER_RESULT`).
//!
//! A number that a newer server uses and that is not in this table is still a refusal, and is shown
//! as that number.

use std::fmt;

/// Why an account does not exist as it was given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AccountRefusal(pub(super) u32);

/// Why a transfer does not exist as it was given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TransferRefusal(pub(super) u32);

impl AccountRefusal {
    /// The account exists already, as it was given.
    pub const EXISTS: AccountRefusal = AccountRefusal(21);
}

impl TransferRefusal {
    /// The transfer exists already, as it was given.
    pub const EXISTS: TransferRefusal = TransferRefusal(46);
    /// An earlier try with this id failed, and the ledger never accepts the id again.
    pub const ID_ALREADY_FAILED: TransferRefusal = TransferRefusal(68);

    /// Whether the ledger has a different transfer with this id.
    pub fn is_another_under_this_id(self) -> bool {
        matches!(self.0, 36..=45 | 67)
    }
}

impl fmt::Debug for AccountRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(&ACCOUNT_RESULTS, self.0, formatter)
    }
}

impl fmt::Debug for TransferRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(&TRANSFER_RESULTS, self.0, formatter)
    }
}

fn write_name(names: &[(u32, &str)], result: u32, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    match names.iter().find(|(number, _)| *number == result) {
        Some((_, name)) => formatter.write_str(name),
        None => write!(formatter, "result {result}"),
    }
}

#[rustfmt::skip]
const ACCOUNT_RESULTS: [(u32, &str); 26] = [
    (1, "LinkedEventFailed"),
    (2, "LinkedEventChainOpen"),
    (3, "TimestampMustBeZero"),
    (4, "ReservedField"),
    (5, "ReservedFlag"),
    (6, "IdMustNotBeZero"),
    (7, "IdMustNotBeIntMax"),
    (8, "FlagsAreMutuallyExclusive"),
    (9, "DebitsPendingMustBeZero"),
    (10, "DebitsPostedMustBeZero"),
    (11, "CreditsPendingMustBeZero"),
    (12, "CreditsPostedMustBeZero"),
    (13, "LedgerMustNotBeZero"),
    (14, "CodeMustNotBeZero"),
    (15, "ExistsWithDifferentFlags"),
    (16, "ExistsWithDifferentUserData128"),
    (17, "ExistsWithDifferentUserData64"),
    (18, "ExistsWithDifferentUserData32"),
    (19, "ExistsWithDifferentLedger"),
    (20, "ExistsWithDifferentCode"),
    (21, "Exists"),
    (22, "ImportedEventExpected"),
    (23, "ImportedEventNotExpected"),
    (24, "ImportedEventTimestampOutOfRange"),
    (25, "ImportedEventTimestampMustNotAdvance"),
    (26, "ImportedEventTimestampMustNotRegress"),
];

#[rustfmt::skip]
const TRANSFER_RESULTS: [(u32, &str); 67] = [
    (1, "LinkedEventFailed"),
    (2, "LinkedEventChainOpen"),
    (3, "TimestampMustBeZero"),
    (4, "ReservedFlag"),
    (5, "IdMustNotBeZero"),
    (6, "IdMustNotBeIntMax"),
    (7, "FlagsAreMutuallyExclusive"),
    (8, "DebitAccountIdMustNotBeZero"),
    (9, "DebitAccountIdMustNotBeIntMax"),
    (10, "CreditAccountIdMustNotBeZero"),
    (11, "CreditAccountIdMustNotBeIntMax"),
    (12, "AccountsMustBeDifferent"),
    (13, "PendingIdMustBeZero"),
    (14, "PendingIdMustNotBeZero"),
    (15, "PendingIdMustNotBeIntMax"),
    (16, "PendingIdMustBeDifferent"),
    (17, "TimeoutReservedForPendingTransfer"),
    (19, "LedgerMustNotBeZero"),
    (20, "CodeMustNotBeZero"),
    (21, "DebitAccountNotFound"),
    (22, "CreditAccountNotFound"),
    (23, "AccountsMustHaveTheSameLedger"),
    (24, "TransferMustHaveTheSameLedgerAsAccounts"),
    (25, "PendingTransferNotFound"),
    (26, "PendingTransferNotPending"),
    (27, "PendingTransferHasDifferentDebitAccountId"),
    (28, "PendingTransferHasDifferentCreditAccountId"),
    (29, "PendingTransferHasDifferentLedger"),
    (30, "PendingTransferHasDifferentCode"),
    (31, "ExceedsPendingTransferAmount"),
    (32, "PendingTransferHasDifferentAmount"),
    (33, "PendingTransferAlreadyPosted"),
    (34, "PendingTransferAlreadyVoided"),
    (35, "PendingTransferExpired"),
    (36, "ExistsWithDifferentFlags"),
    (37, "ExistsWithDifferentDebitAccountId"),
    (38, "ExistsWithDifferentCreditAccountId"),
    (39, "ExistsWithDifferentAmount"),
    (40, "ExistsWithDifferentPendingId"),
    (41, "ExistsWithDifferentUserData128"),
    (42, "ExistsWithDifferentUserData64"),
    (43, "ExistsWithDifferentUserData32"),
    (44, "ExistsWithDifferentTimeout"),
    (45, "ExistsWithDifferentCode"),
    (46, "Exists"),
    (47, "OverflowsDebitsPending"),
    (48, "OverflowsCreditsPending"),
    (49, "OverflowsDebitsPosted"),
    (50, "OverflowsCreditsPosted"),
    (51, "OverflowsDebits"),
    (52, "OverflowsCredits"),
    (53, "OverflowsTimeout"),
    (54, "ExceedsCredits"),
    (55, "ExceedsDebits"),
    (56, "ImportedEventExpected"),
    (57, "ImportedEventNotExpected"),
    (58, "ImportedEventTimestampOutOfRange"),
    (59, "ImportedEventTimestampMustNotAdvance"),
    (60, "ImportedEventTimestampMustNotRegress"),
    (61, "ImportedEventTimestampMustPostdateDebitAccount"),
    (62, "ImportedEventTimestampMustPostdateCreditAccount"),
    (63, "ImportedEventTimeoutMustBeZero"),
    (64, "ClosingTransferMustBePending"),
    (65, "DebitAccountAlreadyClosed"),
    (66, "CreditAccountAlreadyClosed"),
    (67, "ExistsWithDifferentLedger"),
    (68, "IdAlreadyFailed"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_names_of_the_header_file() {
        let account = [AccountRefusal::EXISTS, AccountRefusal(1), AccountRefusal(999)].map(|refusal| format!("{refusal:?}"));
        assert_eq!(account, ["Exists", "LinkedEventFailed", "result 999"]);
        let transfer =
            [TransferRefusal::EXISTS, TransferRefusal::ID_ALREADY_FAILED, TransferRefusal(22)].map(|refusal| format!("{refusal:?}"));
        assert_eq!(transfer, ["Exists", "IdAlreadyFailed", "CreditAccountNotFound"]);
    }

    #[test]
    fn another_transfer_under_an_id_is_known_by_each_of_its_results() {
        for (number, name) in TRANSFER_RESULTS {
            assert_eq!(TransferRefusal(number).is_another_under_this_id(), name.starts_with("ExistsWith"), "{name}");
        }
    }
}
