use super::*;
use crate::repository::name::RunId;
use crate::tb_format::checksum::Checksum;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMITS: Limits = Limits { memory_bytes: 100, uploads: 3 };

/// A segment of one op, with this many bytes.
fn segment(op: u64, stored_bytes: u64) -> SealedSegment {
    let name = SegmentName { timeline: 1, first_op: op, last_op: op, run: RunId(1) };
    let object = SealedObject { name: name.object(), body: vec![Bytes::new()], stored_bytes, digest: [op as u8; 32] };
    SealedSegment { name, object, last: row(op) }
}

fn row(op: u64) -> PrepareRow {
    PrepareRow { op, checksum: Checksum(u128::from(op)), timestamp_ns: op, size_bytes: 256 }
}

fn ops(durable: &[Durable]) -> Vec<u64> {
    durable.iter().map(|segment| segment.last.op).collect()
}

fn digest(op: u64) -> Digest {
    [op as u8; 32]
}

#[test]
fn uploads_end_in_any_order_and_are_durable_in_order() {
    let mut backlog = Backlog::new(LIMITS);
    let now = Instant::now();
    (1..=5).for_each(|op| backlog.push(segment(op, 10), now));
    let uploads: Vec<Upload> = std::iter::from_fn(|| backlog.take_upload()).collect();
    assert_eq!(uploads.iter().map(|upload| upload.name.first_op).collect::<Vec<_>>(), [1, 2, 3], "three at once, the oldest first");
    assert!(!backlog.has_upload());
    assert_eq!(ops(&backlog.stored(uploads[2].ticket, digest(3)).durable), [] as [u64; 0]);
    assert_eq!(backlog.waiting(), Waiting { memory_segments: 4, memory_bytes: 40, in_flight: 2, ..Waiting::default() });
    let fourth = backlog.take_upload().unwrap();
    assert_eq!(fourth.name.first_op, 4);
    backlog.put_back(uploads[0].ticket);
    assert_eq!(ops(&backlog.stored(uploads[1].ticket, digest(2)).durable), [] as [u64; 0]);
    let again = backlog.take_upload().unwrap();
    assert_eq!(again.ticket, uploads[0].ticket, "what failed is the oldest again");
    let advance = backlog.stored(again.ticket, digest(1));
    assert_eq!(ops(&advance.durable), [1, 2, 3]);
    assert_eq!(advance.durable[2].entry, segment(3, 10).entry());
    assert!(!advance.in_spool && !backlog.is_empty());
    // Reporting a result twice, or for a segment that is gone, changes nothing.
    assert_eq!(ops(&backlog.stored(again.ticket, digest(1)).durable), [] as [u64; 0]);
    backlog.put_back(uploads[1].ticket);
    assert_eq!(backlog.waiting(), Waiting { memory_segments: 2, memory_bytes: 20, in_flight: 1, ..Waiting::default() });
}

#[test]
fn the_oldest_make_room_also_while_they_are_uploaded() {
    let mut backlog = Backlog::new(LIMITS);
    let now = Instant::now();
    (1..=2).for_each(|op| backlog.push(segment(op, 50), now));
    assert!(matches!(backlog.admit(1, 49), Admit::Full), "the oldest does not fit into the spool");
    let first = backlog.take_upload().unwrap();
    let Admit::SpoolFirst(ticket, object) = backlog.admit(1, 50) else { panic!("the oldest goes to the spool") };
    assert_eq!((ticket, &object.name), (first.ticket, &segment(1, 50).object.name));
    assert!(backlog.spooled(ticket));
    assert!(matches!(backlog.admit(50, 0), Admit::Take) && matches!(backlog.admit(51, 0), Admit::Full));
    assert_eq!(backlog.waiting(), Waiting { memory_segments: 1, memory_bytes: 50, spool_segments: 1, spool_bytes: 50, in_flight: 1 });
    let advance = backlog.stored(first.ticket, digest(1));
    assert!(advance.in_spool && ops(&advance.durable) == [1]);
    assert!(!backlog.spooled(first.ticket), "it was stored before it was in the spool");
    // A segment that is larger than the whole memory goes to the spool after all others.
    let Admit::SpoolFirst(ticket, _) = backlog.admit(101, 101) else { panic!("the second goes first") };
    assert!(backlog.spooled(ticket));
    assert!(matches!(backlog.admit(101, 101), Admit::SpoolThis) && matches!(backlog.admit(101, 100), Admit::Full));
    assert_eq!(backlog.in_memory(), []);
}

#[test]
fn uploads_run_ahead_only_so_far() {
    let mut backlog = Backlog::new(Limits { memory_bytes: u64::MAX, uploads: 2 });
    (1..=2 * AHEAD_MAX as u64).for_each(|op| backlog.push(segment(op, 1), Instant::now()));
    let stuck = backlog.take_upload().unwrap();
    let mut stored = 0;
    while let Some(upload) = backlog.take_upload() {
        assert!(backlog.stored(upload.ticket, digest(0)).durable.is_empty());
        stored += 1;
    }
    assert_eq!(stored, AHEAD_MAX - 1);
    assert_eq!(backlog.stored(stuck.ticket, digest(0)).durable.len(), AHEAD_MAX);
    assert!(backlog.has_upload());
}

#[derive(Debug, Clone)]
enum Act {
    Offer(u64),
    Take,
    Stored(usize),
    Failed(usize),
    Damaged(usize),
    Spool,
    Killed,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1_u64..60).prop_map(Act::Offer),
        6 => Just(Act::Take),
        4 => any::<usize>().prop_map(Act::Stored),
        2 => any::<usize>().prop_map(Act::Failed),
        1 => any::<usize>().prop_map(Act::Damaged),
        2 => Just(Act::Spool),
        1 => Just(Act::Killed),
    ]
}

/// An agent around a backlog: a log that grows op by op, a spool, a store, and what was reported.
struct Model {
    backlog: Backlog,
    spool_bytes_max: u64,
    /// The spool: sizes by op.
    spool: BTreeMap<u64, u64>,
    in_flight: Vec<Upload>,
    next_op: u64,
    stored: Vec<u64>,
    /// Ops that were reported as lost: refused, or damaged.
    reported: Vec<u64>,
    durable_op: u64,
}

impl Model {
    fn new(spool_bytes_max: u64) -> Model {
        let (spool, in_flight, stored, reported) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        Model { backlog: Backlog::new(LIMITS), spool_bytes_max, spool, in_flight, next_op: 1, stored, reported, durable_op: 0 }
    }

    fn free_bytes(&self) -> u64 {
        self.spool_bytes_max.saturating_sub(self.spool.values().sum())
    }

    fn offer(&mut self, stored_bytes: u64) {
        let op = self.next_op;
        self.next_op += 1;
        loop {
            match self.backlog.admit(stored_bytes, self.free_bytes()) {
                Admit::Take => return self.backlog.push(segment(op, stored_bytes), Instant::now()),
                Admit::SpoolFirst(ticket, object) => self.spool(ticket, &object),
                Admit::SpoolThis => {
                    self.spool.insert(op, stored_bytes);
                    return self.backlog.push_spooled(segment(op, 0).name, stored_bytes, None, row(op), Instant::now());
                }
                Admit::Full => return self.reported.push(op),
            }
        }
    }

    fn spool(&mut self, ticket: Ticket, object: &SealedObject) {
        let op = SegmentName::parse(&object.name).unwrap().first_op;
        self.spool.insert(op, object.stored_bytes);
        assert!(self.backlog.spooled(ticket));
    }

    fn pick(&mut self, which: usize) -> Option<Upload> {
        (!self.in_flight.is_empty()).then(|| self.in_flight.remove(which % self.in_flight.len()))
    }

    fn advance(&mut self, durable: Vec<Durable>) {
        for segment in durable {
            let op = segment.last.op;
            assert!(op > self.durable_op, "durable goes forward");
            let hole: Vec<u64> =
                (self.durable_op + 1..op).filter(|missing| !self.reported.contains(missing) && !self.stored.contains(missing)).collect();
            assert_eq!(hole, [] as [u64; 0], "nothing before op {op} is missing unless that was told");
            assert!(self.stored.contains(&op));
            self.durable_op = op;
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Offer(stored_bytes) => self.offer(stored_bytes),
            Act::Take => self.in_flight.extend(self.backlog.take_upload()),
            Act::Stored(which) => {
                let Some(upload) = self.pick(which) else { return };
                let op = upload.name.first_op;
                self.stored.push(op);
                let advance = self.backlog.stored(upload.ticket, digest(op));
                assert_eq!(advance.in_spool, self.spool.remove(&op).is_some());
                self.advance(advance.durable);
            }
            Act::Failed(which) => {
                let Some(upload) = self.pick(which) else { return };
                self.backlog.put_back(upload.ticket);
            }
            Act::Damaged(which) => {
                let Some(upload) = self.pick(which) else { return };
                if upload.object.is_some() {
                    return self.backlog.put_back(upload.ticket);
                }
                self.spool.remove(&upload.name.first_op);
                self.reported.push(upload.name.first_op);
                let durable = self.backlog.lost(upload.ticket);
                self.advance(durable);
            }
            Act::Spool => {
                let Some((ticket, object, _)) = self.backlog.oldest_in_memory() else { return };
                if object.stored_bytes <= self.free_bytes() {
                    self.spool(ticket, &object);
                }
            }
            Act::Killed => self.killed(),
        }
        self.check();
    }

    /// The agent is killed: what was in memory is lost. The next agent resumes after the last op
    /// that the store or the spool has without a hole.
    fn killed(&mut self) {
        self.backlog = Backlog::new(LIMITS);
        self.in_flight.clear();
        for (op, stored_bytes) in &self.spool {
            self.backlog.push_spooled(segment(*op, 0).name, *stored_bytes, None, row(*op), Instant::now());
        }
        let kept = |op: &u64| self.stored.contains(op) || self.reported.contains(op) || self.spool.contains_key(op);
        let next_op = (1..).find(|op| !kept(op)).unwrap();
        let last_spooled = self.spool.last_key_value().map_or(0, |(op, _)| *op);
        assert!(next_op > last_spooled, "op {next_op} is a hole before what is in the spool");
        // What the store took after a hole is read and stored again.
        self.stored.retain(|op| *op < next_op);
        self.reported.retain(|op| *op < next_op);
        self.next_op = next_op;
    }

    fn check(&self) {
        let waiting = self.backlog.waiting();
        assert!(waiting.memory_bytes <= LIMITS.memory_bytes);
        assert_eq!((waiting.spool_segments, waiting.spool_bytes), (self.spool.len() as u64, self.spool.values().sum()));
        assert_eq!(waiting.in_flight, self.in_flight.len());
        assert!(waiting.in_flight <= LIMITS.uploads);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn the_durable_prefix_has_no_hole_that_was_not_told(acts in prop::collection::vec(act(), 0..200), spool_bytes_max in prop_oneof![Just(0_u64), 1_u64..400]) {
        let mut model = Model::new(spool_bytes_max);
        acts.into_iter().for_each(|act| model.act(act));
        // The store is back for good, so everything is shipped.
        while !model.backlog.is_empty() {
            model.act(Act::Take);
            model.act(Act::Stored(0));
        }
        let all: Vec<u64> = (1..model.next_op).filter(|op| !model.stored.contains(op) && !model.reported.contains(op)).collect();
        prop_assert_eq!(all, [] as [u64; 0]);
        prop_assert!(model.spool.is_empty());
        prop_assert_eq!(model.backlog.waiting(), Waiting::default());
    }
}

#[test]
fn what_another_agent_has_stored_goes_up_to_its_op_and_no_further() {
    let (mut backlog, now) = (Backlog::new(LIMITS), Instant::now());
    let other = SegmentName { timeline: 2, ..segment(2, 0).name };
    for name in [segment(1, 0).name, segment(2, 0).name, other] {
        backlog.push_spooled(name, 7, None, row(name.last_op), now);
    }
    (3..=5).for_each(|op| backlog.push(segment(op, 10), now));
    let first = backlog.take_upload().unwrap();
    let everything = backlog.waiting();
    assert_eq!(backlog.forget_through(1, 1), (vec![], vec![]), "its upload is on its way");
    assert_eq!(backlog.waiting(), everything);
    assert_eq!(backlog.forget_through(1, 3), (vec![(segment(2, 0).name, 7)], vec![]));
    let left = Waiting { memory_segments: 2, memory_bytes: 20, spool_segments: 2, spool_bytes: 14, in_flight: 1 };
    assert_eq!(backlog.waiting(), left, "ops 4 and 5, the other timeline, and the first");
    assert_eq!(backlog.forget_through(1, 3), (vec![], vec![]));
    let advance = backlog.stored(first.ticket, digest(1));
    assert!(advance.in_spool && ops(&advance.durable) == [1]);
    let uploads: Vec<SegmentName> = std::iter::from_fn(|| backlog.take_upload()).map(|upload| upload.name).collect();
    assert_eq!(uploads, [other, segment(4, 0).name, segment(5, 0).name]);
}

#[test]
fn what_waits_behind_something_stored_is_durable_when_that_is_forgotten_or_lost() {
    let now = Instant::now();
    let ready = || {
        let mut backlog = Backlog::new(LIMITS);
        (1..=3).for_each(|op| backlog.push(segment(op, 10), now + std::time::Duration::from_secs(op)));
        let uploads: Vec<Upload> = std::iter::from_fn(|| backlog.take_upload()).collect();
        assert_eq!(ops(&backlog.stored(uploads[1].ticket, digest(2)).durable), [] as [u64; 0]);
        (backlog, uploads)
    };
    let (mut backlog, uploads) = ready();
    backlog.put_back(uploads[0].ticket);
    assert_eq!(ops(&backlog.forget_through(1, 1).1), [2]);
    assert_eq!(backlog.oldest(), Some(now + std::time::Duration::from_secs(3)));
    let (mut backlog, uploads) = ready();
    assert_eq!(ops(&backlog.lost(uploads[0].ticket)), [2]);
    assert_eq!(backlog.in_memory(), [segment(3, 0).name]);
    assert_eq!(ops(&backlog.stored(uploads[2].ticket, digest(3)).durable), [3]);
    assert!(backlog.is_empty() && backlog.oldest().is_none() && backlog.waiting() == Waiting::default());
}
