//! What is examined in every attempt of every request: how it ended, and whether another attempt is
//! worthwhile.
//!
//! [`Observer`] is attached to the client and reports each attempt to the [`Limiter`]. [`Changed`]
//! adds to the SDK's retry rules the codes by which a server says that the bytes that arrived are
//! not the bytes that were signed. On a connection without TLS they were changed on the way, and
//! the next attempt, which sends the same bytes, gets them through. If they were wrong before they
//! were sent, all attempts fail alike.

use super::error::CHANGED_CODES;
use super::identity::Renewed;
use crate::store::limiter::{Limiter, TransferOutcome};
use crate::store::s3::error::is_cut;
use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext};
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use std::sync::Arc;

/// Codes by which servers ask for fewer requests, whatever the status.
const SLOW_DOWN_CODES: [&str; 5] = ["SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"];

/// Reports every attempt to the limiter.
#[derive(Debug)]
pub(super) struct Observer(pub(super) Arc<Limiter>);

/// The limiter's round in which an attempt began.
#[derive(Debug)]
struct Began(u64);

impl Storable for Began {
    type Storer = StoreReplace<Began>;
}

#[dyn_dispatch_hint]
impl Intercept for Observer {
    fn name(&self) -> &'static str {
        "AmberObserver"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_retry = state.load::<RequestAttempts>().is_some_and(|attempts| attempts.attempts() > 1);
        let round = self.0.began(is_retry);
        state.interceptor_state().store_put(Began(round));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Began(round)) = state.load::<Began>() {
            let is_done = matches!(context.output_or_error(), Some(Ok(_)));
            self.0.ended(*round, outcome(is_done, context.response()));
        }
        Ok(())
    }
}

fn outcome(is_done: bool, response: Option<&HttpResponse>) -> TransferOutcome {
    match response {
        _ if is_done => TransferOutcome::Done,
        None => TransferOutcome::Lost,
        Some(response) => match (response.status().as_u16(), code(response)) {
            (429 | 503, _) => TransferOutcome::SlowDown,
            (_, Some(code)) if SLOW_DOWN_CODES.contains(&code) => TransferOutcome::SlowDown,
            // It began to answer and stopped.
            (200..=299, _) => TransferOutcome::Lost,
            _ => TransferOutcome::Answered,
        },
    }
}

/// Retries requests whose bytes were changed on the way, requests whose refusal stopped half-way,
/// so that nobody knows what it says, and requests that will be signed with renewed credentials.
#[derive(Debug)]
pub(super) struct Changed;

impl ClassifyRetry for Changed {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if is_worth_another(response) => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "AmberChanged"
    }
}

fn is_worth_another(response: &HttpResponse) -> bool {
    is_cut(response) || response.extension::<Renewed>().is_some() || code(response).is_some_and(|code| CHANGED_CODES.contains(&code))
}

/// The error code in the XML of a server's answer.
pub(super) fn code(response: &HttpResponse) -> Option<&str> {
    if response.status().is_success() {
        return None;
    }
    let text = std::str::from_utf8(response.body().bytes()?).ok()?;
    let (_, behind) = text.split_once("<Code>")?;
    Some(behind.split_once("</Code>")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::primitives::SdkBody;

    fn answer(status: u16, body: &str) -> HttpResponse {
        HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body.to_owned()))
    }

    #[test]
    fn outcomes_are_told_apart() {
        let ended = |status, body: &str| outcome(false, Some(&answer(status, body)));
        assert_eq!(outcome(true, Some(&answer(200, ""))), TransferOutcome::Done);
        assert_eq!(outcome(false, None), TransferOutcome::Lost);
        assert_eq!(ended(503, ""), TransferOutcome::SlowDown);
        assert_eq!(ended(429, ""), TransferOutcome::SlowDown);
        assert_eq!(ended(500, "<Error><Code>SlowDown</Code></Error>"), TransferOutcome::SlowDown);
        assert_eq!(ended(500, "<Error><Code>InternalError</Code></Error>"), TransferOutcome::Answered);
        assert_eq!(ended(404, ""), TransferOutcome::Answered);
        assert_eq!(ended(200, "half an ans"), TransferOutcome::Lost);
    }

    #[test]
    fn refusals_that_stop_half_way_are_asked_for_again() {
        let cut = |status: u16| HttpResponse::new(status.try_into().unwrap(), SdkBody::taken());
        assert!(is_worth_another(&cut(400)) && is_worth_another(&answer(400, "<Error><Code>BadDigest</Code></Error>")));
        assert!(!is_worth_another(&cut(200)) && !is_worth_another(&answer(403, "")) && !is_worth_another(&answer(400, "no XML")));
    }

    #[test]
    fn codes_are_found_in_errors_only() {
        assert_eq!(code(&answer(400, "<Error><Code>BadDigest</Code></Error>")), Some("BadDigest"));
        assert_eq!(code(&answer(400, "<Error><Code>BadDigest")), None);
        assert_eq!(code(&answer(200, "<Code>BadDigest</Code>")), None);
        assert_eq!(code(&answer(400, "")), None);
    }
}
