use super::*;
use crate::tb_format::sample::{SampleFile, sample_timestamp};
use crate::tier::sample::LOG_OPS;
use crate::tier::tigerbeetle::restore::tests::Fixture;

#[test]
fn what_a_backup_holds_begins_and_ends_with_its_own_ops() {
    // Of checkpoint 959; ops 1000 to 1011 can be restored.
    let summary = Fixture::empty().backup(&SampleFile::new(7, LOG_OPS)).summary;
    assert_eq!((summary.checkpoint_op, summary.first_restorable_op, summary.recovered_to_op), (959, 1000, 1011));
    for (op, is_within, is_behind) in [(999, false, false), (1000, true, false), (1011, true, false), (1012, false, true)] {
        let moment = Moment::Op(op);
        assert_eq!((moment.is_within(&summary), moment.is_behind(&summary)), (is_within, is_behind), "op {op}");
    }
    let (first, last) = (sample_timestamp(959), sample_timestamp(1011));
    for (time, is_within, is_behind) in [(first - 1, false, false), (first, true, false), (last, true, false), (last + 1, false, true)] {
        let moment = Moment::Time(time);
        assert_eq!((moment.is_within(&summary), moment.is_behind(&summary)), (is_within, is_behind), "{time}");
    }
}

#[test]
fn only_a_time_can_lie_before_all() {
    for (moment, op, expected) in
        [(Moment::Time(7), 0, true), (Moment::Time(7), 1, false), (Moment::Op(0), 0, false), (Moment::Op(1), 1, false)]
    {
        assert_eq!(moment.is_before_all(op), expected, "{moment:?}");
    }
}
