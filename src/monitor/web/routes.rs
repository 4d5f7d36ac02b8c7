//! The answer to each request.
//!
//! | request | answer |
//! |---|---|
//! | `GET /`, `/assets/NAME` | the page; it holds no figure, so anybody may load it |
//! | `GET /api/status` | status and verdict, JSON |
//! | `GET /api/live` | the same when there is something newer, as server-sent events |
//! | `GET /api/history?span_s=N` | the last N seconds, in columns, JSON |
//! | `GET /metrics` | OpenMetrics, or Prometheus' text |
//! | `GET /healthz` | 200 while the process answers |
//! | `GET /readyz` | 200 while the log is stored as promised, 503 otherwise |
//! | `POST /api/jobs/NAME/run`, `pause`, `resume` | 202, the job will do so |

use super::access::Refusal;
use super::{Site, assets, stream};
use crate::error::{Error, Kind};
use crate::monitor::alert::Topic;
use crate::monitor::metrics::{Format, exposition};
use crate::monitor::status::{AgentState, AgentStatus};
use crate::monitor::verdict::{Verdict, verdict};
use crate::units::now_ns;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// Everything is loaded from this server, only its own files run as scripts, and no other page may
/// put this one into a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
/// Headers that every answer has.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];
/// The longest history that can be requested, which is what is kept.
const SPAN_S_MAX: u64 = 86_400;
/// No job has a longer name.
const JOB_NAME_BYTES_MAX: usize = 64;

/// Status and verdict as the page reads them.
#[derive(Serialize)]
struct View<'a> {
    status: &'a AgentStatus,
    verdict: Verdict,
    now_ns: u64,
    /// Whether jobs can be started and paused here, by whoever has the token.
    actions: bool,
    version: &'static str,
}

impl Site {
    /// A status as the page reads it, JSON.
    pub(super) fn view(&self, status: &AgentStatus) -> String {
        let now_ns = now_ns();
        let actions = self.access.has_actions() && self.live.control().is_some();
        let view = View { status, verdict: verdict(status, now_ns), now_ns, actions, version: env!("CARGO_PKG_VERSION") };
        serde_json::to_string(&view).unwrap_or_default()
    }
}

type SharedSite = State<Arc<Site>>;

/// All routes.
pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", assets::INDEX) }))
        .route("/assets/{*name}", get(asset))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/live", get(live))
        .route("/api/history", get(history))
        .route("/api/jobs/{job}/{action}", post(act))
        .layer(from_fn_with_state(Arc::clone(&site), guard))
        .with_state(site)
}

/// Checks that every request passes first.
async fn guard(State(site): SharedSite, request: Request, next: Next) -> Response {
    let mut response = match site.access.check_host(request.uri(), request.headers()) {
        Err(refusal) => refused(refusal),
        Ok(()) => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn refused(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::Host => StatusCode::MISDIRECTED_REQUEST,
        Refusal::Token => StatusCode::UNAUTHORIZED,
        Refusal::NoActions | Refusal::Origin => StatusCode::FORBIDDEN,
    };
    let mut response = problem(status, "refused", refusal.text());
    if refusal == Refusal::Token {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn problem(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json!({ "error": { "kind": kind, "message": message } });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

fn file(content_type: &'static str, content: &'static [u8]) -> Response {
    // `no-cache` makes the browser ask again, so that it notices an update of the program.
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}

async fn asset(Path(name): Path<String>) -> Response {
    match assets::find(&name) {
        Some(asset) => file(asset.content_type, asset.content),
        None => problem(StatusCode::NOT_FOUND, "input", "there is no such file"),
    }
}

fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The newest status, for whoever may read it.
fn readable(site: &Site, headers: &HeaderMap) -> Result<Arc<AgentStatus>, Box<Response>> {
    site.access.check_read(headers).map_err(|refusal| Box::new(refused(refusal)))?;
    let status = site.live.status();
    if status.written_ns == 0 {
        return Err(Box::new(problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "try_again",
            "the agent has just begun and has not said anything yet",
        )));
    }
    Ok(status)
}

async fn status(State(site): SharedSite, headers: HeaderMap) -> Response {
    readable(&site, &headers).map_or_else(|refusal| *refusal, |status| json_text(site.view(&status)))
}

async fn live(State(site): SharedSite, headers: HeaderMap) -> Response {
    if let Err(refusal) = site.access.check_read(&headers) {
        return refused(refusal);
    }
    let Some(place) = site.viewers.place() else {
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "try_again",
            "too many look already: close a page, or ask /api/status now and then",
        );
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], stream::body(&site, place)).into_response()
}

#[derive(Deserialize)]
struct Span {
    span_s: Option<u64>,
}

async fn history(State(site): SharedSite, headers: HeaderMap, Query(span): Query<Span>) -> Response {
    if let Err(refusal) = site.access.check_read(&headers) {
        return refused(refusal);
    }
    let span_s = span.span_s.unwrap_or(3600).min(SPAN_S_MAX);
    json_text(serde_json::to_string(&site.live.history(span_s * 1000)).unwrap_or_default())
}

async fn metrics(State(site): SharedSite, headers: HeaderMap) -> Response {
    let status = match readable(&site, &headers) {
        Ok(status) => status,
        Err(refusal) => return *refusal,
    };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::of(accept);
    match exposition(&status, format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => failed(&error),
    }
}

async fn ready(State(site): SharedSite, headers: HeaderMap) -> Response {
    let waits_for = waits_for(&site.live.status(), now_ns());
    match waits_for {
        None => "ready\n".into_response(),
        // A client that may not read learns no reason.
        Some(_) if site.access.check_read(&headers).is_err() => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

/// Why the agent is not ready.
fn waits_for(status: &AgentStatus, now_ns: u64) -> Option<&'static str> {
    let joined = matches!(status.state, AgentState::Leading | AgentState::StandingBy | AgentState::Degraded);
    [
        (status.is_stale(now_ns), "the status is old"),
        (!joined, "the log has not been joined"),
        (status.alerts.iter().any(|alert| alert.topic == Topic::Place), "the repository is not where it was"),
        (!status.store_reachable, "the store cannot be reached"),
        (status.lag_alarm_ms > 0 && status.lag_ms > status.lag_alarm_ms, "the recovery point is too old"),
    ]
    .into_iter()
    .find_map(|(holds, reason)| holds.then_some(reason))
}

/// The actions on a job.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Run,
    Pause,
    Resume,
}

async fn act(State(site): SharedSite, Path((job, action)): Path<(String, Action)>, headers: HeaderMap) -> Response {
    if let Err(refusal) = site.access.check_act(&headers) {
        return refused(refusal);
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let control = site.live.control().filter(|_| job.len() <= JOB_NAME_BYTES_MAX && job.bytes().all(is_name));
    let Some(control) = control else { return failed(&Error::input("there is no such job")) };
    tracing::info!("the page asks for {action:?} of {job}");
    // An action may wait for a disk.
    let done = tokio::task::spawn_blocking(move || match action {
        Action::Run => control.run_now(&job),
        Action::Pause => control.pause(&job, true),
        Action::Resume => control.pause(&job, false),
    });
    match done.await.unwrap_or_else(|error| Err(Error::bug(format!("the action ended: {error}")).caused_by(error))) {
        Ok(()) => (StatusCode::ACCEPTED, Body::from("{\"ok\":true}\n")).into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Response {
    let status = match error.kind {
        Kind::Input => StatusCode::NOT_FOUND,
        Kind::TryAgain => StatusCode::CONFLICT,
        Kind::Bug | Kind::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
    };
    problem(status, error.kind.word(), &error.message)
}
