//! Tests of the module as a whole; a test of a single function is next to it.

mod blocks;
mod headers;
mod log;
mod samples;

use super::error::LedgerError;
use super::layout::HEADER_BYTES;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

pub(crate) const CLUSTER: u128 = 0x1234_5678_9abc_def0_1122_3344_5566_7788;

/// Runs a property over the same inputs every time: a failure can be repeated, and no file is
/// written next to the sources.
pub(crate) fn property<S: proptest::strategy::Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), proptest::test_runner::TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)).run(strategy, test).unwrap();
}

/// The first 256 bytes, for a test to change and seal again.
fn header(message: &[u8]) -> [u8; HEADER_BYTES] {
    *message.first_chunk().unwrap()
}

pub(crate) fn field_of(error: &LedgerError) -> &'static str {
    match error {
        LedgerError::Field { what, .. } => what,
        other => panic!("{other}"),
    }
}
