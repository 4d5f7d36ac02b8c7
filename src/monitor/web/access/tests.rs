//! Each refusal, and what is allowed.

use super::*;
use axum::http::HeaderValue;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn access(open_to_read: bool, token: Option<&str>) -> Access {
    let token = token.map(|token| Token::new(token.as_bytes()).unwrap());
    Access { token, open_to_read, host_names: vec!["amber.example.net".into()] }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_token_is_one_long_word() {
    assert!(Token::new(b" 0123456789abcdef\r\n").unwrap().is(b"0123456789abcdef"));
    assert!(Token::new(b"0123456789abcde").unwrap_err().contains("has 15"));
    assert!(Token::new(&[b'a'; TOKEN_BYTES_MAX + 1]).unwrap_err().contains("1025"));
    for wrong in [&b"0123456789 abcdef"[..], b"0123456789\xc3\xa4abcdef", b"0123456789\0abcdef"] {
        let error = Token::new(wrong).unwrap_err();
        assert!(error.contains("one word") && !error.contains("0123456789"), "{error}");
    }
    assert_eq!(format!("{:?}", Token::new(TOKEN.as_bytes()).unwrap()), "Token");
}

#[test]
fn only_own_names_and_addresses_are_answered() {
    let access = access(true, None);
    let host = |host: &str| access.check_host(&Uri::from_static("/"), &headers(&[("host", host)]));
    for own in [
        "127.0.0.1:9630",
        "127.0.0.1",
        "localhost:9630",
        "LOCALHOST",
        "[::1]:9630",
        "10.0.0.7:1",
        "amber.example.net",
        "Amber.Example.NET:443",
    ] {
        assert_eq!(host(own), Ok(()), "{own}");
    }
    for other in [
        "evil.test",
        "evil.test:9630",
        "127.0.0.1.evil.test",
        "localhost.evil.test",
        "amber.example.net.evil.test",
        "",
        "a b",
        "evil@127.0.0.1.x",
    ] {
        assert_eq!(host(other), Err(Refusal::Host), "{other}");
    }
    let none = access.check_host(&Uri::from_static("/"), &HeaderMap::new());
    let two = access.check_host(&Uri::from_static("/"), &headers(&[("host", "127.0.0.1"), ("host", "evil.test")]));
    let absolute = access.check_host(&Uri::from_static("http://evil.test/"), &headers(&[("host", "127.0.0.1")]));
    assert_eq!([none, two, absolute], [Err(Refusal::Host); 3]);
}

#[test]
fn reading_is_open_or_takes_the_token() {
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(access(true, None).check_read(&HeaderMap::new()), Ok(()));
    assert_eq!(access(true, Some(TOKEN)).check_read(&HeaderMap::new()), Ok(()));
    let closed = access(false, Some(TOKEN));
    assert_eq!(closed.check_read(&headers(&[("authorization", &bearer)])), Ok(()));
    assert_eq!(closed.check_read(&headers(&[("authorization", &bearer.to_lowercase())])), Ok(()), "the scheme's case does not count");
    for wrong in ["", "Bearer", "Bearer ", "Bearer 0123", &format!("Basic {TOKEN}"), &format!("{bearer}0"), TOKEN] {
        assert_eq!(closed.check_read(&headers(&[("authorization", wrong)])), Err(Refusal::Token), "{wrong}");
    }
    assert_eq!(closed.check_read(&HeaderMap::new()), Err(Refusal::Token));
    assert_eq!(access(false, None).check_read(&HeaderMap::new()), Err(Refusal::Token), "without a token nothing opens");
}

#[test]
fn acting_takes_the_token_the_header_and_this_page() {
    let bearer = format!("Bearer {TOKEN}");
    let own = access(true, Some(TOKEN));
    let with = |more: &[(&'static str, &str)]| {
        own.check_act(&headers(&[&[("host", "127.0.0.1:9630"), ("authorization", bearer.as_str())], more].concat()))
    };
    let action = (ACTION_HEADER, "1");
    assert_eq!(with(&[action]), Ok(()), "a program");
    assert_eq!(with(&[action, ("origin", "http://127.0.0.1:9630"), ("sec-fetch-site", "same-origin")]), Ok(()), "the page");
    assert_eq!(with(&[action, ("origin", "https://127.0.0.1:9630")]), Ok(()), "the page behind something that does TLS");
    for foreign in [
        &[][..],
        &[("origin", "http://127.0.0.1:9630")],
        &[action, ("origin", "http://evil.test")],
        &[action, ("origin", "http://127.0.0.1:9631")],
        &[action, ("origin", "null")],
        &[action, ("origin", "http://127.0.0.1:9630.evil.test")],
        &[action, ("sec-fetch-site", "cross-site")],
        &[action, ("sec-fetch-site", "same-site")],
        &[action, ("sec-fetch-site", "none")],
    ] {
        assert_eq!(with(foreign), Err(Refusal::Origin), "{foreign:?}");
    }
    assert_eq!(own.check_act(&headers(&[action])), Err(Refusal::Token));
    assert_eq!(access(true, None).check_act(&headers(&[action, ("authorization", &bearer)])), Err(Refusal::NoActions));
}
