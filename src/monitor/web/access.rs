//! Access control of the page.
//!
//! Reading needs no token if only this machine can connect, or if TLS has checked the client's
//! certificate. Otherwise it needs the token. Acting always needs the token, as a bearer header.
//!
//! There is no cookie that a page of another site could use. An action must also carry a header
//! that such a page cannot send without a CORS preflight, and its `Origin` and `Sec-Fetch-Site`
//! headers, if it has them, must not name another site.
//!
//! Requests under a host name that is not the page's own are refused, because somebody else may let
//! a name that they control point here (DNS rebinding). With addresses that is not possible.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use std::fmt;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// An action must carry this header, with any value.
pub const ACTION_HEADER: &str = "x-amber-action";
/// The fewest bytes that a token has.
pub const TOKEN_BYTES_MIN: usize = 16;
/// The most bytes that a token has: it is sent in a header.
pub const TOKEN_BYTES_MAX: usize = 1024;

/// The secret that opens the page, kept out of every log.
#[derive(Clone)]
pub struct Token(Zeroizing<Vec<u8>>);

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}

impl Token {
    /// A token. Spaces and line ends around it are removed.
    ///
    /// # Errors
    /// What is wrong with it: its length, or bytes that cannot be in a header.
    pub fn new(content: &[u8]) -> Result<Token, String> {
        let token = content.trim_ascii();
        if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
            let length = token.len();
            return Err(format!(
                "a token has {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} characters, this one has {length}: `openssl rand -hex 32` makes one"
            ));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err("a token is one word of letters, digits and signs: `openssl rand -hex 32` makes one".to_owned());
        }
        Ok(Token(Zeroizing::new(token.to_vec())))
    }

    /// Whether `given` is this token. How long the comparison takes reveals only whether the length
    /// is right.
    fn is(&self, given: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, given).is_ok()
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its host name is not the page's own.
    Host,
    /// The token is missing or wrong.
    Token,
    /// No token is configured, so nobody may act.
    NoActions,
    /// It comes from another site's page, or lacks the header of actions.
    Origin,
}

impl Refusal {
    /// What to do, in words.
    pub fn text(self) -> &'static str {
        match self {
            Refusal::Host => "this page does not have that name: ask by address, or write host_names = [\"NAME\"] in [page]",
            Refusal::Token => "the token is missing or wrong: send `Authorization: Bearer TOKEN` with what token_file in [page] holds",
            Refusal::NoActions => "there are no actions without a token: write token_file = \"FILE\" in [page]",
            Refusal::Origin => "actions come from this page itself, or with the header X-Amber-Action: 1 and no other site's Origin",
        }
    }
}

/// Who may read and act.
#[derive(Debug, Clone)]
pub struct Access {
    /// The token; without one nobody may act.
    pub token: Option<Token>,
    /// Reading needs no token: only this machine can connect, or TLS knows its clients.
    pub open_to_read: bool,
    /// Names of the page besides `localhost` and addresses, in lower case.
    pub host_names: Vec<String>,
}

impl Access {
    /// Whether anybody may act.
    pub fn has_actions(&self) -> bool {
        self.token.is_some()
    }

    /// Checks that the host name of the request is the page's own.
    ///
    /// # Errors
    /// [`Refusal::Host`].
    pub fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let named = headers.get(header::HOST).map(|host| host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()));
        let named = match named {
            Some(Some(authority)) => authority,
            // HTTP/1.1 has exactly one `Host`. A client that sends none or nonsense is no browser,
            // and a missing name is treated like a wrong one.
            Some(None) | None => return Err(Refusal::Host),
        };
        let target = uri.authority();
        let is_own = |authority: &Authority| self.is_own(authority.host());
        if is_own(&named) && target.is_none_or(is_own) && headers.get_all(header::HOST).iter().count() == 1 {
            return Ok(());
        }
        Err(Refusal::Host)
    }

    fn is_own(&self, host: &str) -> bool {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_ascii_lowercase();
        host == "localhost" || host.parse::<IpAddr>().is_ok() || self.host_names.contains(&host)
    }

    /// Checks that the request may read.
    ///
    /// # Errors
    /// [`Refusal::Token`].
    pub fn check_read(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.open_to_read || self.token.as_ref().is_some_and(|token| has_token(headers, token)) {
            return Ok(());
        }
        Err(Refusal::Token)
    }

    /// Checks that the request may act.
    ///
    /// # Errors
    /// [`Refusal::NoActions`], [`Refusal::Token`], [`Refusal::Origin`].
    pub fn check_act(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = self.token.as_ref().ok_or(Refusal::NoActions)?;
        if !has_token(headers, token) {
            return Err(Refusal::Token);
        }
        if !headers.contains_key(ACTION_HEADER) || !is_same_site(headers) {
            return Err(Refusal::Origin);
        }
        Ok(())
    }
}

fn has_token(headers: &HeaderMap, token: &Token) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.split_at_checked(7)).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    given.is_some_and(|(_, given)| token.is(given.trim_ascii()))
}

/// Whether the request comes from this page, by the headers that a browser sets. Other programs do
/// not send these headers.
fn is_same_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let fetched_here = text("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let host = text("host").unwrap_or_default();
    let from_here = text("origin").is_none_or(|origin| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    });
    fetched_here && from_here
}

#[cfg(test)]
mod tests;
