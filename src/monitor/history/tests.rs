//! The history: rates, the resolution of what is kept, and that it never grows beyond its bounds.

use super::*;

fn status(second: u64) -> AgentStatus {
    AgentStatus {
        timeline: 1,
        written_ns: (1_000_000 + second) * 1_000_000_000,
        head_op: 1 + second * 10,
        log_bytes_read: second * 1000,
        stored_bytes: second * 250,
        lag_ms: second % 100,
        cpu_share_10s_percent: 2.0,
        ..AgentStatus::default()
    }
}

fn filled(seconds: u64) -> History {
    let mut history = History::default();
    for second in 0..seconds {
        history.push(&status(second));
    }
    history
}

#[test]
fn counters_become_rates() {
    let columns = filled(5).columns(60_000);
    assert_eq!(columns.time_ms.len(), 5);
    assert_eq!(columns.ops_per_s, [0.0, 10.0, 10.0, 10.0, 10.0], "the first has nothing before it");
    assert_eq!((columns.read_bytes_per_s[4], columns.stored_bytes_per_s[4], columns.cpu_percent[4]), (1000.0, 250.0, 2.0));
    assert_eq!(columns.lag_ms, [0, 1, 2, 3, 4]);
}

#[test]
fn a_new_session_is_no_jump_and_a_clock_set_back_begins_anew() {
    let mut history = filled(3);
    history.push(&AgentStatus { timeline: 2, head_op: 900_000, ..status(3) });
    history.push(&AgentStatus { timeline: 2, head_op: 900_020, ..status(4) });
    assert_eq!(history.columns(60_000).ops_per_s, [0.0, 10.0, 10.0, 0.0, 20.0]);
    history.push(&AgentStatus { log_bytes_read: 0, timeline: 2, head_op: 900_030, ..status(5) });
    assert_eq!(history.columns(60_000).ops_per_s[5], 0.0, "counters began anew");
    history.push(&status(2));
    assert_eq!(history.columns(60_000).time_ms, [1_000_002_000]);
}

#[test]
fn minutes_are_kept_by_the_second_and_a_day_coarsely() {
    let history = filled(3600);
    let minutes = history.columns(60_000);
    assert_eq!((minutes.time_ms.len(), minutes.time_ms[0], minutes.lag_ms[60]), (61, 1_003_539_000, 99));
    let hour = history.columns(3_600_000);
    assert!((500..=POINTS_MAX).contains(&hour.time_ms.len()), "{}", hour.time_ms.len());
    assert!(hour.time_ms.is_sorted() && hour.time_ms[0] < 1_000_030_000, "{:?}", hour.time_ms);
    // Coarse samples hold the worst lag and unchanged rates.
    assert!(hour.lag_ms.contains(&99) && hour.ops_per_s.iter().skip(2).all(|rate| *rate == 10.0), "{hour:?}");
}

#[test]
fn it_never_grows_beyond_its_bounds() {
    let history = filled(2 * 86_400);
    assert_eq!((history.fine.len(), history.coarse.len()), (FINE_SAMPLES, COARSE_SAMPLES));
    let held = (history.fine.capacity() + history.coarse.capacity()) * size_of::<Sample>();
    assert!(held < 1 << 20, "{held}");
    for span_s in [1, 600, 3600, 86_400, u64::MAX / 1000] {
        let columns = history.columns(span_s * 1000);
        assert!((1..=POINTS_MAX).contains(&columns.time_ms.len()), "{span_s}");
        assert!(columns.time_ms.is_sorted());
    }
    assert_eq!(History::default().columns(1000), Columns::default());
}
