use super::*;

fn gap(first_op: u64) -> NoticedGap {
    NoticedGap { timeline: 1, gap: GapStatus { first_op, last_op: first_op + 9, noticed_ns: 1, reason: "r".into() } }
}

fn ago(milliseconds: u64) -> Instant {
    Instant::now().checked_sub(Duration::from_millis(milliseconds)).unwrap()
}

#[test]
fn the_lag_is_that_of_the_oldest_prepare_that_is_not_durable() {
    let board = StatusBoard::default();
    board.begin(1, 4, 4);
    assert_eq!((board.status().lag_ms, board.status().lag_ops), (0, 0));
    board.read(6, 60, 5, 100, Some(ago(5000)));
    let status = board.status();
    assert!((5000..9000).contains(&status.lag_ms) && status.lag_ops == 2, "{status:?}");
    board.offered(6, ago(5000));
    board.read(7, 70, 6, 200, Some(ago(1000)));
    assert!(board.status().lag_ms >= 5000);
    board.durable(6, 60);
    let status = board.status();
    assert!((1000..4000).contains(&status.lag_ms), "{status:?}");
    assert_eq!((status.durable_op, status.durable_timestamp_ns, status.lag_ops), (6, 60, 1));
    board.offered(7, ago(1000));
    board.durable(7, 70);
    assert_eq!(board.status().lag_ms, 0);
}

#[test]
fn what_a_view_change_took_back_is_not_durable_because_the_segment_before_it_is() {
    let board = StatusBoard::default();
    board.offered(979, ago(9000));
    board.offered(978, ago(5000));
    board.durable(979, 1);
    assert!((5000..9000).contains(&board.status().lag_ms));
    board.durable(978, 2);
    assert_eq!((board.status().lag_ms, board.status().durable_op), (0, 978));
    // The leader's segments end at other ops than ours.
    board.offered(985, ago(9000));
    board.offered(990, ago(5000));
    board.durable(987, 0);
    assert!((5000..9000).contains(&board.status().lag_ms));
}

#[test]
fn a_session_begins_with_what_it_says() {
    let board = StatusBoard::default();
    board.read(90, 900, 80, 1, Some(ago(1000)));
    board.offered(90, ago(1000));
    board.begin(2, 40, 45);
    let status = board.status();
    assert_eq!((status.timeline, status.durable_op, status.head_op, status.lag_ops, status.lag_ms), (2, 40, 45, 5, 0));
    assert_eq!(board.since_turn(), None, "nobody follows yet");
    board.turned();
    assert!(board.since_turn().is_some());
    board.set_idle();
    assert_eq!(board.since_turn(), None);
}

#[test]
fn one_alert_stands_for_each_topic() {
    let board = StatusBoard::default();
    for text in ["a", "b"] {
        board.alert(Topic::Lease, Some(text.into()));
    }
    board.alert(Topic::Merge, Some("c".into()));
    assert_eq!(texts(&board), ["c", "b"]);
    board.alert(Topic::Lease, None);
    assert_eq!(texts(&board), ["c"]);
}

#[test]
fn a_gap_is_told_until_it_is_recorded_and_wants_a_checkpoint() {
    let board = StatusBoard::default();
    [10, 30].into_iter().for_each(|first_op| board.gap(gap(first_op)));
    assert_eq!(board.wanted().as_deref(), Some("a gap at op 10"));
    assert!(board.status().alerts[0].text.contains("ops 30 to 39"));
    let mut taken = board.take_unrecorded();
    assert_eq!((taken.len(), board.take_unrecorded().len()), (2, 0));
    board.gap(gap(50));
    taken.remove(0);
    board.return_unrecorded(taken);
    // The next session reads what is recorded. A gap that is not recorded is reported all the same.
    board.known_gaps(vec![gap(10).gap]);
    let first_ops = |board: &StatusBoard| board.status().gaps.iter().map(|gap| gap.first_op).collect::<Vec<_>>();
    assert_eq!(first_ops(&board), [10, 30, 50]);
    board.no_gap(&gap(30));
    assert_eq!(first_ops(&board), [10, 50]);
    assert_eq!(board.take_unrecorded().iter().map(|gap| gap.gap.first_op).collect::<Vec<_>>(), [30, 50]);
}

#[test]
fn what_is_wished_while_a_checkpoint_runs_stays() {
    let board = StatusBoard::default();
    board.want_checkpoint("first");
    board.want_checkpoint("second");
    assert_eq!(board.take_wanted().as_deref(), Some("first"));
    assert_eq!(board.wanted(), None);
    board.gap(gap(7));
    assert_eq!(board.wanted().as_deref(), Some("a gap at op 7"));
}

fn texts(board: &StatusBoard) -> Vec<String> {
    board.status().alerts.into_iter().map(|alert| alert.text).collect()
}
