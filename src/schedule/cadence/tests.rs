//! Times of the wall clock through changes of clock, and jitter.

use super::{Cadence, duration_text, jitter};
use crate::error::Kind;
use crate::schedule::tests::{DAY, HOUR, MINUTE, at, text, times};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::time::Duration;

/// The next times after `after`.
fn next(cadence: &Cadence, after: &str, count: usize) -> Vec<String> {
    let mut ns = at(after);
    (0..count)
        .map(|_| {
            ns = cadence.next_after(ns).unwrap();
            text(ns)
        })
        .collect()
}

#[test]
fn a_time_of_day_that_is_skipped_is_due_right_behind_the_hole() {
    for (zone, expression, after, wanted) in [
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00Z", ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        ("America/New_York", "30 2 * * *", "2026-03-07T12:00:00Z", ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]),
        // Half an hour.
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z", ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]),
        // At midnight.
        ("America/Havana", "30 0 * * *", "2026-03-07T12:00:00Z", ["2026-03-08T05:00:00Z", "2026-03-09T04:30:00Z"]),
        ("Europe/Berlin", "0 3 * * *", "2026-03-28T12:00:00Z", ["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]),
    ] {
        assert_eq!(next(&times(expression, zone), after, 2), wanted, "{expression} in {zone}");
    }
}

#[test]
fn a_time_of_day_that_comes_twice_is_due_once_and_at_the_first() {
    for (zone, expression, after, wanted) in [
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00:00Z", ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00:00Z", ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]),
        ("America/Havana", "30 0 * * *", "2026-10-31T12:00:00Z", ["2026-11-01T04:30:00Z", "2026-11-02T05:30:00Z"]),
    ] {
        assert_eq!(next(&times(expression, zone), after, 2), wanted, "{expression} in {zone}");
        // The same holds for a look between the two.
        let between = text(at(wanted[0]) + 20 * 60_000_000_000);
        assert_eq!(next(&times(expression, zone), &between, 1), wanted[1..], "{expression} in {zone}");
    }
}

#[test]
fn a_rhythm_follows_real_time() {
    let half_hours = times("*/30 * * * *", "Europe/Berlin");
    for day in ["2026-03-29", "2026-10-25"] {
        let mut ns = at(&format!("{day}T00:00:00Z"));
        for _ in 0..48 {
            let next_ns = half_hours.next_after(ns).unwrap();
            assert_eq!(next_ns - ns, 1_800_000_000_000, "{}", text(ns));
            ns = next_ns;
        }
    }
    let twice = times("0 2,14 * * *", "Europe/Berlin");
    assert_eq!(next(&twice, "2026-03-28T13:00:00Z", 2), ["2026-03-29T12:00:00Z", "2026-03-30T00:00:00Z"], "what is skipped is left out");
    assert_eq!(
        next(&twice, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"],
        "what is repeated is due both times"
    );
}

#[test]
fn a_day_that_a_zone_skips_is_no_end() {
    // Samoa moved over the date line: there was no 30 December.
    let noon = times("0 12 * * *", "Pacific/Apia");
    assert_eq!(next(&noon, "2011-12-29T00:00:00Z", 2), ["2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"]);
    let first = times("0 12 30 12 *", "Pacific/Apia");
    assert_eq!(next(&first, "2011-12-01T00:00:00Z", 1), ["2012-12-29T22:00:00Z"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_time_of_day_comes_on_every_day_once(
        zone in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Havana", "America/St_Johns", "America/Santiago", "Africa/Cairo", "Asia/Kolkata",
            "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Auckland",
        ]),
        minute in 0..60_u32,
        hour in 0..24_u32,
        start_day in 0..3000_u64,
    ) {
        let cadence = times(&format!("{minute} {hour} * * *"), zone);
        let time_zone = TimeZone::get(zone).unwrap();
        let date = |ns: u64| Timestamp::from_nanosecond(i128::from(ns)).unwrap().to_zoned(time_zone.clone()).date();
        let mut ns = cadence.next_after(at("2020-01-01T00:00:00Z") + start_day * 86_400_000_000_000).unwrap();
        for _ in 0..400 {
            let next_ns = cadence.next_after(ns).unwrap();
            prop_assert!(next_ns > ns);
            prop_assert_eq!(date(ns).tomorrow().unwrap(), date(next_ns), "after {} in {}", text(ns), zone);
            ns = next_ns;
        }
    }
}

#[test]
fn what_is_no_cadence_is_refused_with_what_to_write() {
    for (expression, zone, wanted) in [
        ("30 2 * *", "UTC", "write five fields"),
        ("0 30 2 * * *", "UTC", "write five fields"),
        ("30 2 * * * 2027", "UTC", "write five fields"),
        ("61 * * * *", "UTC", "is no cron expression"),
        ("", "UTC", "is no cron expression"),
        ("@reboot", "UTC", "is no cron expression"),
        ("0 0 31 2 *", "UTC", "never comes"),
        ("30 2 * * *", "Berlin", "\"Berlin\" is no time zone"),
        ("30 2 * * *", "", "Europe/Berlin"),
        ("30 2 * * *", "../etc/passwd", "is no time zone"),
    ] {
        let error = Cadence::times(expression, zone).unwrap_err();
        assert!(error.kind == Kind::Input && error.message.contains(wanted), "{expression}: {error}");
    }
}

#[test]
fn cadences_read_well() {
    assert_eq!(Cadence::Interval(6 * HOUR).text(), "every 6 h");
    assert_eq!(times("30 2 * * *", "Europe/Berlin").text(), "At 02:30 (30 2 * * *, Europe/Berlin)");
    assert_eq!(times(" @daily ", "UTC").text(), "At 00:00 (@daily, UTC)");
    let reported =
        [MINUTE, 90 * MINUTE, HOUR, DAY, 36 * HOUR, 2 * DAY, 90 * DAY, Duration::from_secs(61), Duration::ZERO].map(duration_text);
    assert_eq!(reported, ["60 s", "90 min", "1 h", "24 h", "36 h", "2 days", "90 days", "61 s", "0 s"]);
    assert_eq!(times("30 2 * * *", "Europe/Berlin").spacing(at("2026-03-27T01:30:00Z")), DAY);
    assert_eq!(times("30 2 * * *", "Europe/Berlin").spacing(at("2026-03-28T01:30:00Z")), 23 * HOUR + 30 * MINUTE);
}

#[test]
fn jitter_is_the_same_for_the_same_and_spread_over_its_span() {
    let most = 30 * MINUTE;
    let of = |salt: &[u8], job: &str, day: u64| jitter(salt, job, day * 86_400_000_000_000, most);
    assert_eq!(of(b"a", "verification", 20_000), of(b"a", "verification", 20_000));
    assert_ne!(of(b"a", "verification", 20_000), of(b"b", "verification", 20_000));
    assert_ne!(of(b"a", "verification", 20_000), of(b"a", "catalog", 20_000));
    assert_eq!(jitter(b"a", "verification", 5, Duration::ZERO), Duration::ZERO);
    let all: Vec<Duration> = (0..2000).map(|day| of(b"a", "verification", day)).collect();
    assert!(all.iter().all(|jitter| *jitter < most));
    let mean_s = all.iter().map(Duration::as_secs_f64).sum::<f64>() / all.len() as f64;
    assert!((850.0..950.0).contains(&mean_s), "{mean_s} s");
}
