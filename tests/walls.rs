//! The walls between the rooms (ARCHITECTURE.md): imports point down, vendors stay in their file,
//! files stay small, help stays true.

use crate::support::program::files;
use std::path::{Path, PathBuf};

/// The rooms from the top down; those of one line never import one another.
const FLOORS: [&[&str]; 20] = [
    &["cli"],
    &["agent", "bench"],
    &["log_shipping"],
    &["jobs"],
    &["runs"],
    &["verify", "catalog"],
    &["monitor", "config", "demo"],
    &["ledger_events", "schedule"],
    &["tier"],
    &["repository", "replica"],
    &["pipeline"],
    &["disk", "limits"],
    &["store", "tb_format"],
    &["stop", "host"],
    &["threads"],
    &["backoff"],
    &["progress"],
    &["cancellation"],
    &["units", "names"],
    &["error"],
];

/// Pairs that never import one another although their floors would allow it, or that may though the
/// list is strict.
const FORBIDDEN: [(&str, &str); 10] = [
    ("replica", "store"),
    ("replica", "pipeline"),
    ("replica", "repository"),
    ("disk", "store"),
    ("disk", "tb_format"),
    ("store", "tb_format"),
    ("pipeline", "store"),
    ("pipeline", "tb_format"),
    ("repository", "replica"),
    ("demo", "repository"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<(String, String, String)> {
    let root = root();
    let rust = files(&root).into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|file| {
        let relative = file.strip_prefix(&root).unwrap().display().to_string();
        let room = relative.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        (relative, room, std::fs::read_to_string(&file).unwrap())
    })
    .collect()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// Whether this is a file of tests, which may use what they test with.
fn is_test(relative: &str) -> bool {
    relative.contains("tests") || relative.contains("sample") || relative.contains("contract")
}

/// The file up to its tests.
fn code(text: &str) -> &str {
    ["#[cfg(test)]\nmod tests", "#[cfg(test)]\npub(crate) mod tests"]
        .iter()
        .fold(text, |text, tests| text.split(tests).next().unwrap_or_default())
}

#[test]
fn imports_point_down() {
    let mut seen = 0;
    for (file, room, text) in sources() {
        let Some(from) = floor(&room) else {
            assert!(["lib", "main"].contains(&room.as_str()), "{file}: room {room} has no floor");
            continue;
        };
        if is_test(&file) {
            continue;
        }
        for imported in code(&text).split("crate::").skip(1) {
            let target: String = imported.chars().take_while(|character| character.is_ascii_lowercase() || *character == '_').collect();
            if target == room || target.is_empty() {
                continue;
            }
            let to = floor(&target).unwrap_or_else(|| panic!("{file}: crate::{target} has no floor"));
            assert!(to > from, "{file}: {room} imports {target}, which is not below it");
            assert!(!FORBIDDEN.contains(&(room.as_str(), target.as_str())), "{file}: {room} must not import {target}");
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} imports were seen: the check looks at the wrong place");
}

/// Rooms that are handed their time, chance and threads, so that a test can run them step by step;
/// of these, files whose waiting is for another process, or for a person who looks.
const SIMULATED: [&str; 10] =
    ["agent/", "log_shipping/", "jobs/", "runs/", "catalog/", "verify/", "schedule/", "limits/", "repository/", "replica/"];
const NOT_HANDED_IN: [&str; 6] = ["Instant::now", "SystemTime::now", "thread::sleep", "units::now_ns", "RandomState", "key::random()"];

#[test]
fn time_and_chance_are_handed_in() {
    let mut seen = 0;
    for (file, _, text) in sources().iter().filter(|(file, _, _)| SIMULATED.iter().any(|room| file.starts_with(room)) && !is_test(file)) {
        // Keys are not a matter of chance that a test may decide.
        if file == "repository/mod.rs" || file == "repository/key.rs" {
            continue;
        }
        let taken = NOT_HANDED_IN.iter().find(|taken| code(text).contains(**taken));
        assert_eq!(taken, None, "{file}: ask the clock or the chance of the host that is handed in");
        seen += 1;
    }
    assert!(seen > 50, "only {seen} files were seen: the check looks at the wrong place");
}

/// What handles backups in general. It loops over the tiers and names none.
const GENERAL: [&str; 11] = [
    "verify/",
    "catalog/",
    "monitor/",
    "runs/",
    "repository/promise.rs",
    "tier/promises.rs",
    "tier/repair.rs",
    "cli/list.rs",
    "cli/list_catalog.rs",
    "cli/show.rs",
    "cli/restore.rs",
];

#[test]
fn what_is_general_names_no_tier() {
    let tiers: Vec<String> = std::fs::read_dir(root().join("tier"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert!(tiers.len() >= 3, "{tiers:?}");
    let mut seen = 0;
    for (file, _, text) in sources() {
        if is_test(&file) || !GENERAL.iter().any(|place| file.starts_with(place)) {
            continue;
        }
        seen += 1;
        for tier in &tiers {
            for name in [format!("tier::{tier}::"), format!("tier::{tier};"), format!("== \"{tier}\"")] {
                assert!(!code(&text).contains(&name), "{file} names the tier {tier}: {name}");
            }
        }
    }
    assert!(seen > 30, "only {seen} files were seen");
}

#[test]
fn objects_are_deleted_in_one_place() {
    // The spool is the agent's own folder, the bench has a prefix of its own, and the place passes
    // on what it is told.
    let allowed = ["store/", "repository/remove.rs", "repository/place.rs", "log_shipping/spool.rs", "bench/sends.rs"];
    for (file, _, text) in sources() {
        let deletes = !is_test(&file) && code(&text).contains(".delete(");
        assert!(!deletes || allowed.iter().any(|place| file.starts_with(place)), "{file} deletes past repository/remove.rs");
    }
}

#[test]
fn vendors_stay_in_their_files() {
    let walls: [(&str, &[&str]); 15] = [
        ("io_uring::", &["disk/uring.rs"]),
        ("aws_sdk_s3", &["store/s3/"]),
        ("aws_lc_rs", &["pipeline/seal.rs", "repository/key.rs", "host/random.rs", "store/", "monitor/web/"]),
        ("aegis::", &["tb_format/checksum.rs", "pipeline/fingerprint.rs"]),
        ("tb_client_init", &["ledger_events/tb_client.rs"]),
        ("duckdb::", &["catalog/"]),
        ("zstd::", &["pipeline/compress.rs", "pipeline/probe.rs", "pipeline/compress/tests.rs"]),
        ("toml::", &["config/"]),
        ("axum::", &["monitor/web/", "agent/page/tests.rs"]),
        ("prometheus_client::", &["monitor/metrics/"]),
        ("tracing_subscriber::", &["monitor/"]),
        ("sd_notify::", &["monitor/systemd.rs"]),
        ("signal_hook::", &["stop.rs"]),
        ("croner::", &["schedule/"]),
        ("jiff::", &["schedule/"]),
    ];
    for (vendor, allowed) in walls {
        let users: Vec<String> = sources().into_iter().filter(|(_, _, text)| text.contains(vendor)).map(|(file, _, _)| file).collect();
        assert!(!users.is_empty(), "nobody uses {vendor}");
        for user in users {
            assert!(allowed.iter().any(|place| user.starts_with(place)), "{user} uses {vendor}");
        }
    }
}

#[test]
fn unsafe_stays_where_it_must_be() {
    let users: Vec<String> = sources().into_iter().filter(|(_, _, text)| text.contains("unsafe {")).map(|(file, _, _)| file).collect();
    assert_eq!(users, ["disk/arena.rs", "disk/uring.rs", "ledger_events/tb_client.rs"]);
}

#[test]
fn files_have_one_job_and_its_size() {
    for (file, _, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 500, "{file} has {lines} lines");
        assert!(text.starts_with("//!") || file.ends_with("tests.rs") || is_test(&file), "{file} does not say what it is for");
    }
}

/// Whether the line has a parameter that is a tuple taken apart: `(name, other): (`.
fn has_tuple_parameter(line: &str) -> bool {
    let is_names = |names: &str| names.contains(", ") && names.chars().all(|c| c.is_ascii_lowercase() || "_, ".contains(c));
    !line.contains("let ") && line.rsplit("): (").skip(1).any(|before| before.rsplit('(').next().is_some_and(is_names))
}

#[test]
fn parameters_have_names_and_comments_end_within_100_columns() {
    assert!(has_tuple_parameter("    (op, time_ns): (u64, u64),") && has_tuple_parameter("fn f(a: u8, (b, c): (u8, u8)) {"));
    assert!(!has_tuple_parameter("    let (a, b): (u8, u8) = c;") && !has_tuple_parameter("fn f(a: (u8, u8)) {"));
    for (file, _, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            assert!(is_test(&file) || !has_tuple_parameter(line), "{file}:{}: a parameter without a name: {line}", index + 1);
            let is_comment = line.trim_start().starts_with("//");
            assert!(!is_comment || line.chars().count() <= 100, "{file}:{}: a comment of {} columns", index + 1, line.chars().count());
        }
    }
}

#[test]
fn the_documents_name_every_room_and_command() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let architecture = std::fs::read_to_string(project.join("ARCHITECTURE.md")).unwrap();
    for room in FLOORS.iter().flat_map(|floor| floor.iter()) {
        assert!(architecture.contains(&format!("`{room}`")), "ARCHITECTURE.md does not name {room}");
    }
    let read = |name: &str| std::fs::read_to_string(project.join(name)).unwrap();
    let (readme, manual) = (read("README.md"), read("docs/operating.md"));
    for command in [
        "init",
        "backup",
        "list",
        "show",
        "restore",
        "verify",
        "inspect",
        "demo",
        "agent",
        "status",
        "bench",
        "uploads",
        "catalog",
        "history",
        "events",
        "jobs",
        "run",
        "pause",
        "resume",
        "manual",
        "completions",
    ] {
        assert!(manual.contains(&format!("amber {command}")), "docs/operating.md does not name amber {command}");
    }
    for command in ["init", "agent", "status", "list", "verify", "restore"] {
        assert!(readme.contains(&format!("amber {command}")), "README.md does not name amber {command}");
    }
    assert!(readme.contains("tools/demo") && readme.contains("tools/test"));
}
