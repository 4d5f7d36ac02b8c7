//! What every tier of single files does alike, for the place in which it keeps them.

use super::check::promised;
use super::format::FileRecord;
use super::restore::{FileRestoreRequest, restore_file};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{BackupName, FileName, FilePlace, Promised};
use crate::repository::promise::Receipt;
use crate::repository::run_record::{Run, RunOutcome, Scope, Work};
use crate::tier::facts::{BackupDetails, BackupFacts, Column, size_of, stored, text_of, time_of, unrecorded};
use crate::tier::object_class::Role;
use crate::tier::objective::Estimate;
use crate::tier::reference::ObjectReference;
use crate::tier::request::{AsOf, TierRestoreRequest, TierRestored};
use crate::units::{bytes_text, time_text};
use serde_json::{Value, json};

/// A number whose time lies further in the future than this is of a clock that was wrong.
const CLOCK_SLACK_MS: u64 = 600_000;

/// The columns of a table of files.
pub static COLUMNS: [Column; 6] = [
    Column { heading: "file", cell: |file| text_of(file, &["name"]) },
    Column {
        heading: "stored at",
        cell: |file| if file["error"].is_null() { time_of(file, &["ended_ns"]) } else { "damaged or lost".to_owned() },
    },
    Column { heading: "size", cell: |file| size_of(file, &["file_bytes"]) },
    Column { heading: "stored", cell: |file| size_of(file, &["stored_bytes"]) },
    Column { heading: "from", cell: |file| text_of(file, &["path"]) },
    Column { heading: "run", cell: |file| text_of(file, &["run"]) },
];

/// The outcome of a run that stored a file.
pub fn outcome(name: &FileName, record: &FileRecord, receipt: &Receipt) -> RunOutcome {
    let details = [
        ("name", json!(name.name)),
        ("path", json!(record.path)),
        ("file_bytes", json!(record.file_bytes)),
        ("modified_ns", json!(record.modified_ns)),
        ("digest", json!(record.digest)),
    ];
    stored(record.ended_ns, record.stored_bytes, name.record(), receipt, details)
}

/// All files that exist or were promised, the oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn backups(repository: &Repository, place: &'static FilePlace) -> Result<Vec<BackupName>> {
    Ok(repository.listed_files(place)?.all().iter().map(BackupName::from).collect())
}

/// The file that a backup is.
///
/// # Errors
/// [`Error::bug`] for a backup of another place.
pub fn file_of(place: &'static FilePlace, backup: &BackupName) -> Result<FileName> {
    let record = backup.record_object();
    FileName::parse_record(place, &record).ok_or_else(|| Error::bug(format!("{record} is no file of {}", place.data)))
}

/// What a file says of itself.
///
/// # Errors
/// [`Error::damaged`] when its record is missing or not what was written.
pub fn facts(repository: &Repository, place: &'static FilePlace, work: Work, backup: &BackupName) -> Result<BackupFacts> {
    let name = file_of(place, backup)?;
    let record = repository.file_record(&name)?;
    let outcome = outcome(&name, &record, &repository.receipt_or_digest(&name)?);
    let mut json = json!(record);
    if let Value::Object(fields) = &mut json {
        fields.insert("name".into(), json!(name.name));
        fields.insert("run".into(), json!(name.run.to_string()));
        fields.insert("location".into(), json!(name.record()));
    }
    let run = Run { tenant: record.tenant.clone(), ..unrecorded(work, Scope::Full, record.began_ns) };
    Ok(BackupFacts { run, outcome, json })
}

/// Everything about a file.
///
/// # Errors
/// [`Error::damaged`] when its record is missing or not what was written.
pub fn show(repository: &Repository, place: &'static FilePlace, work: Work, backup: &BackupName) -> Result<BackupDetails> {
    let (name, facts) = (file_of(place, backup)?, facts(repository, place, work, backup)?);
    let record = repository.file_record(&name)?;
    let rows = vec![
        ("backup", name.record()),
        ("file", format!("{}, {}, changed {}", record.path, bytes_text(record.file_bytes), time_text(record.modified_ns))),
        ("stored", format!("{} at {}", bytes_text(record.stored_bytes), time_text(record.ended_ns))),
        ("object", name.data()),
        ("digest", record.digest.clone()),
    ];
    Ok(BackupDetails { rows, tables: Vec::new(), json: facts.json })
}

/// Hands on what a file needs.
///
/// # Errors
/// [`Error::damaged`] when its record cannot be read, and the errors of `take`.
pub fn references(
    repository: &Repository,
    place: &'static FilePlace,
    backup: &BackupName,
    take: &mut dyn FnMut(ObjectReference) -> Result<()>,
) -> Result<()> {
    let name = file_of(place, backup)?;
    let record = repository.file_record(&name)?;
    take(ObjectReference::sealed(name.receipt(), Role::Promise))?;
    take(ObjectReference::sealed(name.record(), Role::Promise))?;
    take(ObjectReference { name: name.data(), role: Role::Data, promised: Some(promised(&record)) })
}

/// The file of this name as of then. `only` is the name where a place has only one.
///
/// # Errors
/// [`Error::input`] where there is none.
fn as_of(repository: &Repository, place: &'static FilePlace, as_of: AsOf, name: &str) -> Result<FileName> {
    let none = |what: &str| {
        Error::input(format!(
            "{}: there is no {} {name}{what}: `amber list` shows what there is",
            repository.describe(),
            place.promises.tier
        ))
    };
    // A lost record must not make an older one the newest.
    let mut files: Vec<FileName> = repository.listed_files(place)?.all().into_iter().filter(|file| file.name == name).collect();
    match as_of {
        AsOf::Newest => files.pop().ok_or_else(|| none("")),
        AsOf::Run(run) => files.into_iter().find(|file| file.run == run).ok_or_else(|| none(&format!(" of run {run}"))),
        AsOf::Time(time_ns) => {
            while let Some(file) = files.pop() {
                if repository.file_record(&file)?.ended_ns <= time_ns {
                    return Ok(file);
                }
            }
            Err(none(&format!(" as old as {}", time_text(time_ns))))
        }
    }
}

/// What restoring a file is expected to take.
///
/// # Errors
/// [`Error::input`] where there is none as of then.
pub fn estimate(repository: &Repository, place: &'static FilePlace, moment: AsOf, name: &str) -> Result<Estimate> {
    let file = as_of(repository, place, moment, name)?;
    Ok(Estimate::of(repository.file_record(&file)?.stored_bytes, 2))
}

/// Restores a file.
///
/// # Errors
/// Those of [`restore_file`].
pub fn restore(
    repository: &Repository,
    place: &'static FilePlace,
    request: &TierRestoreRequest,
    name: &str,
    progress: &dyn Progress,
) -> Result<TierRestored> {
    let file = as_of(repository, place, request.as_of, name)?;
    if matches!(request.as_of, AsOf::Newest) && file.run.ms() > repository.clock().now_ns() / 1_000_000 + CLOCK_SLACK_MS {
        progress.note(&format!(
            "{}: its number is of {}, which has yet to come: a clock is or was wrong, and a later backup may have a lower number; \
             `amber list` shows all, --run takes another",
            file.record(),
            time_text(file.run.ms().saturating_mul(1_000_000))
        ));
    }
    let estimate = Estimate::of(repository.file_record(&file)?.stored_bytes, 2);
    let request = FileRestoreRequest {
        place,
        name: file.name.clone(),
        run: Some(file.run),
        output: request.output.clone(),
        overwrite: request.overwrite,
        base: None,
        read_back: true,
    };
    let restored = restore_file(repository, &request, progress)?;
    Ok(TierRestored {
        backup: BackupName::from(&restored.name),
        state: format!("{}, stored {}", file.name, time_text(restored.record.ended_ns)),
        estimate,
        bytes_fetched: restored.bytes_fetched,
        bytes_written: restored.record.file_bytes,
        notes: Vec::new(),
    })
}
