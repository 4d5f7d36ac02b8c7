//! The waiting itself, on a real clock: who waits, who does not, and that it ends.

use super::*;

const MIB: u64 = 1 << 20;

/// A governor for a MiB a second, of which the log has taken everything for the next ten seconds.
fn exhausted() -> Arc<Governor> {
    let governor = Arc::new(Governor::new(Limits { upload_bytes_per_s: Some(MIB), ..Limits::default() }, 0, Clock::default()));
    let began = Instant::now();
    governor.admit_upload(Priority::Log, 100 * MIB);
    governor.admit_upload(Priority::Log, 100 * MIB);
    assert!(began.elapsed() < Duration::from_secs(5), "the log does not wait");
    governor
}

#[test]
fn without_limits_nobody_waits_and_nothing_is_counted() {
    let governor = Governor::unlimited();
    governor.admit(Priority::Bulk, u64::MAX);
    governor.admit_upload(Priority::Bulk, u64::MAX);
    governor.admit_read(Priority::Bulk, u64::MAX);
    governor.meter();
    assert_eq!((governor.forecast().bulk_waited_s, governor.bulk_ns.load(Ordering::Relaxed)), (0.0, 0));
    // A limit on one thing does not limit another.
    let governor = exhausted();
    governor.admit_read(Priority::Bulk, u64::MAX);
    governor.admit(Priority::Bulk, u64::MAX);
}

#[test]
fn bulk_work_waits_until_there_is_room() {
    let governor = Governor::new(Limits { upload_bytes_per_s: Some(MIB), ..Limits::default() }, 0, Clock::default());
    let began = Instant::now();
    for _ in 0..6 {
        governor.admit_upload(Priority::Bulk, MIB / 8);
    }
    // Half a second's worth passes at once, the other quarter at nine tenths of the rate.
    assert!(began.elapsed() >= Duration::from_millis(270), "{:?}", began.elapsed());
    assert!(governor.forecast().bulk_waited_s > 0.2);
}

#[test]
fn who_waits_for_work_that_is_given_up_goes_on_at_once() {
    let governor = exhausted();
    let waiting = Arc::clone(&governor);
    let waits = std::thread::spawn(move || {
        waiting.admit_upload(Priority::Bulk, MIB);
        Instant::now()
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waits.is_finished());
    governor.release();
    let released = Instant::now();
    assert!(waits.join().unwrap() < released + Duration::from_secs(5), "it would have waited for more than ten seconds");
    governor.admit_upload(Priority::Bulk, MIB);
    // And bulk work has to wait again once somebody wants the work.
    governor.resume();
    let waiting = Arc::clone(&governor);
    let waits = std::thread::spawn(move || waiting.admit_upload(Priority::Bulk, MIB));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waits.is_finished());
    governor.release();
    waits.join().unwrap();
}

#[test]
fn a_thread_says_what_it_used_since_the_last_time() {
    let governor = Arc::new(Governor::new(Limits { cpu_budget_percent: Some(100), ..Limits::default() }, 1, Clock::default()));
    let metered = Arc::clone(&governor);
    let burn = |until_ns: u64| {
        let began_ns = clock_ns(ClockId::ThreadCPUTime);
        while clock_ns(ClockId::ThreadCPUTime) < began_ns + until_ns {}
    };
    let used = std::thread::spawn(move || {
        burn(30_000_000);
        metered.begin_bulk_thread();
        let before = metered.bulk_ns.load(Ordering::Relaxed);
        burn(20_000_000);
        metered.meter();
        (before, metered.bulk_ns.load(Ordering::Relaxed), rustix::process::getpriority_process(None).unwrap())
    });
    let (before, after, nice) = used.join().unwrap();
    assert_eq!(before, 0, "what it did before is not known to be bulk work");
    assert!((20_000_000..29_000_000).contains(&after), "{after}");
    let own = rustix::process::getpriority_process(None).unwrap();
    assert!(nice == 1.max(own), "only that thread yields: {nice}, {own}");
}
