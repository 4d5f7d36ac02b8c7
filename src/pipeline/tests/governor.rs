//! The limits on a simulated clock, and the waiting on a real one.

use super::*;

#[test]
fn without_limits_nobody_waits_and_nothing_is_counted() {
    let governor = Governor::unlimited();
    governor.admit(Priority::Bulk, u64::MAX);
    governor.admit_upload(Priority::Bulk, u64::MAX);
    governor.admit_read(Priority::Bulk, u64::MAX);
    assert_eq!((governor.outlook().bulk_waited_s, governor.outlook().advice()), (0.0, None));
}
