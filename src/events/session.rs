//! One client session with a running cluster, with an end to every request.
//!
//! TigerBeetle's client never gives up: a request to a server that is down waits until it comes back, which is right for a ledger and wrong
//! for whoever waits. So every request here says when to give up. The client's futures are driven by its own thread and need no runtime; this
//! module parks the calling thread until one is ready.
//!
//! A cluster has room for some 64 sessions and forgets the one that has been silent for longest when another begins: keep a session, and do not begin one for every try.

use crate::error::{Error, Result};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tb::error::{CreateAccountErrorKind, CreateAccountsError, CreateTransferErrorKind, CreateTransfersError, SendError, SendErrorKind};
use tigerbeetle_unofficial as tb;

/// The most events that one request of TigerBeetle 0.16 holds: a 1 MiB message less its header and the batch trailer, in 128-byte events.
pub const EVENTS_PER_REQUEST_MAX: usize = 8189;

/// How long a waiting thread sleeps before it looks whether to give up; an answer wakes it at once.
const LOOK_UP: Duration = Duration::from_millis(20);
/// The same for whoever may wait for days.
const LOOK_UP_PATIENT: Duration = Duration::from_millis(200);

/// A client with its own session; requests go out one after the other.
pub struct Session {
    client: tb::Client,
    address: String,
    look_up: Duration,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    /// The cluster answered, and this follows from it.
    Done(Result<T>),
    /// The caller gave up waiting: the request may or may not happen.
    GaveUp,
}

impl Session {
    /// A client of the cluster at `address` (`127.0.0.1:3000`, or several with commas). It connects with its first request.
    ///
    /// # Errors
    /// [`Error::input`] when the address cannot be understood, [`Error::try_again`] when the machine has no room for a client.
    pub fn new(cluster: u128, address: &str) -> Result<Session> {
        let client = tb::Client::new(cluster, address).map_err(|error| match error.kind() {
            tb::error::NewClientErrorKind::AddressInvalid | tb::error::NewClientErrorKind::AddressLimitExceeded => {
                Error::input(format!("{address:?} is no list of replica addresses ({error})"))
            }
            _ => Error::try_again(format!("cannot make a client for {address}: {error}")),
        })?;
        Ok(Session { client, address: address.into(), look_up: LOOK_UP })
    }

    /// The same, for requests that may have to wait for long: it looks less often whether to give up.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn patient(cluster: u128, address: &str) -> Result<Session> {
        Ok(Session { look_up: LOOK_UP_PATIENT, ..Session::new(cluster, address)? })
    }

    /// Creates the accounts that are not there yet.
    ///
    /// # Errors
    /// [`Error::try_again`] without an answer by `deadline`; [`Error::input`] when the ledger refuses an account.
    pub fn create_accounts(&self, accounts: &[tb::Account], deadline: Instant) -> Result<()> {
        for part in accounts.chunks(EVENTS_PER_REQUEST_MAX) {
            let answer = self.try_accounts(part.to_vec(), || Instant::now() >= deadline);
            let Answer::Done(refused) = answer else { return Err(self.late()) };
            if let Some((account, kind)) = refused?.first() {
                return Err(Error::input(format!("the ledger at {} refuses account {account}: {kind:?}", self.address)));
            }
        }
        Ok(())
    }

    /// Sends one request of accounts and waits until it is answered or `give_up` holds. Those that are not there afterwards as they were given: their place and why.
    pub(crate) fn try_accounts(
        &self,
        accounts: Vec<tb::Account>,
        give_up: impl Fn() -> bool,
    ) -> Answer<Vec<(usize, CreateAccountErrorKind)>> {
        let Some(answer) = wait(self.client.create_accounts(accounts), self.look_up, give_up) else { return Answer::GaveUp };
        Answer::Done(match answer {
            Ok(()) => Ok(Vec::new()),
            Err(CreateAccountsError::Send(error)) => Err(self.send_error(error)),
            Err(CreateAccountsError::Api(refused)) => {
                let refused = refused.as_slice().iter().map(|one| (one.index() as usize, one.kind()));
                Ok(refused.filter(|(_, kind)| !matches!(kind, CreateAccountErrorKind::Exists)).collect())
            }
            Err(other) => Err(Error::bug(format!("unknown answer to create_accounts: {other}"))),
        })
    }

    /// Sends one transfer and waits until it is answered or `give_up` holds. Why it is not there afterwards as it was given, if it is not.
    pub(crate) fn try_transfer(&self, transfer: tb::Transfer, give_up: impl Fn() -> bool) -> Answer<Option<CreateTransferErrorKind>> {
        let Some(answer) = wait(self.client.create_transfers(vec![transfer]), self.look_up, give_up) else { return Answer::GaveUp };
        Answer::Done(match answer {
            Ok(()) => Ok(None),
            Err(CreateTransfersError::Send(error)) => Err(self.send_error(error)),
            Err(CreateTransfersError::Api(refused)) => {
                let kind = refused.as_slice().first().map(|one| one.kind());
                Ok(kind.filter(|kind| !matches!(kind, CreateTransferErrorKind::Exists)))
            }
            Err(other) => Err(Error::bug(format!("unknown answer to create_transfers: {other}"))),
        })
    }

    /// Sends one request of transfers, all of which the ledger must accept, and waits until it is answered or `give_up` holds.
    pub(crate) fn create_transfers(&self, transfers: Vec<tb::Transfer>, give_up: impl Fn() -> bool) -> Answer<()> {
        let Some(answer) = wait(self.client.create_transfers(transfers), self.look_up, give_up) else { return Answer::GaveUp };
        Answer::Done(match answer {
            Ok(()) => Ok(()),
            Err(CreateTransfersError::Send(error)) => Err(self.send_error(error)),
            Err(CreateTransfersError::Api(refused)) => {
                let first = refused.as_slice().first().map(ToString::to_string).unwrap_or_default();
                Err(Error::input(format!("the ledger at {} refuses {} transfers: {first}", self.address, refused.as_slice().len())))
            }
            Err(other) => Err(Error::bug(format!("unknown answer to create_transfers: {other}"))),
        })
    }

    /// The accounts of these ids that exist, in the order of the ids.
    ///
    /// # Errors
    /// [`Error::try_again`] without an answer by `deadline`.
    pub fn lookup_accounts(&self, ids: &[u128], deadline: Instant) -> Result<Vec<tb::Account>> {
        let mut found = Vec::with_capacity(ids.len());
        for part in ids.chunks(EVENTS_PER_REQUEST_MAX) {
            let answer = self.by(deadline, self.client.lookup_accounts(part.to_vec()))?;
            found.extend(answer.map_err(|error| self.send_error(error))?);
        }
        Ok(found)
    }

    /// The transfers of these ids that exist, in the order of the ids.
    ///
    /// # Errors
    /// [`Error::try_again`] without an answer by `deadline`.
    pub fn lookup_transfers(&self, ids: &[u128], deadline: Instant) -> Result<Vec<tb::Transfer>> {
        let mut found = Vec::with_capacity(ids.len());
        for part in ids.chunks(EVENTS_PER_REQUEST_MAX) {
            let answer = self.by(deadline, self.client.lookup_transfers(part.to_vec()))?;
            found.extend(answer.map_err(|error| self.send_error(error))?);
        }
        Ok(found)
    }

    /// The transfers that a filter selects.
    ///
    /// # Errors
    /// [`Error::try_again`] without an answer by `deadline`.
    pub fn query_transfers(&self, filter: tb::QueryFilter, deadline: Instant) -> Result<Vec<tb::Transfer>> {
        self.by(deadline, self.client.query_transfers(Box::new(filter)))?.map_err(|error| self.send_error(error))
    }

    fn by<T>(&self, deadline: Instant, future: impl Future<Output = T>) -> Result<T> {
        wait(future, self.look_up, || Instant::now() >= deadline).ok_or_else(|| self.late())
    }

    fn late(&self) -> Error {
        Error::try_again(format!("the cluster at {} did not answer in time", self.address))
    }

    fn send_error(&self, error: SendError) -> Error {
        let message = format!("request to the cluster at {} failed: {error}", self.address);
        match error.kind() {
            SendErrorKind::TooMuchData | SendErrorKind::InvalidOperation | SendErrorKind::InvalidDataSize => Error::bug(message),
            SendErrorKind::ClientReleaseTooLow | SendErrorKind::ClientReleaseTooHigh => Error::input(message),
            _ => Error::try_again(message),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future in this thread until it is ready, or `None` once `give_up` holds.
fn wait<T>(future: impl Future<Output = T>, look_up: Duration, give_up: impl Fn() -> bool) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        if give_up() {
            return None;
        }
        thread::park_timeout(look_up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn an_answer_from_another_thread_wakes_the_waiter() {
        let mut polls = 0;
        let future = std::future::poll_fn(|context| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(7);
            }
            let waker = context.waker().clone();
            thread::spawn(move || waker.wake());
            Poll::Pending
        });
        assert_eq!(wait(future, LOOK_UP, || false), Some(7));
        assert_eq!(wait(std::future::pending::<()>(), LOOK_UP, || true), None);
    }

    #[test]
    fn nobody_there_ends_at_the_deadline_and_the_client_goes_at_once() {
        let port = crate::demo::free_ports(1).unwrap()[0];
        let session = Session::new(1, &format!("127.0.0.1:{port}")).unwrap();
        let start = Instant::now();
        let error = session.lookup_accounts(&[1], start + Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind, Kind::TryAgain);
        drop(session);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(Session::new(1, "nonsense").err().map(|error| error.kind), Some(Kind::Input));
    }
}
