use super::*;
use tempfile::TempDir;

/// A home with AWS configuration files.
fn home(config: &str, credentials: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/config"), config).unwrap();
    std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
    home
}

fn resolved(home: &TempDir, variables: &[(&str, &str)], options: &S3Options) -> Result<Settings, String> {
    let own = ("HOME".to_owned(), home.path().display().to_string());
    let others = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = Environment::of(others.chain([own]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Settings::resolve(options, &environment))
}

fn with(home: &TempDir, variables: &[(&str, &str)]) -> Settings {
    resolved(home, variables, &S3Options::default()).unwrap()
}

fn refused(home: &TempDir, variables: &[(&str, &str)]) -> String {
    resolved(home, variables, &S3Options::default()).unwrap_err()
}

#[test]
fn endpoints_of_the_environment_count_as_the_option_does() {
    let none = home("", "");
    let settings = with(&none, &[("AWS_ENDPOINT_URL", "http://all:1")]);
    assert_eq!(
        (settings.endpoint.as_deref(), settings.region.as_deref(), settings.path_style),
        (Some("http://all:1"), Some("us-east-1"), true)
    );
    let both = [("AWS_ENDPOINT_URL", "http://all:1"), ("AWS_ENDPOINT_URL_S3", "http://s3:2")];
    assert_eq!(with(&none, &both).endpoint.as_deref(), Some("http://s3:2"));
    let option = S3Options { endpoint: Some("http://option:3".to_owned()), ..S3Options::default() };
    assert_eq!(resolved(&none, &both, &option).unwrap().endpoint.as_deref(), Some("http://option:3"));
    let ignored = |value| with(&none, &[both[0], both[1], ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", value)]);
    assert_eq!((ignored("true").endpoint, ignored("true").path_style, ignored("true").region), (None, false, None));
    assert_eq!(ignored("false").endpoint.as_deref(), Some("http://s3:2"));
    let option = S3Options { path_style: Some(false), ..S3Options::default() };
    assert!(!resolved(&none, &both, &option).unwrap().path_style);
}

#[test]
fn endpoints_of_a_profile_count_last() {
    let config = "[default]\nendpoint_url = http://all:1\n[profile s]\nservices = mine\nendpoint_url = http://all:2\n\
                  [services mine]\ns3 =\n  endpoint_url = http://s3:3\n[profile i]\nendpoint_url = http://all:4\nignore_configured_endpoint_urls = true\n\
                  [profile v]\nendpoint_url = http://all:5\ns3 =\n  max_concurrent_requests = 2\n  addressing_style = virtual\n\
                  [profile bad]\nendpoint_url = http://\n";
    let home = home(config, "");
    let endpoint = |profile| with(&home, &[("AWS_PROFILE", profile)]).endpoint;
    assert_eq!((endpoint(""), endpoint("s")), (Some("http://all:1".to_owned()), Some("http://s3:3".to_owned())));
    assert_eq!(endpoint("i"), None);
    assert_eq!(with(&home, &[("AWS_PROFILE", "s"), ("AWS_ENDPOINT_URL", "http://e:1")]).endpoint.as_deref(), Some("http://e:1"));
    assert!(!with(&home, &[("AWS_PROFILE", "v")]).path_style && with(&home, &[("AWS_PROFILE", "s")]).path_style);
    let text = refused(&home, &[("AWS_PROFILE", "bad")]);
    assert!(text.contains("endpoint_url of the AWS profile \"bad\" \"http://\""), "{text}");
}

#[test]
fn endpoints_that_name_no_server_are_refused_by_their_value() {
    for good in ["http://h", "https://h:1/", "http://[::1]:9000", "https://h.example.com/base", "http://127.0.0.1:65535"] {
        assert_eq!(check_endpoint(good, "the endpoint"), Ok(()), "{good}");
    }
    for bad in [
        "http://",
        "https://",
        "http://:9000",
        "http://h:",
        "http://h:0",
        "http://h:99999",
        "http://h:x",
        "h:9000",
        "",
        "ftp://h",
        "http://a b",
        "http://h/?x=1",
        "http:///x",
    ] {
        let text = check_endpoint(bad, "the endpoint").unwrap_err();
        assert!(text.starts_with(&format!("the endpoint {bad:?} ")) && text.contains("write https://host:port"), "{text}");
    }
    let secret = check_endpoint("https://key:hidden@host", "AWS_ENDPOINT_URL").unwrap_err();
    assert!(secret.starts_with("AWS_ENDPOINT_URL") && !secret.contains("hidden"), "{secret}");
    let text = refused(&home("", ""), &[("AWS_ENDPOINT_URL_S3", "localhost:9000")]);
    assert!(text.contains("AWS_ENDPOINT_URL_S3 \"localhost:9000\""), "{text}");
}

#[test]
fn a_profile_that_is_not_there_is_named_with_those_that_are() {
    let some = home("[profile a]\nregion = r\n[default]\n", "[b]\naws_access_key_id = x\naws_secret_access_key = y\n");
    for (variable, options) in [
        ("AWS_PROFILE", S3Options::default()),
        ("AWS_DEFAULT_PROFILE", S3Options::default()),
        ("UNRELATED", S3Options { profile: Some("nope".to_owned()), ..S3Options::default() }),
    ] {
        let text = resolved(&some, &[(variable, "nope")], &options).unwrap_err();
        assert!(text.contains("no profile \"nope\"") && text.contains(".aws/config") && text.contains(".aws/credentials"), "{text}");
        assert!(text.contains("they have a, b, default"), "{text}");
        assert_eq!(text.contains(&format!("(from {variable})")), options.profile.is_none(), "{text}");
    }
    let text = refused(&home("", ""), &[("AWS_PROFILE", "nope")]);
    assert!(text.contains("they have none"), "{text}");
    let elsewhere = some.path().join("elsewhere");
    std::fs::write(&elsewhere, "[profile far]\nregion = far-1\n").unwrap();
    let elsewhere = elsewhere.display().to_string();
    let settings = with(&some, &[("AWS_CONFIG_FILE", &elsewhere), ("AWS_PROFILE", "far")]);
    assert_eq!((settings.profile.name.as_str(), settings.region.as_deref(), settings.profile.is_explicit), ("far", Some("far-1"), false));
    let two = refused(&some, &[("AWS_PROFILE", "a"), ("AWS_DEFAULT_PROFILE", "b")]);
    assert!(two.contains("unset one"), "{two}");
    assert_eq!(with(&some, &[("AWS_PROFILE", "a"), ("AWS_DEFAULT_PROFILE", "a")]).profile.name, "a");
    let text = refused(&home("[profile a\n", ""), &[]);
    assert!(text.contains(".aws/config on line 1"), "{text}");
}

#[test]
fn what_is_set_to_nothing_decides_nothing() {
    let some = home("[default]\nregion = profile-1\nca_bundle = ~/ca.pem\n", "");
    let names = [
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CA_BUNDLE",
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "HTTPS_PROXY",
    ];
    let settings = with(&some, &names.map(|name| (name, "")));
    assert_eq!((settings.profile.name.as_str(), settings.region.as_deref(), settings.endpoint), ("default", Some("profile-1"), None));
    assert_eq!(settings.ca_bundle, Some(some.path().join("ca.pem")));
}

#[test]
fn regions_and_authorities_come_in_the_order_of_the_aws_tools() {
    let some = home("[default]\nregion = profile-1\nca_bundle = /profile\n", "");
    let region = |variables: &[(&str, &str)]| with(&some, variables).region;
    assert_eq!(region(&[("AWS_REGION", "a"), ("AWS_DEFAULT_REGION", "b")]).as_deref(), Some("a"));
    assert_eq!(region(&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "b")]).as_deref(), Some("b"));
    assert_eq!(region(&[("AWS_ENDPOINT_URL", "http://h"), ("AWS_REGION", "a")]).as_deref(), Some("a"), "also for other servers");
    assert_eq!(region(&[("AWS_ENDPOINT_URL", "http://h")]).as_deref(), Some("profile-1"));
    let option = S3Options { region: Some("option".to_owned()), ..S3Options::default() };
    assert_eq!(resolved(&some, &[("AWS_REGION", "a")], &option).unwrap().region.as_deref(), Some("option"));
    assert_eq!(with(&some, &[("AWS_CA_BUNDLE", "/variable")]).ca_bundle, Some("/variable".into()));
    assert_eq!(with(&some, &[]).ca_bundle, Some("/profile".into()));
}

#[test]
fn half_of_a_pair_is_refused() {
    let none = home("", "");
    let text = refused(&none, &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "")]);
    assert!(text.contains("AWS_SECRET_ACCESS_KEY is not"), "{text}");
    let text = refused(&none, &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")]);
    assert!(text.contains("AWS_ROLE_ARN is not"), "{text}");
    with(&none, &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn")]);
    with(&none, &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
    let some = home("", "[p]\naws_access_key_id = x\n");
    let named = S3Options { profile: Some("p".to_owned()), ..S3Options::default() };
    assert!(resolved(&some, &[("AWS_ACCESS_KEY_ID", "id")], &named).is_ok(), "the profile that is named goes first");
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_where_it_is_needed() {
    let none = home("", "");
    let socks = ("HTTPS_PROXY", "socks5://p:1");
    let text = refused(&none, &[socks, ("AWS_REGION", "r")]);
    assert!(text.starts_with("HTTPS_PROXY names a proxy of the kind socks5://"), "{text}");
    with(&none, &[socks, ("AWS_ENDPOINT_URL", "http://h:1")]);
    with(&none, &[socks, ("AWS_ENDPOINT_URL", "https://h:1"), ("NO_PROXY", "h")]);
}
