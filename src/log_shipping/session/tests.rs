use super::*;
use crate::log_shipping::joining::tests::{agent, folder};
use crate::log_shipping::tests::bench::{HOUR, segments_in};
use crate::log_shipping::tests::store_double::{eventually, segments_after};
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::write_data_file;

#[test]
fn a_whole_session_ships_gives_the_lease_up_and_the_next_goes_on() {
    let folder = folder();
    let mut agent = agent(folder.path(), 20);
    agent.plan.process.shutdown = Duration::from_secs(10);
    agent.plan.checkpoint.interval = HOUR;
    let run = |until: u64| {
        let stop = Stop::default();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| agent.session(&stop).unwrap());
            eventually("the log is durable", || agent.board.status().durable_op == until);
            stop.ask();
            assert_eq!(running.join().unwrap(), Ended::Stopped);
        });
        assert!(agent.checked.repository.lease(1).unwrap().unwrap().released && !agent.board.is_leading());
        let stored = segments_in(&agent.checked.repository);
        assert_eq!((stored[0].0, stored.last().unwrap().1), (960, until));
        assert!(stored.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "nothing is stored twice: {stored:?}");
    };
    run(979);
    write_data_file(&SampleFile::new(7, 35), &folder.path().join("d")).unwrap();
    run(994);
}

#[test]
fn where_the_log_cannot_be_read_the_session_ends_in_good_order() {
    let folder = folder();
    let mut agent = agent(folder.path(), 20);
    agent.plan.checkpoint.interval = HOUR;
    agent.plan.log.source = crate::config::plan::LogFrom::Aof { file: folder.path().join("none.aof") };
    let error = agent.session(&Stop::default()).unwrap_err();
    assert!(error.message.contains("none.aof"), "{error}");
    let lease = agent.checked.repository.lease(1).unwrap();
    assert!(lease.is_none_or(|lease| lease.released) && !agent.board.is_leading());
}

#[test]
fn a_repository_that_was_away_is_joined_anew() {
    let folder = folder();
    let mut agent = agent(folder.path(), 20);
    agent.plan.process.shutdown = Duration::from_secs(10);
    agent.plan.checkpoint.interval = HOUR;
    let (root, moved) = (folder.path().join("r"), folder.path().join("moved"));
    let stop = Stop::default();
    let is_away = || agent.board.status().alerts.iter().any(|alert| alert.topic == Topic::Place);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| agent.session(&stop).unwrap());
        eventually("the log is durable", || agent.board.status().durable_op == 979);
        std::fs::rename(&root, &moved).unwrap();
        eventually("it is noticed", is_away);
        std::fs::rename(&moved, &root).unwrap();
        let began = Instant::now();
        while !running.is_finished() && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.ask();
        let ended = running.join().unwrap();
        assert!(matches!(&ended, Ended::Rejoin(reason) if reason.contains("away")), "{ended:?}");
    });
    assert!(!is_away() && agent.checked.repository.lease(1).unwrap().unwrap().released);
}

#[test]
fn what_is_damaged_in_the_spool_is_a_gap_as_far_as_it_is_not_read_again() {
    for (after_op, expected) in [(964, None), (965, Some((965, 965))), (969, Some((965, 969))), (980, Some((965, 969)))] {
        let folder = folder();
        let agent = agent(folder.path(), 50);
        let (path, repository) = (agent.plan.state_directory.join(SPOOL_FOLDER), &agent.checked.repository);
        let log = segments_after(repository, &SampleFile::new(7, 0).checkpoint().header(), 1, 2);
        Spool::open(repository, &path, 1 << 20).unwrap().put(&log[1].object).unwrap();
        let file = path.join(&log[1].object.name);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[70] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let spool = Spool::open(repository, &path, 1 << 20).unwrap();
        assert_eq!(spool.damaged().len(), 1);
        let mut start = agent.try_join(&spool).unwrap();
        start.after.0 = after_op;
        let _shipper = agent.shipper(spool, &start);
        let gaps: Vec<(u64, u64)> = agent.board.status().gaps.iter().map(|gap| (gap.first_op, gap.last_op)).collect();
        assert_eq!(gaps, expected.into_iter().collect::<Vec<_>>(), "read on behind op {after_op}");
    }
}
