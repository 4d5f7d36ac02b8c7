//! Backups under a clock that was wrong.

use super::{Fixture, backup};
use crate::host::Host;
use crate::host::clock::sample::quick;
use crate::pipeline::digest::digest_of;
use crate::progress::Silent;
use crate::repository::name::{FileName, RunId};
use crate::repository::sample::{options, secret};
use crate::repository::{Options, Repository};
use crate::store::Store;
use crate::tier::file::request::FileCaptureRequest;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_newest_is_what_was_written_last_whatever_the_clock_said() {
    let fixture = Fixture::new(b"of 2031");
    let tells = |notes: &[String]| notes.iter().any(|note| note.contains("a clock is or was wrong"));
    let (ahead, now) = (quick(), crate::units::now_ns());
    ahead.sleep(Duration::from_secs(5 * 365 * 24 * 3600));
    let host = Host { clock: ahead, ..Host::default() };
    let wrong = Repository::open(Arc::new(fixture.store.clone()), &secret(), Options { host, ..options() }).unwrap();
    let first = backup(&wrong, &fixture.request(), &Silent).unwrap();
    assert!(first.name.run.ms() > now / 1_000_000 + 1_000_000 && !tells(&first.notes), "{:?}", first.notes);
    fixture.write(b"of today");
    let second = fixture.backup(None).0.unwrap();
    assert!(second.name.run > first.name.run && second.record.ended_ns < first.record.ended_ns, "{}", second.name.run);
    assert!(tells(&second.notes), "{:?}", second.notes);
    assert_eq!(fixture.stored(), b"of today");
    // A run that was drawn before, and a third one.
    fixture.write(b"of tomorrow");
    let request = FileCaptureRequest { run: Some(fixture.repository().new_run().unwrap()), ..fixture.request() };
    assert!(backup(&fixture.repository(), &request, &Silent).unwrap().name.run > second.name.run);
    assert_eq!(fixture.stored(), b"of tomorrow");
    // A name of the far future that nobody sealed does not count.
    let junk = FileName { run: RunId(u64::MAX), ..second.name };
    fixture.store.put(&junk.record(), &[Bytes::from_static(b"junk")], &digest_of(b"junk")).unwrap();
    fixture.write(b"of another day");
    assert!(fixture.backup(None).0.unwrap().name.run.ms() < junk.run.ms());
}
