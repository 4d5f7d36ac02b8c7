use super::*;
use crate::log_shipping::tests::bench::{self, Bench, shipper};
use crate::log_shipping::tests::store_double::{segments, segments_after};
use crate::repository::sample::store_log;
use crate::tb_format::sample::{log_after, root_header};
use crate::tier::tigerbeetle::format::segment::SealedSegment;

const TIMEOUT: Duration = Duration::from_millis(30);

/// A lease holder with its own board and shipper, for the repository of a bench.
fn holder(bench: &Bench, token: &str) -> (LeaseHolder, Arc<StatusBoard>) {
    let board = Arc::new(StatusBoard::default());
    let plan = LeasePlan { heartbeat: Duration::from_millis(10), timeout: TIMEOUT };
    let holder = Holder { text: format!("agent {token}"), token: token.to_owned() };
    let ready = Arc::new(AtomicBool::new(true));
    let shipper = shipper(&bench.repository, &board, 1 << 30);
    (LeaseHolder::new(&bench.repository, &shipper, &board, plan, 1, holder, &ready), board)
}

fn fence(board: &StatusBoard) -> (u64, bool) {
    let lease = board.status().lease.unwrap();
    assert_eq!(lease.is_ours, board.is_leading());
    (lease.fence, lease.is_ours)
}

#[test]
fn a_free_lease_is_taken_when_the_log_has_joined() {
    let bench = Bench::new(1 << 20);
    let (mut holder, board) = holder(&bench, "a");
    holder.ready.store(false, Ordering::Release);
    holder.turn().unwrap();
    assert!(!board.is_leading() && board.status().lease.is_none());
    holder.ready.store(true, Ordering::Release);
    holder.turn().unwrap();
    assert_eq!(fence(&board), (1, true));
    holder.turn().unwrap();
    assert_eq!(bench.repository.lease(1).unwrap().unwrap().beat, 1);
}

#[test]
fn a_silent_leader_is_followed_by_one_that_watched_and_stands_by_then() {
    let bench = Bench::new(1 << 20);
    let ((mut first, first_board), (mut second, second_board)) = (holder(&bench, "a"), holder(&bench, "b"));
    first.turn().unwrap();
    second.turn().unwrap();
    assert_eq!((fence(&second_board), second_board.status().lease.unwrap().holder.as_str()), ((1, false), "agent a"));
    // The first agent is alive: the pauses between its heartbeats do not add up to a time-out.
    for _ in 0..4 {
        std::thread::sleep(TIMEOUT / 2);
        first.turn().unwrap();
        second.turn().unwrap();
        assert!(!second_board.is_leading());
    }
    std::thread::sleep(TIMEOUT + Duration::from_millis(5));
    second.turn().unwrap();
    assert_eq!(fence(&second_board), (2, true));
    first.turn().unwrap();
    assert_eq!(fence(&first_board), (2, false));
    first.turn().unwrap();
    assert!(!first_board.is_leading() && second_board.is_leading());
}

#[test]
fn ones_own_lease_of_before_and_one_that_was_given_up_are_taken_at_once() {
    let bench = Bench::new(1 << 20);
    holder(&bench, "a").0.turn().unwrap();
    let (mut again, again_board) = holder(&bench, "a");
    again.turn().unwrap();
    assert_eq!(fence(&again_board), (2, true));
    let (mut other, other_board) = holder(&bench, "b");
    other.turn().unwrap();
    assert!(!other_board.is_leading());
    again.release();
    assert!(!again_board.is_leading());
    other.turn().unwrap();
    assert_eq!(fence(&other_board), (3, true));
}

#[test]
fn a_keeper_that_is_stopped_gives_the_lease_up() {
    let bench = Bench::new(1 << 20);
    let (mut holder, board) = holder(&bench, "a");
    let (stop, released) = (Stop::default(), holder.released());
    assert!(holder.step(&stop).is_some_and(|pause| !pause.is_zero()) && board.is_leading());
    stop.ask();
    assert!(!released.load(Ordering::Acquire));
    holder.run(&stop);
    assert!(released.load(Ordering::Acquire));
    let unstopped = self::holder(&bench, "b").0;
    let released = unstopped.released();
    drop(unstopped);
    assert!(released.load(Ordering::Acquire), "nobody waits for a thread that has ended");
    assert!(bench.repository.lease(1).unwrap().unwrap().released && !board.is_leading());
}

#[test]
fn what_the_leader_stored_is_let_go_but_not_its_end_nor_what_is_behind_a_hole() {
    let bench = Bench::new(1 << 20);
    holder(&bench, "a").0.turn().unwrap();
    let (mut standby, board) = holder(&bench, "b");
    // A segment of another history that an earlier session left: no other agent stores it.
    let other = segments_after(&bench.repository, &root_header(7), 2, 1);
    let ours = segments(&bench.repository, 40);
    for segment in other.iter().chain(&ours) {
        standby.shipper.offer(segment.clone());
    }
    let put = |segments: &[SealedSegment]| bench::put(&bench.repository, segments);
    let waiting = |holder: &LeaseHolder| holder.shipper.counters().waiting.memory_segments;
    put(&ours[..10]);
    put(&ours[11..30]);
    standby.turn().unwrap();
    assert_eq!((board.status().durable_op, waiting(&standby)), (50, 41), "op 51 is not stored");
    put(&ours[10..11]);
    standby.turn().unwrap();
    // Ops 1 to 85 are dropped: 86 is the last op that is 64 ops before the end.
    assert_eq!((board.status().durable_op, waiting(&standby)), (150, 41 - 17));
    standby.turn().unwrap();
    assert_eq!(waiting(&standby), 24);
}

#[test]
fn a_leader_that_beats_but_stores_nothing_gives_way_to_one_that_has_more() {
    let bench = Bench::new(1 << 20);
    let ((mut first, _), (mut second, board)) = (holder(&bench, "a"), holder(&bench, "b"));
    first.turn().unwrap();
    let wait = |first: &mut LeaseHolder, second: &mut LeaseHolder| {
        for _ in 0..3 {
            second.turn().unwrap();
            std::thread::sleep(TIMEOUT / 2);
            first.turn().unwrap();
        }
        second.turn().unwrap();
    };
    wait(&mut first, &mut second);
    assert!(!board.is_leading(), "there is nothing more to store");
    board.read(7, 7, 6, 0, None);
    wait(&mut first, &mut second);
    assert_eq!(fence(&board), (2, true));
}

#[test]
fn a_lease_that_is_laid_down_is_left_to_others_for_a_while() {
    let bench = Bench::new(1 << 20);
    let (mut holder, board) = holder(&bench, "a");
    holder.turn().unwrap();
    board.yield_lease();
    assert!(!board.is_leading(), "nothing more is stored at once");
    holder.turn().unwrap();
    assert!(bench.repository.lease(1).unwrap().unwrap().released && !board.is_leading());
    holder.turn().unwrap();
    assert!(!board.is_leading());
    std::thread::sleep(2 * TIMEOUT + Duration::from_millis(5));
    holder.turn().unwrap();
    assert_eq!(fence(&board), (2, true), "nobody else has taken it");
}

#[test]
fn what_ends_sixty_four_ops_before_the_leaders_end_is_dropped_and_no_op_more() {
    let log = log_after(&root_header(7), 100);
    // A segment of five ops ends with op 10; the leader's end is one op short of 64 ops further.
    for (reach_op, dropped) in [(10 + UNSETTLED_OPS - 1, 1), (10 + UNSETTLED_OPS, 2)] {
        let bench = Bench::new(1 << 20);
        holder(&bench, "a").0.turn().unwrap();
        let (mut standby, _) = holder(&bench, "b");
        for segment in segments(&bench.repository, 4) {
            standby.shipper.offer(segment);
        }
        store_log(&bench.repository, 1, 5, &log[..reach_op as usize]).unwrap();
        standby.turn().unwrap();
        assert_eq!(standby.shipper.counters().waiting.memory_segments, 4 - dropped, "stored to op {reach_op}");
    }
}
