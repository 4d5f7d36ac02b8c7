//! Memory that is kept for the next TigerBeetle.
//!
//! A server touches and locks some 2 GiB when it starts. On a virtual machine that reports free memory to its host, what one server gave back has to be
//! had from the host again for the next one, page by page: 7 s of CPU time a start instead of half a second, which was a third of the suite. So what a server
//! used is held here until the next one starts. On machines that report nothing, nothing is held.

use std::sync::{Mutex, PoisonError};

/// What a server touches at its start.
const SERVER_BYTES: usize = 2 << 30;
/// As much as this many servers need; the rest of the memory is the page cache's.
const SERVERS_MAX: usize = 4;

static HELD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Whether the kernel reports free memory to a host (`mm/page_reporting.c`; an order above that of the largest free piece switches it off).
fn is_reported() -> bool {
    let order = std::fs::read_to_string("/sys/module/page_reporting/parameters/page_reporting_order").unwrap_or_default();
    order.trim().parse::<u32>().is_ok_and(|order| order <= 10)
}

/// A server is about to start: gives what is held for it back to the system.
pub fn release() {
    drop(HELD.lock().unwrap_or_else(PoisonError::into_inner).pop());
}

/// A server has ended: holds as much memory as it had.
pub fn hold() {
    if is_reported() {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() < SERVERS_MAX {
            held.push(vec![1; SERVER_BYTES]);
        }
    }
}
