//! One client session with a running cluster, in which every request can be given up.
//!
//! TigerBeetle's client never gives up: a request to a server that is down waits until the server
//! comes back. That is right for a ledger and wrong for a caller that waits. So every request here
//! says when to give up.
//!
//! Flow: [`objects`](super::objects) encodes the body of a request, and `tb_client` sends it and
//! waits. The answer is decoded here; nothing in it is used before its length has been checked.
//!
//! A cluster has room for some 64 sessions. When another begins, it evicts the one that has been
//! silent for longest. So keep a session, and do not begin one for every try.

use super::objects::{Account, Decode, Encode, Refused, Transfer, TransferQuery, decode, encode};
use super::refusal::{AccountRefusal, TransferRefusal};
use super::tb_client::{Client, InitFailure, Operation, RequestFailure};
use crate::error::{Error, Result};
use std::time::{Duration, Instant};

/// The most events that one request of TigerBeetle 0.16 holds: a 1 MiB message less its header and
/// the batch trailer, in 128-byte events.
pub const EVENTS_PER_REQUEST_MAX: usize = 8189;

/// The release of TigerBeetle's client library that this program is linked with.
const CLIENT_RELEASE: &str = "0.16.78";

/// How long a waiting thread sleeps before it checks whether to give up; an answer wakes it at
/// once.
const LOOK_UP: Duration = Duration::from_millis(20);
/// The same for a caller that may wait for days.
const LOOK_UP_PATIENT: Duration = Duration::from_millis(200);

/// A client with its own session; requests go out one after the other.
pub struct Session {
    client: Client,
    address: String,
    look_up: Duration,
}

/// The result of a request.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    /// The cluster answered; this is what the answer means.
    Done(Result<T>),
    /// The caller gave up waiting: the request may or may not be executed.
    GaveUp,
}

impl Session {
    /// A client of the cluster at `address` (`127.0.0.1:3000`, or several with commas). It connects
    /// with its first request.
    ///
    /// # Errors
    /// [`Error::input`] when the address cannot be understood, [`Error::try_again`] when the
    /// machine has no room for a client.
    pub fn new(cluster: u128, address: &str) -> Result<Session> {
        let client = Client::new(cluster, address).map_err(|failure| match failure {
            InitFailure::Addresses => {
                Error::input(format!("{address:?} is no list of replica addresses: write them as 127.0.0.1:3000, several with commas"))
            }
            InitFailure::Machine(status) => Error::try_again(format!("cannot make a client for {address}: tb_client status {status}")),
        })?;
        Ok(Session { client, address: address.into(), look_up: LOOK_UP })
    }

    /// The same, for requests that may have to wait for long: it checks less often whether to give
    /// up.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn patient(cluster: u128, address: &str) -> Result<Session> {
        Ok(Session { look_up: LOOK_UP_PATIENT, ..Session::new(cluster, address)? })
    }

    /// Creates the accounts that do not exist yet.
    ///
    /// # Errors
    /// [`Error::try_again`] without an answer by `deadline`; [`Error::input`] when the ledger
    /// refuses an account.
    pub fn create_accounts(&self, accounts: &[Account], deadline: Instant) -> Result<()> {
        for part in accounts.chunks(EVENTS_PER_REQUEST_MAX) {
            let answer = self.try_accounts(part, || Instant::now() >= deadline);
            let Answer::Done(refused) = answer else { return Err(self.late()) };
            if let Some((account, refusal)) = refused?.first() {
                return Err(Error::input(format!("the ledger at {} refuses account {account}: {refusal:?}", self.address)));
            }
        }
        Ok(())
    }

    /// Sends one request of accounts and waits until it is answered or `give_up` holds. Returns the
    /// accounts that do not exist afterwards as they were given: their indexes, and why.
    pub(crate) fn try_accounts(&self, accounts: &[Account], give_up: impl Fn() -> bool) -> Answer<Vec<(usize, AccountRefusal)>> {
        self.ask::<Refused>(Operation::CreateAccounts, accounts, give_up).map(|refused| {
            let refused = refused.iter().map(|one| (one.index as usize, AccountRefusal(one.result)));
            refused.filter(|(_, refusal)| *refusal != AccountRefusal::EXISTS).collect()
        })
    }

    /// Sends one transfer and waits until it is answered or `give_up` holds. If the transfer does
    /// not exist afterwards as it was given, returns why.
    pub(crate) fn try_transfer(&self, transfer: Transfer, give_up: impl Fn() -> bool) -> Answer<Option<TransferRefusal>> {
        self.ask::<Refused>(Operation::CreateTransfers, &[transfer], give_up).map(|refused| {
            let refusal = refused.first().map(|one| TransferRefusal(one.result));
            refusal.filter(|refusal| *refusal != TransferRefusal::EXISTS)
        })
    }

    /// Sends one request of transfers, all of which the ledger must accept as new, and waits until
    /// it is answered or `give_up` holds.
    pub(crate) fn try_transfers(&self, transfers: &[Transfer], give_up: impl Fn() -> bool) -> Answer<()> {
        match self.ask::<Refused>(Operation::CreateTransfers, transfers, give_up) {
            Answer::Done(Ok(refused)) => Answer::Done(match refused.first() {
                None => Ok(()),
                Some(first) => {
                    let (count, at, refusal) = (refused.len(), first.index, TransferRefusal(first.result));
                    Err(Error::input(format!("the ledger at {} refuses {count} transfers: number {at}: {refusal:?}", self.address)))
                }
            }),
            Answer::Done(Err(error)) => Answer::Done(Err(error)),
            Answer::GaveUp => Answer::GaveUp,
        }
    }

    /// Creates transfers, none of which may exist yet.
    ///
    /// # Errors
    /// [`Error::try_again`] without an answer by `deadline`; [`Error::input`] when the ledger
    /// refuses a transfer.
    pub fn create_transfers(&self, transfers: &[Transfer], deadline: Instant) -> Result<()> {
        for part in transfers.chunks(EVENTS_PER_REQUEST_MAX) {
            match self.try_transfers(part, || Instant::now() >= deadline) {
                Answer::Done(answer) => answer?,
                Answer::GaveUp => return Err(self.late()),
            }
        }
        Ok(())
    }

    /// The accounts of these ids that exist, in the order of the ids.
    ///
    /// # Errors
    /// [`Error::try_again`] without an answer by `deadline`.
    pub fn lookup_accounts(&self, ids: &[u128], deadline: Instant) -> Result<Vec<Account>> {
        self.lookup(Operation::LookupAccounts, ids, deadline)
    }

    /// The transfers of these ids that exist, in the order of the ids.
    ///
    /// # Errors
    /// [`Error::try_again`] without an answer by `deadline`.
    pub fn lookup_transfers(&self, ids: &[u128], deadline: Instant) -> Result<Vec<Transfer>> {
        self.lookup(Operation::LookupTransfers, ids, deadline)
    }

    /// The transfers that a query selects.
    ///
    /// # Errors
    /// [`Error::try_again`] without an answer by `deadline`.
    pub fn query_transfers(&self, query: TransferQuery, deadline: Instant) -> Result<Vec<Transfer>> {
        self.by(Operation::QueryTransfers, &[query], deadline)
    }

    fn lookup<T: Decode>(&self, operation: Operation, ids: &[u128], deadline: Instant) -> Result<Vec<T>> {
        let mut found = Vec::with_capacity(ids.len());
        for part in ids.chunks(EVENTS_PER_REQUEST_MAX) {
            found.extend(self.by(operation, part, deadline)?);
        }
        Ok(found)
    }

    fn by<T: Decode>(&self, operation: Operation, items: &[impl Encode], deadline: Instant) -> Result<Vec<T>> {
        match self.ask(operation, items, || Instant::now() >= deadline) {
            Answer::Done(answer) => answer,
            Answer::GaveUp => Err(self.late()),
        }
    }

    /// Sends one request and waits until it is answered or `give_up` holds.
    fn ask<T: Decode>(&self, operation: Operation, items: &[impl Encode], give_up: impl Fn() -> bool) -> Answer<Vec<T>> {
        let request = self.client.submit(operation, encode(items));
        let Some(answer) = request.wait(self.look_up, give_up) else { return Answer::GaveUp };
        let answer = answer.map_err(|failure| self.failed(failure));
        Answer::Done(answer.and_then(|bytes| {
            let unknown = || Error::bug(format!("the cluster at {} answers {operation:?} with {} bytes", self.address, bytes.len()));
            decode(&bytes).ok_or_else(unknown)
        }))
    }

    fn late(&self) -> Error {
        Error::try_again(format!("the cluster at {} did not answer in time", self.address))
    }

    fn failed(&self, failure: RequestFailure) -> Error {
        let address = &self.address;
        match failure {
            RequestFailure::ReleaseTooLow => Error::input(format!(
                "the cluster at {address} no longer takes clients as old as this program's (TigerBeetle {CLIENT_RELEASE}): use a newer Amber"
            )),
            RequestFailure::ReleaseTooHigh => Error::input(format!(
                "the cluster at {address} is older than this program's TigerBeetle client ({CLIENT_RELEASE}): upgrade the cluster first"
            )),
            RequestFailure::Evicted => Error::try_again(format!("the cluster at {address} has ended the session, as others began")),
            RequestFailure::Shutdown => Error::try_again(format!("the client of the cluster at {address} has ended")),
            failure => Error::bug(format!("request to the cluster at {address} failed: {failure:?}")),
        }
    }
}

impl<T> Answer<T> {
    /// Maps the value that follows from an answer.
    fn map<U>(self, follow: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Done(answer) => Answer::Done(answer.map(follow)),
            Answer::GaveUp => Answer::GaveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

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

    #[test]
    fn a_failure_says_what_to_do_next() {
        let port = crate::demo::free_ports(1).unwrap()[0];
        let session = Session::patient(1, &format!("127.0.0.1:{port}")).unwrap();
        for (failure, kind, said) in [
            (RequestFailure::ReleaseTooLow, Kind::Input, "a newer Amber"),
            (RequestFailure::ReleaseTooHigh, Kind::Input, "upgrade the cluster"),
            (RequestFailure::Evicted, Kind::TryAgain, "ended the session"),
            (RequestFailure::Shutdown, Kind::TryAgain, "has ended"),
            (RequestFailure::TooMuchData, Kind::Bug, "TooMuchData"),
            (RequestFailure::Unknown(77), Kind::Bug, "77"),
        ] {
            let error = session.failed(failure);
            assert_eq!(error.kind, kind, "{failure:?}");
            assert!(error.message.contains(said), "{error}");
        }
    }
}
