//! Tests which options result from the configuration of the page.

use super::*;
use crate::config::AgentConfig;
use crate::error::Kind;
use crate::monitor::web::access::Refusal;
use axum::http::HeaderMap;
use std::path::PathBuf;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn options(&self, page: &str) -> Result<Option<Options>> {
        let text = format!("data_file = '/d'\nstate_directory = '/s'\n[repository]\nurl = '/r'\n[page]\n{page}");
        options(&AgentConfig::parse(&self.0.path().join("amber.toml"), &text).unwrap().page)
    }

    fn refused(&self, page: &str) -> String {
        let error = self.options(page).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
        error.message
    }
}

#[test]
fn it_is_for_this_machine_unless_it_says_otherwise() {
    let folder = Folder::new();
    let default = folder.options("").unwrap().unwrap();
    assert_eq!(
        (default.listen.to_string().as_str(), default.access.open_to_read, default.access.has_actions()),
        ("127.0.0.1:9630", true, false)
    );
    assert!(folder.options("listen = 'off'").unwrap().is_none());
    folder.write("token", "0123456789abcdef\n");
    let wide = folder.options("listen = '0.0.0.0:9630'\ntoken_file = 'token'\nhost_names = ['Amber.example.net']").unwrap().unwrap();
    assert_eq!((wide.access.open_to_read, wide.access.has_actions()), (false, true));
    assert_eq!(wide.access.host_names, ["amber.example.net"]);
    assert_eq!(wide.access.check_read(&HeaderMap::new()), Err(Refusal::Token));
}

#[test]
fn files_that_are_not_what_they_must_be_are_refused_with_their_line() {
    let folder = Folder::new();
    folder.write("short", "0123");
    folder.write("long", &"x".repeat(5000));
    folder.write("words", "correct horse battery staple");
    for (page, wanted) in [
        ("token_file = 'none'", "none: No such file"),
        ("token_file = 'short'", "this one has 4"),
        ("token_file = 'long'", "is it the right file?"),
        ("token_file = 'words'", "one word"),
        ("tls_certificate = 'words'\ntls_key = 'words'", "words: no certificate in PEM is in it"),
    ] {
        let message = folder.refused(page);
        assert!(message.contains("amber.toml:6: ") && message.contains(wanted), "{message}");
        assert!(!message.contains("horse") && !message.contains("0123"), "{message}");
    }
}

#[test]
fn certificates_must_belong_together() {
    let folder = Folder::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    folder.write("page.pem", &certificate.pem());
    folder.write("page.key", &key.serialize_pem());
    folder.write("other.key", &rcgen::KeyPair::generate().unwrap().serialize_pem());
    let files = "listen = '0.0.0.0:9630'\ntls_certificate = 'page.pem'\ntls_key = 'page.key'\nclient_ca_file = 'page.pem'";
    let mutual = folder.options(files).unwrap().unwrap();
    assert!(mutual.tls.is_some() && mutual.access.open_to_read && !mutual.access.has_actions());
    let message = folder.refused(&files.replace("page.key", "other.key"));
    assert!(message.contains("cannot be used together"), "{message}");
    let message = folder.refused(&files.replace("client_ca_file = 'page.pem'", "client_ca_file = 'page.key'"));
    assert!(message.contains("page.key: no certificate in PEM is in it"), "{message}");
    let plan = |page: &str| {
        AgentConfig::parse(Path::new("/a"), &format!("data_file = '/d'\nstate_directory = '/s'\n[repository]\nurl = '/r'\n[page]\n{page}"))
            .unwrap()
    };
    assert_eq!(notes(&plan(files).page), Vec::<String>::new());
    assert_eq!(notes(&plan("").page), Vec::<String>::new());
    assert!(notes(&plan("listen = '0.0.0.0:1'\ntoken_file = 't'").page)[0].contains("without TLS"));
}
