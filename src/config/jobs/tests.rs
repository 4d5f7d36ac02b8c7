//! `[jobs.NAME]`: when jobs run.

use crate::config::tests::{parse, refused};
use crate::schedule::cadence::Cadence;
use std::time::Duration;

fn cadence(more: &str) -> Option<Cadence> {
    parse(&format!("{}[jobs.verification]\n{more}\n", crate::config::tests::LEAST)).unwrap().jobs["verification"].cadence.clone()
}

#[test]
fn an_interval_or_times_of_day_are_taken() {
    assert_eq!(cadence(""), None);
    assert_eq!(cadence("interval_s = 3600"), Some(Cadence::Interval(Duration::from_secs(3600))));
    assert_eq!(cadence("cron = '30 2 * * *'"), Some(Cadence::times("30 2 * * *", "UTC").unwrap()));
    assert_eq!(cadence("cron = '30 2 * * 1-5'\ntime_zone = 'Asia/Kolkata'"), Some(Cadence::times("30 2 * * 1-5", "Asia/Kolkata").unwrap()));
    let plan = parse(&format!("{}[jobs.a]\njitter_s = 60\n[jobs.b]\nenabled = false\n", crate::config::tests::LEAST)).unwrap();
    assert_eq!((plan.jobs["a"].jitter, plan.jobs["a"].is_enabled), (Duration::from_secs(60), true));
    assert_eq!((plan.jobs["b"].jitter, plan.jobs["b"].is_enabled), (Duration::ZERO, false));
    assert!(parse(crate::config::tests::LEAST).unwrap().jobs.is_empty());
}

#[test]
fn what_is_wrong_is_refused_with_its_line() {
    for (more, wanted) in [
        ("[jobs.v]\ninterval_s = 0", "amber.toml:6: `interval_s = 0`: interval_s must be 1 to 31622400, because"),
        ("[jobs.v]\ninterval_s = \"6h\"", "amber.toml:6: `interval_s = \"6h\"`: write the number of seconds: interval_s = 21600"),
        ("[jobs.v]\njitter_s = -1", "jitter_s must be 0 to 86400"),
        ("[jobs.v]\ninterval_s = 60\ncron = '* * * * *'", "amber.toml:7: `cron = '* * * * *'`: there are an interval_s and a cron"),
        ("[jobs.v]\ninterval_s = 60\ntime_zone = 'UTC'", "amber.toml:7: `time_zone = 'UTC'`: a time zone belongs to times of day"),
        ("[jobs.v]\ncron = '30 2 * *'", "amber.toml:6: `cron = '30 2 * *'`: \"30 2 * *\" is no cron expression"),
        ("[jobs.v]\ncron = '0 0 30 2 *'", "never comes"),
        ("[jobs.v]\ncron = '30 2 * * *'\ntime_zone = 'Berlin'", "amber.toml:7: `time_zone = 'Berlin'`: \"Berlin\" is no time zone"),
        (
            "[jobs.v]\nintervall_s = 5",
            "amber.toml:6: `intervall_s = ...`: there is no key intervall_s in [jobs.NAME]: did you mean interval_s?",
        ),
        ("[jobs]\nverification = 5", "a section: write [name]"),
        ("[jobs.checkpoint]\ninterval_s = 59", "interval_s must be 60 to 604800"),
        (
            "[checkpoint]\ninterval_s = 60\n[jobs.checkpoint]\ninterval_s = 90",
            "amber.toml:8: `interval_s = 90`: the interval of checkpoints is written in [checkpoint], too",
        ),
    ] {
        let message = refused(more);
        assert!(message.contains(wanted), "{more}: {message}");
    }
}
