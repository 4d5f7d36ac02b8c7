//! The program, called as a user calls it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A repository on disk or in S3, and how to call the program on it.
pub struct Program {
    repository: String,
    endpoint: Option<String>,
    keys: Vec<(&'static str, String)>,
}

impl Program {
    /// A repository in a folder.
    pub fn in_folder(folder: &Path) -> Program {
        Program { repository: folder.display().to_string(), endpoint: None, keys: Vec::new() }
    }

    /// A repository in S3.
    pub fn in_s3(url: &str, endpoint: &str, access_key_id: &str, secret_access_key: &str) -> Program {
        let keys = vec![("AWS_ACCESS_KEY_ID", access_key_id.to_owned()), ("AWS_SECRET_ACCESS_KEY", secret_access_key.to_owned())];
        Program { repository: url.to_owned(), endpoint: Some(endpoint.to_owned()), keys }
    }

    /// Where the repository is.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The endpoint of the S3 server, if it is one that the tests started.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// What a process needs in its environment to open the repository.
    pub fn environment(&self) -> Vec<(String, String)> {
        let keys = self.keys.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        keys.chain([("AMBER_PASSPHRASE".to_owned(), "a passphrase for tests".to_owned())]).collect()
    }

    /// The command with these arguments, not started yet; it prints JSON.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amber"));
        command.args(arguments).arg("--json").env("AMBER_REPO", &self.repository).env("AMBER_PASSPHRASE", "a passphrase for tests");
        if let Some(endpoint) = &self.endpoint {
            command.env("AMBER_ENDPOINT", endpoint);
        }
        command.envs(self.keys.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    /// Runs it. Returns the exit code and what it printed.
    pub fn run(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.command(arguments).output().unwrap();
        (output.status.code().unwrap_or(-1), parse(&output))
    }

    /// Runs it; it must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Value {
        let (code, json) = self.run(arguments);
        assert_eq!(code, 0, "amber {arguments:?}: {json}");
        json
    }

    /// Runs it; it must fail with this exit code. Returns the message.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let (found, json) = self.run(arguments);
        assert_eq!(found, code, "amber {arguments:?}: {json}");
        json["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Creates the repository.
    pub fn init(&self) {
        self.ok(&["init"]);
    }

    /// Backs up a running replica.
    pub fn backup(&self, data_file: &Path) -> Value {
        self.ok(&["backup", "tigerbeetle", "--data-file", text(data_file)])
    }

    /// The newest op in the log of a data file.
    pub fn head(&self, data_file: &Path) -> u64 {
        number(&self.ok(&["inspect", "--no-blocks", text(data_file)])["log"], "head_op")
    }

    /// Restores to a file that must not exist yet.
    pub fn restore(&self, output: &Path, more: &[&str]) -> Value {
        self.ok(&[&["restore", "tigerbeetle", "--output", text(output)], more].concat())
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The JSON that the program printed.
pub fn parse(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("no JSON: {said:?} {}", String::from_utf8_lossy(&output.stderr)))
}

/// A number from the program's JSON.
pub fn number(json: &Value, field: &str) -> u64 {
    json[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {json}"))
}

/// All files below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
