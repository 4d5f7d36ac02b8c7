//! How far this machine's clock is from the server's.
//!
//! A server refuses signatures that are older or newer than 15 minutes. It says so in the body of
//! its refusal, which a HEAD does not have, but every answer has a `Date`. The SDK measures the
//! difference too and signs further requests by the server's time, so that most requests succeed in
//! spite of a wrong clock. It is reported all the same: schedules, names and retention go by it.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html> (RequestTimeTooSkewed)

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// A difference from which on a clock is called wrong, in seconds: that of the SDK.
const WRONG_S: u64 = 4 * 60;

/// The server's clock minus this machine's, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Skew(i64);

impl Skew {
    /// What the answer says that came at `now`; `None` if it has no date, or comes from a cache.
    pub(super) fn of(response: &HttpResponse, now: SystemTime) -> Option<Self> {
        let headers = response.headers();
        if headers.get("age").is_some() {
            return None;
        }
        let date = DateTime::from_str(headers.get("date")?, Format::HttpDate).ok()?;
        Some(Skew(date.secs() - DateTime::from(now).secs()))
    }

    /// Whether one of the clocks is wrong.
    pub(super) fn is_wrong(self) -> bool {
        self.0.unsigned_abs() >= WRONG_S
    }

    /// By how much and in which direction this machine's clock is off.
    pub(super) fn text(self) -> String {
        let direction = if self.0 > 0 { "behind" } else { "ahead of" };
        format!("this machine's clock is {} {direction} the server's", span_text(self.0.unsigned_abs()))
    }
}

fn span_text(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..10_800 => format!("{} minutes", (seconds + 30) / 60),
        10_800..172_800 => format!("{} hours", (seconds + 1800) / 3600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

/// Warns once when the clocks differ, and again after they have agreed meanwhile.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    has_warned: AtomicBool,
}

impl ClockWatch {
    /// Whether this difference is news.
    fn is_news(&self, skew: Skew) -> bool {
        let is_wrong = skew.is_wrong();
        self.has_warned.swap(is_wrong, Ordering::Relaxed) != is_wrong && is_wrong
    }
}

#[dyn_dispatch_hint]
impl Intercept for ClockWatch {
    fn name(&self) -> &'static str {
        "AmberClockWatch"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let now = components.time_source().map_or_else(SystemTime::now, |clock| clock.now());
        if let Some(skew) = context.response().and_then(|response| Skew::of(response, now)).filter(|skew| self.is_news(*skew)) {
            tracing::warn!("{}: set it; requests are signed by the server's time until then", skew.text());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::primitives::SdkBody;
    use std::time::Duration;

    fn answer(headers: &[(&'static str, &'static str)]) -> HttpResponse {
        let mut response = HttpResponse::new(403.try_into().unwrap(), SdkBody::empty());
        headers.iter().for_each(|(name, value)| drop(response.headers_mut().insert(*name, *value)));
        response
    }

    #[test]
    fn the_difference_has_a_size_and_a_direction() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_000_000);
        let skew = |date| Skew::of(&answer(&[("date", date)]), now);
        let text = |date| skew(date).unwrap().text();
        assert_eq!(text("Mon, 30 Nov 2026 01:13:20 GMT"), "this machine's clock is 20 minutes behind the server's");
        assert_eq!(text("Mon, 30 Nov 2026 00:33:20 GMT"), "this machine's clock is 20 minutes ahead of the server's");
        assert_eq!(text("Mon, 30 Nov 2026 05:53:20 GMT"), "this machine's clock is 5 hours behind the server's");
        assert_eq!(text("Sat, 30 Nov 2030 00:53:20 GMT"), "this machine's clock is 1461 days behind the server's");
        assert!(!skew("Mon, 30 Nov 2026 00:57:19 GMT").unwrap().is_wrong() && skew("Mon, 30 Nov 2026 00:57:20 GMT").unwrap().is_wrong());
        assert!(skew("Mon, 30 Nov 2026 00:49:20 GMT").unwrap().is_wrong());
        assert_eq!((skew("yesterday"), Skew::of(&answer(&[]), now)), (None, None));
        assert_eq!(Skew::of(&answer(&[("date", "Mon, 30 Nov 2026 01:13:20 GMT"), ("age", "7")]), now), None, "from a cache");
    }

    #[test]
    fn a_wrong_clock_is_news_once() {
        let watch = ClockWatch::default();
        let news: Vec<bool> = [0, 1200, 1201, 3, -1200].map(|seconds| watch.is_news(Skew(seconds))).to_vec();
        assert_eq!(news, [false, true, false, false, true]);
    }
}
