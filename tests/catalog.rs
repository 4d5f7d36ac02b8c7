//! The catalog through the program: what commands record, queries while another process writes, and
//! the rebuild.

use crate::support::agent::Agent;
use crate::support::folder;
use crate::support::program::{Program, files, number, parse, text};
use amber::catalog::writer::Catalog;
use amber::repository::key::Secret;
use amber::repository::name::RunId;
use amber::repository::run_record::{Run, RunOutcome, RunRecord, RunSink, Scope, Work};
use amber::repository::{Options, Repository};
use amber::store::Store;
use amber::store::folder::FolderStore;
use amber::tb_format::sample::SampleFile;
use amber::tier::sample;
use amber::tier::sample::{LOG_OPS, write_data_file};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// A repository with its own cache and state folders.
struct Place {
    place: TempDir,
    program: Program,
}

impl Place {
    fn new() -> Place {
        let place = folder("catalog");
        let program = Program::in_folder(&place.path().join("repository"));
        program.init();
        Place { place, program }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> (i32, Value) {
        let mut command = self.program.command(arguments);
        command.env("XDG_CACHE_HOME", self.path("cache")).env("AMBER_STATE_DIR", self.path("state"));
        let output = command.output().unwrap();
        (output.status.code().unwrap_or(-1), parse(&output))
    }

    fn ok(&self, arguments: &[&str]) -> Value {
        let (code, json) = self.run(arguments);
        assert_eq!(code, 0, "amber {arguments:?}: {json}");
        json
    }

    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let (found, json) = self.run(arguments);
        assert_eq!(found, code, "amber {arguments:?}: {json}");
        json["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The ledger of a sample, backed up.
    fn back_up(&self) -> Value {
        let data = tempfile::tempdir_in(sample::folder()).unwrap();
        let path = data.path().join("0_0.tigerbeetle");
        write_data_file(&SampleFile::new(7, LOG_OPS), &path).unwrap();
        self.ok(&["backup", "tigerbeetle", "--data-file", text(&path)])
    }

    fn repository(&self) -> Arc<Repository> {
        let store: Arc<dyn Store> = Arc::new(FolderStore::open(&self.path("repository")).unwrap());
        let secret = Secret::Passphrase(zeroize::Zeroizing::new("a passphrase for tests".as_bytes().to_vec()));
        Repository::open(store, &secret, Options::default()).unwrap()
    }
}

/// All rows of the catalog in a folder.
fn content(place: &Place, catalog: &Path) -> Vec<Value> {
    let tables = ["backup_metadata", "kms_key_backups", "verification_runs", "recovery_drills", "retention_runs"];
    let ask = |table: &str| {
        let sql = format!("SELECT * FROM {table} ORDER BY id");
        place.ok(&["catalog", "query", &sql, "--catalog", text(catalog)])["rows"].clone()
    };
    tables.into_iter().map(ask).collect()
}

#[test]
fn commands_are_recorded_listed_and_rebuilt() {
    let place = Place::new();
    let first = place.back_up();
    let second = place.back_up();
    let archive = place.path("archive");
    std::fs::write(&archive, "an archive").unwrap();
    let file = place.ok(&["backup", "file", text(&archive), "--name", "archive"]);
    let missing = place.fails(2, &["backup", "file", text(&place.path("missing")), "--name", "missing"]);
    place.ok(&["verify", "--full"]);
    place.ok(&["verify", "--no-record"]);
    let history = place.ok(&["history"])["runs"].clone();
    let listed: Vec<(&str, &str, &str)> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["type"].as_str().unwrap(), run["scope"].as_str().unwrap_or("-"), run["status"].as_str().unwrap()))
        .collect();
    let expected = [
        ("verification", "full", "completed"),
        ("file", "full", "failed"),
        ("file", "full", "completed"),
        ("tigerbeetle", "incremental", "completed"),
        ("tigerbeetle", "full", "completed"),
    ];
    assert_eq!(listed, expected, "{history:#}");
    assert_eq!((&history[1]["reason"], &history[1]["job"]), (&json!(missing), &json!("command line")));
    assert_eq!(
        (&history[4]["location"], &history[3]["location"], &history[2]["location"]),
        (&first["name"], &second["name"], &file["name"])
    );
    assert!(first["name"].as_str().unwrap().ends_with(history[4]["run"].as_str().unwrap()), "a run has the number of its backup");
    assert_eq!(number(&history[4], "stored_bytes"), number(&first, "bytes_stored") + number(&first, "manifest_bytes"));
    let cached = cache_of(&place);
    let only = |arguments: &[&str]| {
        let asked = place.ok(&[&["history", "--catalog", text(&cached)], arguments].concat());
        asked["runs"].as_array().unwrap().len()
    };
    assert_eq!((only(&["--type", "file"]), only(&["--status", "failed"]), only(&["--since", "1h"]), only(&["--limit", "2"])), (2, 1, 5, 2));
    assert_eq!((only(&["--since", "2100-01-01T00:00:00Z"]), only(&["--type", "file", "--status", "completed"])), (0, 1));
    what_is_listed_by_a_catalog_is_what_the_repository_has(&place, &cached);

    // The cache is deleted: the same rows come back.
    let before = content(&place, &cache_of(&place));
    std::fs::remove_dir_all(place.path("cache")).unwrap();
    let rebuilt = place.ok(&["catalog", "rebuild"]);
    assert_eq!((&rebuilt["compared"], number(&rebuilt["rows"], "backup_metadata")), (&json!(false), 4), "{rebuilt}");
    assert_eq!(content(&place, &cache_of(&place)), before);
    let again = place.ok(&["catalog", "rebuild"]);
    assert_eq!((&again["compared"], &again["same"], &again["notes"]), (&json!(true), &json!(true), &json!([])), "{again}");
    let shown = place.ok(&["catalog", "show"]);
    assert_eq!((&shown["is_complete"], number(&shown["rows"], "verification_runs")), (&json!(true), 1), "{shown}");
    // Verification includes what commands record.
    let verified = place.ok(&["verify"]);
    assert_eq!((&verified["ok"], number(&verified, "runs")), (&json!(true), 5));
    assert_eq!(verified["notes"], json!([]));
}

fn what_is_listed_by_a_catalog_is_what_the_repository_has(place: &Place, catalog: &Path) {
    let of_catalog = ["--catalog", text(catalog)];
    let listed = place.ok(&[&["list"], &of_catalog[..]].concat());
    let found = place.ok(&["list"]);
    let same = |kind: &str, count: usize, fields: &[&str]| {
        let (by_catalog, stored) = (listed[kind].as_array().unwrap(), found[kind].as_array().unwrap());
        assert_eq!((by_catalog.len(), stored.len()), (count, count), "{listed}");
        for (by_catalog, stored) in by_catalog.iter().zip(stored) {
            fields.iter().for_each(|field| assert_eq!(by_catalog[field], stored[field], "{field}"));
        }
    };
    same("backups", 2, &["name", "checkpoint_op", "first_restorable_op", "recovered_to_op", "replica", "timeline", "blocks"]);
    same("files", 1, &["name", "run", "path", "file_bytes"]);
    assert_eq!(listed["notes"], json!([]));

    let show = |arguments: &[&str]| place.ok(&[&["show"], &of_catalog[..], arguments].concat())["backup"].clone();
    let (backups, archive) = (&listed["backups"], &listed["files"][0]);
    assert_eq!((&show(&[]), &show(&[text_of(&backups[0], "run")])), (&backups[1], &backups[0]), "the newest checkpoint, and by its run");
    assert_eq!(&show(&[text_of(archive, "location")]), archive);
    let op = backups[0]["checkpoint_op"].to_string();
    let many = place.fails(2, &[&["show"], &of_catalog[..], &[&op]].concat());
    assert!(many.contains("2 backups fit"), "{many}");
    let none = place.fails(2, &[&["show"], &of_catalog[..], &["never"]].concat());
    assert!(none.contains("no backup \"never\""), "{none}");
}

fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[test]
fn an_agents_catalog_is_found_by_its_configuration() {
    let place = Place::new();
    place.back_up();
    let agent = place.path("agent");
    std::fs::create_dir_all(agent.join("state")).unwrap();
    let _agent = Agent::configure(&place.program, &agent, &place.path("0_0.tigerbeetle"), "");
    let config = agent.join("amber.toml");
    let of_agent = ["--config", text(&config)];
    assert!(place.fails(2, &["history", "--config", text(&config)]).contains("amber catalog rebuild"));
    place.ok(&["catalog", "rebuild", "--config", text(&config)]);
    assert_eq!(files(&agent.join("state/catalog")).len(), 2, "catalog and lock");
    assert!(!place.path("cache").exists());
    // A query needs neither the repository nor its secret.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_amber"));
    command.args(["catalog", "query", "--json", "SELECT backup_type FROM backup_metadata"]).args(of_agent);
    let output = command.env_remove("AMBER_REPO").env_remove("AMBER_PASSPHRASE").output().unwrap();
    assert_eq!(parse(&output)["rows"], json!([{ "backup_type": "tigerbeetle" }]));
    let asked = place.ok(&[&["history"], &of_agent[..]].concat());
    assert_eq!(asked, place.ok(&["history", "--catalog", text(&agent.join("state/catalog"))]));
    // Listing what is stored needs neither too: it uses the same catalog, and the repository may be
    // away.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_amber"));
    command.args(["list"]).args(of_agent).env_remove("AMBER_REPO").env_remove("AMBER_PASSPHRASE");
    let output = command.output().unwrap();
    let reported = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && reported.starts_with("1 backups by the catalog ") && reported.contains("restorable ops"),
        "{output:?}"
    );
    for command in ["history", "list", "show"] {
        let nowhere = std::process::Command::new(env!("CARGO_BIN_EXE_amber")).args([command]).env_remove("AMBER_REPO").output().unwrap();
        assert_eq!(nowhere.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&nowhere.stderr).contains("--config"), "{nowhere:?}");
    }
}

#[test]
fn sql_that_wants_more_than_to_ask_is_refused() {
    let place = Place::new();
    place.back_up();
    let out = place.path("out");
    for sql in [
        "DELETE FROM backup_metadata".to_owned(),
        "SELECT 1; DROP TABLE backup_metadata".to_owned(),
        format!("COPY backup_metadata TO '{}'", out.display()),
        format!("ATTACH '{}' AS x", out.display()),
        "SELECT * FROM read_text('/etc/passwd')".to_owned(),
        "SELEC".to_owned(),
    ] {
        place.fails(2, &["catalog", "query", &sql]);
    }
    assert!(!out.exists());
    let reported = std::process::Command::new(env!("CARGO_BIN_EXE_amber"))
        .args(["catalog", "query", "SELECT backup_type AS kind, NULL AS x, 7 AS seven FROM backup_metadata", "--catalog"])
        .arg(cache_of(&place))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&reported.stdout), "kind         x  seven\ntigerbeetle  -  7\n\n1 rows\n");
}

fn cache_of(place: &Place) -> PathBuf {
    let found = std::fs::read_dir(place.path("cache/amber")).unwrap().map(|entry| entry.unwrap().path());
    found.collect::<Vec<_>>().pop().unwrap()
}

fn record(number: u64, has_ended: bool) -> RunRecord {
    let run = Run {
        work: Work::File,
        scope: Scope::Full,
        tenant: None,
        job: "test".to_owned(),
        by: "another process".to_owned(),
        started_ns: number * 1_000_000_000,
        retention_days: 0,
    };
    RunRecord { run, outcome: has_ended.then(|| RunOutcome::failed((number + 1) * 1_000_000_000, "on purpose")) }
}

/// This process writes as an agent does. Others query meanwhile, and always get a complete catalog
/// that never goes back.
#[test]
fn processes_ask_while_another_writes() {
    let place = Place::new();
    let folder = place.path("written");
    let catalog = Catalog::new(&place.repository(), &folder);
    catalog.put(RunId(0), &record(0, false)).unwrap();
    let (ended, asked) = (AtomicBool::new(false), std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = (0, 0);
                // One more query after the end.
                let mut is_last = false;
                while !is_last {
                    is_last = ended.load(Ordering::SeqCst);
                    let sql = "SELECT count(*) AS runs, count(*) FILTER (status = 'failed') AS failed FROM runs";
                    let row = place.ok(&["catalog", "query", sql, "--catalog", text(&folder)])["rows"][0].clone();
                    let found = (number(&row, "runs"), number(&row, "failed"));
                    assert!(found >= last, "{found:?} after {last:?}");
                    last = found;
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                assert_eq!(last, (30, 30));
            });
        }
        for number in 0..30 {
            catalog.put(RunId(number), &record(number, false)).unwrap();
            catalog.put(RunId(number), &record(number, true)).unwrap();
        }
        ended.store(true, Ordering::SeqCst);
    });
    println!("{} queries", asked.into_inner());
    // A writer that holds the lock blocks no reader.
    let held = catalog.folder().lock().unwrap();
    assert_eq!(place.ok(&["history", "--catalog", text(&folder)])["runs"].as_array().unwrap().len(), 30);
    drop(held);
}

/// A process that is killed while it writes leaves either the catalog before or the one after.
#[test]
fn a_rebuild_that_is_killed_leaves_a_whole_catalog() {
    let place = Place::new();
    place.back_up();
    let repository = place.repository();
    for number in 0..40 {
        repository.record_run(RunId(number), &record(number, true)).unwrap();
    }
    place.ok(&["catalog", "rebuild"]);
    let before = content(&place, &cache_of(&place));
    for attempt in 0..6_u64 {
        let mut command = place.program.command(&["catalog", "rebuild"]);
        command.env("XDG_CACHE_HOME", place.path("cache")).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60 + 60 * attempt));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(content(&place, &cache_of(&place)), before);
    }
    assert_eq!(place.ok(&["catalog", "rebuild"])["same"], true);
    assert_eq!(files(&cache_of(&place)).len(), 2, "leftovers are cleared");
}

/// A repository of an Amber version that recorded no runs has its history all the same.
#[test]
fn an_older_repository_has_its_catalog() {
    let place = Place::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/version-1");
    let repository = fixture.join("repository");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_amber"));
    command.args(["history", "--json", "--repo", text(&repository), "--key-file", text(&fixture.join("key"))]);
    let output = command.env("XDG_CACHE_HOME", place.path("cache")).output().unwrap();
    let runs = parse(&output)["runs"].clone();
    assert_eq!(
        (runs.as_array().unwrap().len(), &runs[0]["type"], &runs[0]["status"], &runs[0]["job"]),
        (1, &json!("tigerbeetle"), &json!("completed"), &json!("unrecorded"))
    );
}
