//! A store whose weather a test decides: it is away, refuses, panics, or lets single puts hang.
//! Also segments to ship to it.

use crate::repository::name::RunId;
use crate::repository::{Repository, sample};
use crate::store::memory::MemoryStore;
use crate::store::{Capabilities, Digest, Listed, Multipart, PutOutcome, Store, StoreError};
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::sample::{log_after, root_header};
use crate::tb_format::wal::Prepare;
use crate::tier::tigerbeetle::format::segment::{SealedSegment, SegmentBuilder};
use bytes::Bytes;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How the store answers a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    Away,
    Refusing,
    Panicking,
    /// The object is stored, but the answer is lost.
    AnswerLost,
}

#[derive(Debug)]
struct Inner {
    weather: Weather,
    /// Puts of these names hang.
    held: Vec<String>,
    /// Names in the order in which they were stored.
    created: Vec<String>,
    puts: u64,
}

/// See the head of this file. Clones share everything.
#[derive(Debug, Clone)]
pub struct WeatherStore {
    memory: MemoryStore,
    inner: Arc<(Mutex<Inner>, Condvar)>,
}

impl WeatherStore {
    /// Creates a repository over such a store, in fair weather.
    pub fn with_repository() -> (WeatherStore, Arc<Repository>) {
        let memory = MemoryStore::new();
        sample::create(&memory).unwrap();
        let inner = Inner { weather: Weather::Fair, held: Vec::new(), created: Vec::new(), puts: 0 };
        let store = WeatherStore { memory, inner: Arc::new((Mutex::new(inner), Condvar::new())) };
        let repository = sample::open(Arc::new(store.clone())).unwrap();
        (store, repository)
    }

    pub fn set(&self, weather: Weather) {
        self.inner.0.lock().unwrap().weather = weather;
    }

    /// Puts of this name hang until it is released.
    pub fn hold(&self, name: &str) {
        self.inner.0.lock().unwrap().held.push(name.to_owned());
    }

    pub fn release(&self, name: &str) {
        self.inner.0.lock().unwrap().held.retain(|held| held != name);
        self.inner.1.notify_all();
    }

    /// Names in the order in which they were stored.
    pub fn created(&self) -> Vec<String> {
        self.inner.0.lock().unwrap().created.clone()
    }

    /// How many puts were tried.
    pub fn puts(&self) -> u64 {
        self.inner.0.lock().unwrap().puts
    }
}

impl Store for WeatherStore {
    fn describe(&self) -> String {
        "weather".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, StoreError> {
        let (lock, changed) = &*self.inner;
        let mut inner = lock.lock().unwrap();
        inner.puts += 1;
        let mut inner = changed.wait_while(inner, |inner| inner.held.iter().any(|held| held == name)).unwrap();
        let weather = inner.weather;
        let (store, action, name_text, reason) = ("weather".to_owned(), "put", name.to_owned(), format!("{weather:?} on purpose"));
        match weather {
            Weather::Away => return Err(StoreError::Unavailable { store, action, name: name_text, reason }),
            Weather::Refusing => return Err(StoreError::Refused { store, action, name: name_text, reason }),
            Weather::Panicking => {
                drop(inner);
                panic!("{reason}");
            }
            Weather::Fair | Weather::AnswerLost => {}
        }
        let outcome = self.memory.put(name, body, digest)?;
        if outcome == PutOutcome::Created {
            inner.created.push(name.to_owned());
        }
        if weather == Weather::AnswerLost {
            return Err(StoreError::Unavailable { store, action, name: name_text, reason });
        }
        Ok(outcome)
    }

    fn begin_multipart(&self, name: &str) -> Result<Box<dyn Multipart>, StoreError> {
        self.memory.begin_multipart(name)
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        self.memory.get_range(name, offset, length)
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.memory.size_bytes(name)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.memory.list(prefix, after, limit)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.memory.delete(name)
    }
}

/// `count` segments of five prepares each, one after the other, from op 1 on.
pub fn segments(repository: &Repository, count: usize) -> Vec<SealedSegment> {
    segments_after(repository, &root_header(7), 1, count)
}

/// Segments that continue the log after a prepare.
pub fn segments_after(repository: &Repository, parent: &PrepareHeader, timeline: u32, count: usize) -> Vec<SealedSegment> {
    let log = log_after(parent, 5 * count as u64);
    let seal = |log: &[Vec<u8>]| {
        let mut builder = SegmentBuilder::default();
        log.iter().for_each(|bytes| builder.push(&Prepare::check(bytes).unwrap()));
        builder.seal(repository, timeline, RunId(1 | RunId::SHIPS)).unwrap().unwrap()
    };
    log.chunks(5).map(seal).collect()
}

/// Waits until a condition holds, or fails the test.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
