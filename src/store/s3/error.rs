//! Errors of an S3 server, the network or the SDK, sorted by what the caller does next.
//!
//! Flow: [`Failure::of`] takes the SDK's error apart (the server's code, the HTTP status, or the
//! cause of a failed connection) and decides the [`FailureKind`] and a sentence on what to do. Some
//! kinds (a name that is taken, a conflict) are answers for the calling code; the others become a
//! [`StoreError`]. Codes: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>. No
//! text of a request goes into a message, only what the server or the network said, so credentials
//! cannot.

use super::clock::Skew;
use super::http::find_in_chain;
use super::identity::Advice;
use super::proxy::ProxyError;
use crate::store::StoreError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use std::error::Error;
use std::time::SystemTime;

/// The codes by which servers say that the bytes that arrived are not those that were sent.
pub(super) const CHANGED_CODES: [&str; 6] = [
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "ContentSHA256Mismatch",
    "ChecksumMismatch",
    "IncompleteBody",
];

/// The codes of refusals that pass when a clock is set or credentials are renewed.
const PASSING_CODES: [&str; 5] =
    ["RequestTimeTooSkewed", "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"];

/// What a failed request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// No such object (or, for a HEAD, perhaps no such bucket).
    NotFound,
    /// The upload in parts is not known, or no longer known.
    NoUpload,
    /// The condition of a create-only put does not hold: the name is taken.
    Taken,
    /// Another request for this name is under way.
    Conflict,
    /// The range lies beyond the object's end.
    BeyondEnd,
    /// The server does not implement what was asked of it.
    NotImplemented,
    /// Refused without a word on why, as a HEAD is.
    Unexplained,
    Refused,
    Unavailable,
    Corrupted,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Failure { kind, reason: reason.into() }
    }

    /// Takes an error of the SDK apart.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let skew = Skew::of(answer.raw(), SystemTime::now());
                Failure::of_answer(status, answer.err().code().unwrap_or_default(), answer.err().message().unwrap_or_default(), skew)
            }
            SdkError::ResponseError(answer) if is_cut(answer.raw()) => {
                Failure::new(FailureKind::Unavailable, format!("a refusal that stopped half-way: {}", chain_text(error)))
            }
            SdkError::ResponseError(answer) => {
                let status = answer.raw().status().as_u16();
                Failure::of_answer(status, "", &format!("an answer that cannot be read: {}", chain_text(error)), None)
            }
            SdkError::TimeoutError(_) => Failure::new(FailureKind::Unavailable, "no answer within the time-out"),
            SdkError::DispatchFailure(failure) => Failure::of_connection(failure.as_connector_error(), error),
            other => match credentials_failure(other) {
                Some(failure) => failure,
                None => Failure::new(FailureKind::Refused, format!("the request cannot be made: {}", chain_text(other))),
            },
        }
    }

    fn of_connection(connector: Option<&ConnectorError>, error: &(dyn Error + 'static)) -> Self {
        if let Some(failure) = credentials_failure(error) {
            return failure;
        }
        if let Some(proxy) = find_in_chain::<ProxyError>(error) {
            let kind = if proxy.is_lasting { FailureKind::Refused } else { FailureKind::Unavailable };
            return Failure::new(kind, proxy.to_string());
        }
        if let Some(tls) = find_in_chain::<rustls::Error>(error) {
            return Failure::new(FailureKind::Refused, tls_advice(tls));
        }
        if connector.is_some_and(ConnectorError::is_timeout) {
            return Failure::new(FailureKind::Unavailable, "no connection or no answer within the time-out");
        }
        if connector.is_some_and(ConnectorError::is_user) {
            return Failure::new(
                FailureKind::Refused,
                format!("the request cannot be made: check the endpoint's URL ({})", chain_text(error)),
            );
        }
        Failure::new(FailureKind::Unavailable, format!("the server cannot be reached: {}", chain_text(error)))
    }

    /// Classifies by the status and the code of a server's answer. Servers other than AWS do not
    /// always have both.
    fn of_answer(status: u16, code: &str, message: &str, skew: Option<Skew>) -> Self {
        let kind = match (code, status) {
            ("NoSuchKey" | "NotFound" | "NoSuchVersion", _) => FailureKind::NotFound,
            ("NoSuchUpload", _) => FailureKind::NoUpload,
            ("PreconditionFailed", _) | (_, 412) => FailureKind::Taken,
            ("ConditionalRequestConflict" | "OperationAborted", _) => FailureKind::Conflict,
            ("InvalidRange", _) | (_, 416) => FailureKind::BeyondEnd,
            ("NotImplemented", _) | (_, 501) => FailureKind::NotImplemented,
            _ if CHANGED_CODES.contains(&code) => FailureKind::Corrupted,
            ("InvalidDigest", _) => FailureKind::Corrupted,
            ("RequestTimeout" | "SlowDown" | "ServiceUnavailable" | "InternalError" | "Throttling" | "RequestLimitExceeded", _) => {
                FailureKind::Unavailable
            }
            // A clock is set and credentials are renewed while everything else goes on.
            _ if PASSING_CODES.contains(&code) => FailureKind::Unavailable,
            // By its status this is not a failure, but the SDK could not read the answer: in this
            // the server does not speak S3.
            ("", 200..=299) => FailureKind::Refused,
            ("", 404) => FailureKind::NotFound,
            ("", 409) => FailureKind::Conflict,
            ("", 400 | 401 | 403) if message.is_empty() => FailureKind::Unexplained,
            (_, 400..=407 | 409..=428 | 430..=499 | 300..=399) => FailureKind::Refused,
            _ => FailureKind::Unavailable,
        };
        let mut reason = match (code, message) {
            ("", "") => format!("the server answered with HTTP status {status}"),
            ("", _) => format!("{message} (HTTP status {status})"),
            (_, "") => format!("{code} (HTTP status {status})"),
            _ => format!("{code}: {message}"),
        };
        if let Some(advice) = advice(code, status) {
            reason = format!("{reason}; {advice}");
        }
        // A wrong clock is the cause of few refusals, but of those that nobody explains it may be.
        let is_refusal = matches!(status, 400..=403);
        match skew {
            Some(skew) if is_refusal && skew.is_wrong() => reason = format!("{reason}; {}: set it", skew.text()),
            Some(_) if code == "RequestTimeTooSkewed" => {
                reason = format!("{reason}; the clocks agree now: the request was under way for too long, or a clock was just set");
            }
            None if code == "RequestTimeTooSkewed" => reason = format!("{reason}; set this machine's clock"),
            _ => {}
        }
        Failure { kind, reason }
    }

    /// The error for the caller, where this failure is not an answer that the calling code expects.
    pub(super) fn into_error(self, store: &str, action: &'static str, name: &str) -> StoreError {
        let (store, name, reason) = (store.to_owned(), name.to_owned(), self.reason);
        match self.kind {
            FailureKind::NotFound => StoreError::NotFound { store, name },
            FailureKind::Corrupted => StoreError::Corrupted { store, action, name, reason },
            // An upload that is gone is begun anew by the next run.
            FailureKind::Conflict | FailureKind::NoUpload | FailureKind::Unavailable => {
                StoreError::Unavailable { store, action, name, reason }
            }
            FailureKind::Taken | FailureKind::BeyondEnd | FailureKind::NotImplemented | FailureKind::Unexplained | FailureKind::Refused => {
                StoreError::Refused { store, action, name, reason }
            }
        }
    }
}

/// What to do about a code.
fn advice(code: &str, status: u16) -> Option<&'static str> {
    Some(match (code, status) {
        ("NoSuchBucket", _) => "make the bucket, or correct its name or the endpoint",
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _) => {
            "allow these credentials to s3:GetObject, s3:PutObject, s3:ListBucket and s3:AbortMultipartUpload on the bucket and prefix"
        }
        ("", 400 | 401 | 403) => "it does not say why: check the access key and its secret, what they are allowed to do, and the Region",
        ("", 407) => "a proxy wants a login, or another one: write http://user:password@host:port into HTTP_PROXY",
        ("InvalidAccessKeyId", _) => "the server does not know the access key: check which credentials are in use",
        ("SignatureDoesNotMatch" | "InvalidSignatureException", _) => {
            "the secret access key is not the one of this access key: correct it (a wrong Region, or a proxy that changes requests, does the same)"
        }
        ("ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "TokenRefreshRequired", _) => {
            "the session's credentials have expired, and their provider has no newer ones: renew them (in the environment of a running process \
             they cannot be renewed: use a profile, or start it again)"
        }
        ("InvalidToken" | "InvalidTokenId", _) => "the session token is not one of this access key: renew the session's credentials",
        ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException", _) | ("", 300..=399) => {
            "set the Region in which the bucket is"
        }
        ("", 200..=299) => "its answer is not the one that S3 gives: this server does not do what this request asks",
        ("NoSuchUpload", _) => "the upload was aborted meanwhile, perhaps by a lifecycle rule: send the object again",
        ("InvalidStorageClass", _) => "this server has no such storage class",
        ("SlowDown" | "RequestLimitExceeded" | "Throttling", _) => "the server asks for fewer requests",
        _ => return None,
    })
}

fn credentials_failure(error: &(dyn Error + 'static)) -> Option<Failure> {
    let failure = match find_in_chain::<CredentialsError>(error)? {
        error if let Some(advice) = find_in_chain::<Advice>(error) => {
            let lasting = matches!(error, CredentialsError::CredentialsNotLoaded(_));
            Failure::new(if lasting { FailureKind::Refused } else { FailureKind::Unavailable }, advice.to_string())
        }
        CredentialsError::CredentialsNotLoaded(_) => Failure::new(FailureKind::Refused, "no AWS credentials found"),
        CredentialsError::ProviderTimedOut(_) => Failure::new(FailureKind::Unavailable, "the credentials' provider did not answer in time"),
        error @ CredentialsError::InvalidConfiguration(_) => {
            Failure::new(FailureKind::Refused, format!("the AWS configuration of credentials is wrong: {}", chain_text(error)))
        }
        other => {
            let said = chain_text(other);
            let advice = "if this machine has no role, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile";
            Failure::new(FailureKind::Unavailable, format!("no AWS credentials could be loaded ({said}); {advice}"))
        }
    };
    Some(failure)
}

fn tls_advice(error: &rustls::Error) -> String {
    let advice = match error {
        rustls::Error::InvalidCertificate(reason) => {
            return format!(
                "the server's certificate is not valid ({reason}): if a private authority signed it, name its certificate as CA file"
            );
        }
        rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) | rustls::Error::PeerIncompatible(_) => {
            "the server does not offer the least TLS version asked for: update it, or allow TLS 1.2"
        }
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS here: check the port, or write http:// for a server without TLS",
        _ => "TLS failed",
    };
    format!("{advice} ({error})")
}

/// The text of an error and its causes, each once.
pub(super) fn chain_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Whether a server's refusal stopped half-way. The body of a refusal is always read to its end, so
/// only what did not arrive is missing.
pub(crate) fn is_cut(response: &HttpResponse) -> bool {
    !response.status().is_success() && response.body().bytes().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: &str) -> FailureKind {
        Failure::of_answer(status, code, "", None).kind
    }

    #[test]
    fn answers_are_sorted() {
        assert_eq!(kind(404, "NoSuchKey"), FailureKind::NotFound);
        assert_eq!(kind(404, ""), FailureKind::NotFound);
        assert_eq!(kind(404, "NoSuchBucket"), FailureKind::Refused);
        assert_eq!(kind(404, "NoSuchUpload"), FailureKind::NoUpload);
        assert_eq!(kind(412, "PreconditionFailed"), FailureKind::Taken);
        assert_eq!(kind(412, ""), FailureKind::Taken);
        assert_eq!(kind(409, "ConditionalRequestConflict"), FailureKind::Conflict);
        assert_eq!(kind(409, "BucketNotEmpty"), FailureKind::Refused);
        assert_eq!(kind(416, ""), FailureKind::BeyondEnd);
        assert_eq!(kind(501, "NotImplemented"), FailureKind::NotImplemented);
        for code in ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"] {
            let failure = Failure::of_answer(403, code, "said", None);
            assert_eq!(failure.kind, FailureKind::Refused);
            assert!(failure.reason.starts_with(&format!("{code}: said; ")), "{}", failure.reason);
        }
        assert_eq!(kind(400, "BadDigest"), FailureKind::Corrupted);
        assert_eq!(kind(400, "RequestTimeout"), FailureKind::Unavailable);
        assert_eq!(kind(429, ""), FailureKind::Unavailable);
        assert_eq!(kind(503, "SlowDown"), FailureKind::Unavailable);
        assert_eq!(kind(500, "Whatever"), FailureKind::Unavailable);
        assert_eq!(kind(301, ""), FailureKind::Refused);
        assert_eq!(Failure::of_answer(500, "", "", None).reason, "the server answered with HTTP status 500");
        assert_eq!(Failure::of_answer(500, "", "odd", None).reason, "odd (HTTP status 500)");
        assert_eq!(Failure::of_answer(500, "Odd", "", None).reason, "Odd (HTTP status 500)");
    }

    #[test]
    fn failures_become_errors() {
        let error = |kind| Failure::new(kind, "why").into_error("s3://b", "put", "a");
        assert!(matches!(error(FailureKind::NotFound), StoreError::NotFound { .. }));
        assert!(matches!(error(FailureKind::Corrupted), StoreError::Corrupted { .. }));
        assert!(matches!(error(FailureKind::Conflict), StoreError::Unavailable { .. }));
        assert!(matches!(error(FailureKind::Taken), StoreError::Refused { .. }));
        assert_eq!(error(FailureKind::Unavailable).to_string(), "s3://b: put a: why");
    }

    #[test]
    fn tls_failures_say_what_to_do() {
        let text = tls_advice(&rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        assert!(text.contains("CA file"), "{text}");
        let text = tls_advice(&rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion));
        assert!(text.contains("TLS 1.2"), "{text}");
        let text = tls_advice(&rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
        assert!(text.contains("http://"), "{text}");
        assert!(tls_advice(&rustls::Error::DecryptError).starts_with("TLS failed"));
    }

    #[test]
    fn credentials_failures_are_found_in_the_chain() {
        let failure = credentials_failure(&std::io::Error::other(CredentialsError::not_loaded("no"))).unwrap();
        assert_eq!(failure.kind, FailureKind::Refused);
        assert_eq!(
            credentials_failure(&CredentialsError::provider_timed_out(std::time::Duration::ZERO)).unwrap().kind,
            FailureKind::Unavailable
        );
        assert_eq!(credentials_failure(&CredentialsError::invalid_configuration("no")).unwrap().kind, FailureKind::Refused);
        assert_eq!(credentials_failure(&CredentialsError::provider_error("no")).unwrap().kind, FailureKind::Unavailable);
        assert_eq!(credentials_failure(&std::io::Error::other("else")), None);
        assert_eq!(chain_text(&std::io::Error::other("else")), "else");
    }
}
