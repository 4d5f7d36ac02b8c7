//! TigerBeetle's client library, `libtb_client`: the one file that calls it.
//!
//! Flow: [`Client::submit`] hands a packet (operation and body) to the library. The library's own
//! thread sends it, repeats it until the cluster answers, and calls [`completed`] with the answer.
//! That copies the answer into the [`PendingRequest`] and wakes the thread that waits for it. If
//! the caller gives up waiting, the packet stays with the library. It is freed when the library has
//! completed it, at the latest when the client is dropped.
//!
//! The declarations are those of `tb_client.h` of TigerBeetle 0.16.78
//! (`src/clients/c/tb_client.h`); the prebuilt library is the one of its Python client of the same
//! release (`tools/setup`).
//!
//! What `unsafe` relies on here:
//! - a handle and a packet stay where they are for as long as the library knows them: both live in
//!   a heap allocation of their own, which the handle's owner holds by a raw pointer, since the
//!   library's thread uses it, too;
//! - a packet belongs to the library from its submission to its completion, and nobody here touches
//!   it in between;
//! - the library completes every submitted packet exactly once, with [`STATUS_CLIENT_SHUTDOWN`]
//!   when the client ends. After `tb_client_deinit` has returned it completes nothing, except that
//!   a client whose session the cluster has ended may still be doing so: `completed` therefore uses
//!   nothing but its own reference to the request;
//! - `tb_client_submit` and `tb_client_deinit` may be called from any thread (`ClientInterface` in
//!   `context.zig`: "safe to call from multiple threads").
#![allow(unsafe_code)]

use crate::threads::lock;
use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

/// `TB_PACKET_OK`.
const STATUS_OK: u8 = 0;
/// `TB_PACKET_CLIENT_SHUTDOWN`: the client ended first.
const STATUS_CLIENT_SHUTDOWN: u8 = 5;

/// What a request asks for (`TB_OPERATION`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    CreateAccounts = 138,
    CreateTransfers = 139,
    LookupAccounts = 140,
    LookupTransfers = 141,
    QueryTransfers = 145,
}

/// Why no client could be made (`TB_INIT_STATUS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InitFailure {
    /// The addresses cannot be understood, or are too many.
    Addresses,
    /// No memory, no sockets, or an error that the library did not expect: the number of the
    /// status.
    Machine(c_int),
}

/// Why a request has no answer (`TB_PACKET_STATUS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestFailure {
    TooMuchData,
    Evicted,
    ReleaseTooLow,
    ReleaseTooHigh,
    Shutdown,
    InvalidOperation,
    InvalidDataSize,
    Unknown(u8),
}

impl RequestFailure {
    fn of(status: u8) -> RequestFailure {
        match status {
            1 => RequestFailure::TooMuchData,
            2 => RequestFailure::Evicted,
            3 => RequestFailure::ReleaseTooLow,
            4 => RequestFailure::ReleaseTooHigh,
            STATUS_CLIENT_SHUTDOWN => RequestFailure::Shutdown,
            6 => RequestFailure::InvalidOperation,
            7 => RequestFailure::InvalidDataSize,
            other => RequestFailure::Unknown(other),
        }
    }
}

/// `tb_client_t`.
#[repr(C)]
struct Handle {
    opaque: [u64; 4],
}

/// `tb_packet_t`.
#[repr(C)]
struct Packet {
    user_data: *mut c_void,
    data: *mut c_void,
    data_size: u32,
    user_tag: u16,
    operation: u8,
    status: u8,
    opaque: [u8; 64],
}

const _: () = assert!(size_of::<Handle>() == 32 && size_of::<Packet>() == 88);

/// `tb_completion_t`.
type Completion = unsafe extern "C" fn(usize, *mut Packet, u64, *const u8, u32);

/// The callback for the library's log lines: level, text, length of the text.
type Log = unsafe extern "C" fn(c_int, *const u8, u32);

#[link(name = "tb_client")]
unsafe extern "C" {
    fn tb_client_init(
        client_out: *mut Handle,
        cluster_id: *const [u8; 16],
        address_ptr: *const c_char,
        address_len: u32,
        completion_context: usize,
        completion: Completion,
    ) -> c_int;
    #[cfg(test)]
    fn tb_client_init_echo(
        client_out: *mut Handle,
        cluster_id: *const [u8; 16],
        address_ptr: *const c_char,
        address_len: u32,
        completion_context: usize,
        completion: Completion,
    ) -> c_int;
    fn tb_client_register_log_callback(callback: Option<Log>, debug: bool) -> c_int;
    fn tb_client_submit(client: *mut Handle, packet: *mut Packet) -> c_int;
    fn tb_client_deinit(client: *mut Handle) -> c_int;
}

/// A client with a session of its own and a thread of the library. Dropping it completes requests
/// in progress as [`RequestFailure::Shutdown`].
pub(super) struct Client {
    handle: NonNull<Handle>,
}

// SAFETY: the library locks its handle in every call, from whichever thread (see the head of this
// file).
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// A client of the cluster at `addresses`. It connects with its first request.
    pub(super) fn new(cluster: u128, addresses: &str) -> Result<Client, InitFailure> {
        Client::made_by(tb_client_init, cluster, addresses)
    }

    fn made_by(
        init: unsafe extern "C" fn(*mut Handle, *const [u8; 16], *const c_char, u32, usize, Completion) -> c_int,
        cluster: u128,
        addresses: &str,
    ) -> Result<Client, InitFailure> {
        // Without a callback, the library writes to the standard error each time it cannot connect.
        static LOG: Once = Once::new();
        LOG.call_once(|| {
            // It is the first and only callback, so the returned status says nothing of use.
            // SAFETY: the callback is a function of this program, which is there as long as the
            // library is.
            let _ = unsafe { tb_client_register_log_callback(Some(log), false) };
        });
        // The library accepts no addresses of such a length.
        let length = u32::try_from(addresses.len()).map_err(|_| InitFailure::Addresses)?;
        let handle = NonNull::from(Box::leak(Box::new(Handle { opaque: [0; 4] })));
        // SAFETY: the handle is ours until `release`; cluster and addresses are only read during
        // the call.
        let status = unsafe { init(handle.as_ptr(), &cluster.to_le_bytes(), addresses.as_ptr().cast(), length, 0, completed) };
        match status {
            0 => return Ok(Client { handle }),
            // SAFETY: the library does not know a handle that was not initialised.
            _ => unsafe { release(handle) },
        }
        Err(if matches!(status, 3 | 4) { InitFailure::Addresses } else { InitFailure::Machine(status) })
    }

    /// Sends a request. An empty body is never sent: it completes with an empty answer, because
    /// whether the library would refuse it depends on the operation.
    pub(super) fn submit(&self, operation: Operation, body: Vec<u8>) -> Arc<PendingRequest> {
        let packet = Packet {
            user_data: std::ptr::null_mut(),
            data: std::ptr::null_mut(),
            data_size: 0,
            user_tag: 0,
            operation: operation as u8,
            status: STATUS_OK,
            opaque: [0; 64],
        };
        let request =
            Arc::new(PendingRequest { packet: UnsafeCell::new(packet), body, answer: Mutex::new(None), answered: Condvar::new() });
        if request.body.is_empty() {
            request.complete(Ok(Vec::new()));
            return request;
        }
        let Ok(data_size) = u32::try_from(request.body.len()) else {
            request.complete(Err(RequestFailure::TooMuchData));
            return request;
        };
        let packet = request.packet.get();
        let for_the_library = Arc::into_raw(Arc::clone(&request));
        // SAFETY: nothing else refers to the packet yet, so it may be written here. From the
        // submission until `completed` runs it belongs to the library, and this reference keeps it
        // and the body alive that long. The library reads the body and does not write to it.
        let status = unsafe {
            (*packet).user_data = for_the_library.cast_mut().cast();
            (*packet).data = request.body.as_ptr().cast_mut().cast();
            (*packet).data_size = data_size;
            tb_client_submit(self.handle.as_ptr(), packet)
        };
        if status != 0 {
            // SAFETY: a packet that was not accepted is never completed, so the reference is still
            // ours.
            drop(unsafe { Arc::from_raw(for_the_library) });
            request.complete(Err(RequestFailure::Shutdown));
        }
        request
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: the handle was initialised by `new`, and nobody can use it after this. The
        // library completes requests in progress before this returns, and forgets the handle.
        let status = unsafe { tb_client_deinit(self.handle.as_ptr()) };
        if status == 0 {
            // SAFETY: as above.
            unsafe { release(self.handle) };
        }
        // Otherwise the cluster has ended the session, and the library's thread may still be using
        // the handle while it ends. So the 32 bytes of the handle are leaked.
    }
}

/// Frees a handle's memory.
///
/// # Safety
/// The handle came from `Client::made_by`, and the library does not know it, or no longer does.
unsafe fn release(handle: NonNull<Handle>) {
    // SAFETY: the caller guarantees this.
    drop(unsafe { Box::from_raw(handle.as_ptr()) });
}

/// A request in progress, or its answer.
pub(super) struct PendingRequest {
    packet: UnsafeCell<Packet>,
    body: Vec<u8>,
    answer: Mutex<Option<Result<Vec<u8>, RequestFailure>>>,
    answered: Condvar,
}

// SAFETY: the packet is written by its only owner before the submission, and by the library alone
// after it. All other fields may be shared.
unsafe impl Send for PendingRequest {}
// SAFETY: as above.
unsafe impl Sync for PendingRequest {}

impl PendingRequest {
    /// Waits for the answer, or until `give_up` holds, which is checked before the first wait and
    /// every `look_up`. Returns `None` if it gave up, or if the answer was taken before.
    pub(super) fn wait(&self, look_up: Duration, give_up: impl Fn() -> bool) -> Option<Result<Vec<u8>, RequestFailure>> {
        let mut answer = lock(&self.answer);
        loop {
            if answer.is_some() {
                return answer.take();
            }
            if give_up() {
                return None;
            }
            answer = self.answered.wait_timeout(answer, look_up).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn complete(&self, answer: Result<Vec<u8>, RequestFailure>) {
        *lock(&self.answer) = Some(answer);
        self.answered.notify_all();
    }
}

/// Called by the library's threads with their log lines. They are of use only to the library's
/// developers; what matters to callers is in the answers.
///
/// # Safety
/// `text` names `length` bytes that are valid during the call.
unsafe extern "C" fn log(level: c_int, text: *const u8, length: u32) {
    if !text.is_null() {
        // SAFETY: the library says so of these bytes, for the duration of this call.
        let text = unsafe { std::slice::from_raw_parts(text, length as usize) };
        tracing::debug!(level, "TigerBeetle's client: {}", String::from_utf8_lossy(text).trim_end());
    }
}

/// Called by the library's thread with every packet that it has completed.
///
/// # Safety
/// `packet` is one that [`Client::submit`] handed over, once; `result` is null or names
/// `result_size` bytes that are valid during the call.
unsafe extern "C" fn completed(_context: usize, packet: *mut Packet, _timestamp: u64, result: *const u8, result_size: u32) {
    // SAFETY: the packet came from `submit`, whose reference is reclaimed here, once.
    let (request, status) = unsafe { (Arc::from_raw((*packet).user_data.cast::<PendingRequest>()), (*packet).status) };
    if status != STATUS_OK {
        return request.complete(Err(RequestFailure::of(status)));
    }
    let answer = if result.is_null() || result_size == 0 {
        Vec::new()
    } else {
        // SAFETY: the library says so of these bytes, for the duration of this call.
        unsafe { std::slice::from_raw_parts(result, result_size as usize) }.to_vec()
    };
    request.complete(Ok(answer));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK_UP: Duration = Duration::from_millis(20);

    /// The library's own test double, which answers every body with itself.
    fn echo() -> Client {
        Client::made_by(tb_client_init_echo, 7, "127.0.0.1:1").unwrap()
    }

    #[test]
    fn answers_belong_to_their_requests() {
        let client = echo();
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let client = &client;
                scope.spawn(move || {
                    for size in 1..20_usize {
                        let body = vec![thread.wrapping_mul(31).wrapping_add(size as u8); size * 16];
                        let request = client.submit(Operation::LookupAccounts, body.clone());
                        assert_eq!(request.wait(LOOK_UP, || false), Some(Ok(body)));
                        assert_eq!(request.wait(LOOK_UP, || true), None, "an answer is taken once");
                    }
                });
            }
        });
    }

    #[test]
    fn what_the_library_refuses_is_a_failure() {
        let client = echo();
        let odd = client.submit(Operation::LookupAccounts, vec![1; 15]);
        assert_eq!(odd.wait(LOOK_UP, || false), Some(Err(RequestFailure::InvalidDataSize)));
        let large = client.submit(Operation::CreateTransfers, vec![1; 2 << 20]);
        assert_eq!(large.wait(LOOK_UP, || false), Some(Err(RequestFailure::TooMuchData)));
        assert_eq!(client.submit(Operation::LookupTransfers, Vec::new()).wait(LOOK_UP, || true), Some(Ok(Vec::new())), "never sent");
        for nonsense in ["nonsense", "127.0.0.1:70000", ""] {
            assert_eq!(Client::new(7, nonsense).err(), Some(InitFailure::Addresses), "{nonsense:?}");
        }
    }

    #[test]
    fn the_end_of_the_client_completes_what_is_under_way() {
        let port = crate::demo::free_ports(1).unwrap()[0];
        let client = Client::new(7, &format!("127.0.0.1:{port}")).unwrap();
        let request = client.submit(Operation::LookupAccounts, vec![0; 16]);
        assert_eq!(request.wait(LOOK_UP, || true), None, "nobody answers");
        drop(client);
        assert_eq!(request.wait(LOOK_UP, || true), Some(Err(RequestFailure::Shutdown)));
        assert_eq!(Arc::strong_count(&request), 1, "the library has let go of it");
    }

    #[test]
    fn every_status_has_its_failure() {
        let failures = [1, 2, 3, 4, 5, 6, 7, 200].map(RequestFailure::of);
        assert_eq!(failures[1], RequestFailure::Evicted);
        assert_eq!(failures[3], RequestFailure::ReleaseTooHigh);
        assert_eq!(failures[7], RequestFailure::Unknown(200));
    }
}
