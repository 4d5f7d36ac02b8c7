//! How many servers run at once: a test that starts some first takes places, and releases them when
//! it ends, also by a panic.
//!
//! A place is room for one TigerBeetle (2 GiB of memory and most of a core while it is loaded).
//! There are as many places as cores, but not more than fit into memory (with more, the servers
//! would wait for the disk). `AMBER_TEST_PLACES` sets another number. Places are assigned in the
//! order of the requests, so that smaller tests do not overtake a test with three replicas for
//! ever.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Memory for one place: a server, its load, the program under test and what the system caches of
/// their files.
const PLACE_BYTES: u64 = 4 << 30;

/// Places that a test holds.
pub struct Turn {
    places: usize,
}

struct Places {
    all: usize,
    free: usize,
    /// The next number for a test that asks, and the number whose turn it is.
    asked: u64,
    served: u64,
}

static PLACES: Mutex<Option<Places>> = Mutex::new(None);
static GIVEN_BACK: Condvar = Condvar::new();

fn all_places() -> usize {
    if let Ok(places) = std::env::var("AMBER_TEST_PLACES") {
        return places.parse::<usize>().unwrap().max(1);
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let room = kib.map_or(1, |kib| kib * 1024 / PLACE_BYTES);
    cores.min(usize::try_from(room).unwrap_or(1)).max(1)
}

fn locked() -> MutexGuard<'static, Option<Places>> {
    // A test that failed during its turn leaves no state behind that could affect the next one.
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for room for one server.
pub fn turn() -> Turn {
    turn_for(1)
}

/// Waits for room for `servers` of them, or for all places if there are fewer.
pub fn turn_for(servers: usize) -> Turn {
    let mut guard = locked();
    let places = guard.get_or_insert_with(|| {
        let all = all_places();
        Places { all, free: all, asked: 0, served: 0 }
    });
    let (wanted, number) = (servers.min(places.all), places.asked);
    places.asked += 1;
    loop {
        if let Some(places) = guard.as_mut().filter(|places| places.served == number && places.free >= wanted) {
            places.free -= wanted;
            places.served += 1;
            GIVEN_BACK.notify_all();
            return Turn { places: wanted };
        }
        guard = GIVEN_BACK.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(places) = locked().as_mut() {
            places.free += self.places;
        }
        GIVEN_BACK.notify_all();
    }
}
