//! A tier that backs up jars: a jar is a name and some words. It exists for tests alone, and is
//! what `docs/adding-a-tier.md` leads to: everything general must do its work for a tier of which
//! it has never heard.
//!
//! ```text
//! capture: words -> object toy/data/JAR/RUN -> record toy/records/JAR/RUN -> receipt
//! restore: record -> object -> file
//! ```

#[cfg(test)]
pub(crate) mod tests;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{BackupName, Promised, Promises, RunId, TOY};
use crate::repository::promise::Receipt;
use crate::repository::run_record::{RunOutcome, Scope, Work};
use crate::repository::{Repository, record};
use crate::tier::depth::Depth;
use crate::tier::facts::{BackupDetails, BackupFacts, Column, stored, text_of, time_of, unrecorded};
use crate::tier::findings::{TierFindings, VerificationReport};
use crate::tier::object_check::{Expected, ObjectCheck, check_all};
use crate::tier::object_class::{ObjectClass, Role};
use crate::tier::objective::{Estimate, Objective};
use crate::tier::promises::{Listed, check_promises};
use crate::tier::reference::{ObjectReference, PromisedBytes};
use crate::tier::request::{AsOf, TierRestoreRequest, TierRestored};
use crate::tier::{Tier, parse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Prefix of the objects that hold words.
const DATA: &str = "toy/data/";

/// What a record promises.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct JarRecord {
    stored_bytes: u64,
    digest: String,
    ended_ns: u64,
}

/// The tier.
#[derive(Debug)]
pub struct Toy;

fn name(jar: &str, run: RunId) -> BackupName {
    BackupName { promises: &TOY, tail: format!("{jar}/{run}"), run }
}

fn data(backup: &BackupName) -> String {
    format!("{DATA}{}", backup.tail)
}

/// Backs up a jar: the capture of this tier.
pub fn back_up(repository: &Arc<Repository>, jar: &str, words: &str, run: RunId, now_ns: u64) -> Result<RunOutcome> {
    let backup = name(jar, run);
    let object = record::seal(repository, ObjectKind::Data, data(&backup), &words)?;
    repository.put_sealed(&object)?;
    let jar = JarRecord { stored_bytes: object.stored_bytes, digest: crate::store::hex(&object.digest), ended_ns: now_ns };
    let sealed = record::seal(repository, ObjectKind::Record, backup.record_object(), &jar)?;
    repository.put_sealed(&sealed)?;
    let receipt = Receipt { size_bytes: sealed.stored_bytes, digest: sealed.digest };
    repository.write_receipt(&backup, &receipt)?;
    Ok(outcome(&backup, &jar, &receipt))
}

fn outcome(backup: &BackupName, jar: &JarRecord, receipt: &Receipt) -> RunOutcome {
    let details = [("name", json!(backup.tail.split('/').next()))];
    stored(jar.ended_ns, jar.stored_bytes, backup.record_object(), receipt, details)
}

fn read(repository: &Repository, backup: &BackupName) -> Result<JarRecord> {
    record::read(repository, ObjectKind::Record, &backup.record_object())
}

fn listed(repository: &Repository) -> Result<Listed<BackupName>> {
    Listed::read(repository, (TOY.records, TOY.receipts), |object| {
        let of_receipt = object.strip_prefix(TOY.receipts).map(|tail| format!("{}{tail}", TOY.records));
        [parse(&Toy, object), of_receipt.and_then(|record| parse(&Toy, &record))]
    })
}

/// The jar as of then.
fn as_of(repository: &Repository, moment: AsOf, jar: Option<&str>) -> Result<BackupName> {
    let jar = jar.ok_or_else(|| Error::input("which jar?"))?;
    let mut all = Toy.backups(repository)?;
    all.retain(|backup| backup.tail.split('/').next() == Some(jar));
    while let Some(backup) = all.pop() {
        let fits = match moment {
            AsOf::Newest => true,
            AsOf::Run(run) => backup.run == run,
            AsOf::Time(time_ns) => read(repository, &backup)?.ended_ns <= time_ns,
        };
        if fits {
            return Ok(backup);
        }
    }
    Err(Error::input(format!("there is no jar {jar} as of then")))
}

impl JarRecord {
    fn promised(&self) -> Result<PromisedBytes> {
        let digest = crate::repository::upload_journal::bytes_of(&self.digest).ok_or_else(|| Error::damaged("its digest is none"))?;
        Ok(PromisedBytes { size_bytes: self.stored_bytes, digest, part_bytes: crate::repository::object_writer::PART_BYTES as u64 })
    }
}

struct Jar(BackupName, PromisedBytes);

impl ObjectCheck for Jar {
    fn name(&self) -> String {
        data(&self.0)
    }

    fn expected(&self) -> Expected {
        Expected::Promised(self.1)
    }

    fn open(&self, repository: &Repository) -> Result<()> {
        record::read::<String>(repository, ObjectKind::Data, &data(&self.0)).map(drop)
    }
}

static OBJECTS: [ObjectClass; 3] = [
    ObjectClass { prefix: "amber/receipts/toy/", name: "toys", role: Role::Promise, is_ours: |name| name.len() > 17 },
    ObjectClass { prefix: "toy/records/", name: "toys", role: Role::Promise, is_ours: |name| name.len() > 17 },
    ObjectClass { prefix: DATA, name: "toys", role: Role::Data, is_ours: |name| name.len() > 17 },
];

static COLUMNS: [Column; 3] = [
    Column { heading: "jar", cell: |jar| text_of(jar, &["name"]) },
    Column { heading: "stored at", cell: |jar| time_of(jar, &["ended_ns"]) },
    Column { heading: "run", cell: |jar| text_of(jar, &["run"]) },
];

impl Tier for Toy {
    fn name(&self) -> &'static str {
        TOY.tier
    }

    fn title(&self) -> &'static str {
        "jars"
    }

    fn work(&self) -> Work {
        Work::Toy
    }

    fn promises(&self) -> &'static Promises {
        &TOY
    }

    fn objects(&self) -> &'static [ObjectClass] {
        &OBJECTS
    }

    fn objective(&self) -> Objective {
        Objective { recovery_time: Duration::from_secs(60), recovery_point: Duration::from_secs(3600) }
    }

    fn retention_days(&self) -> u16 {
        7
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn backups(&self, repository: &Repository) -> Result<Vec<BackupName>> {
        Ok(listed(repository)?.all().into_iter().collect())
    }

    fn facts(&self, repository: &Repository, backup: &BackupName) -> Result<BackupFacts> {
        let jar = read(repository, backup)?;
        let outcome = outcome(backup, &jar, &repository.receipt_or_digest(backup)?);
        let json = json!({
            "name": backup.tail.split('/').next(),
            "run": backup.run.to_string(),
            "location": backup.record_object(),
            "stored_bytes": jar.stored_bytes,
            "ended_ns": jar.ended_ns,
        });
        Ok(BackupFacts { run: unrecorded(Work::Toy, Scope::Full, jar.ended_ns), outcome, json })
    }

    fn show(&self, repository: &Repository, backup: &BackupName) -> Result<BackupDetails> {
        let facts = self.facts(repository, backup)?;
        Ok(BackupDetails { rows: vec![("jar", backup.tail.clone())], tables: Vec::new(), json: facts.json })
    }

    fn references(&self, repository: &Repository, backup: &BackupName, take: &mut dyn FnMut(ObjectReference) -> Result<()>) -> Result<()> {
        take(ObjectReference::sealed(backup.receipt_object(), Role::Promise))?;
        take(ObjectReference::sealed(backup.record_object(), Role::Promise))?;
        take(ObjectReference { name: data(backup), role: Role::Data, promised: Some(read(repository, backup)?.promised()?) })
    }

    fn check(&self, repository: &Arc<Repository>, depth: Depth, progress: &dyn Progress, report: &mut VerificationReport) -> Result<()> {
        let mut jars = Vec::new();
        let backups = check_promises(repository, &listed(repository)?, progress, report, &mut |backup, _, report| {
            let promised = read(repository, backup).and_then(|jar| jar.promised());
            jars.extend(report.judge(&backup.record_object(), promised)?.map(|promised| Jar(backup.clone(), promised)));
            Ok(())
        })?;
        let mut intact = 0;
        for outcome in check_all(repository, &jars, depth, progress) {
            report.objects += 1;
            report.bytes_read += outcome.bytes_read;
            intact += u64::from(report.judge(&outcome.name, outcome.result)?.is_some());
        }
        report.tiers.insert(self.name(), TierFindings { backups, intact, ..TierFindings::default() });
        Ok(())
    }

    fn estimate(&self, repository: &Repository, moment: AsOf, name: Option<&str>) -> Result<Estimate> {
        Ok(Estimate::of(read(repository, &as_of(repository, moment, name)?)?.stored_bytes, 2))
    }

    fn restore(&self, repository: &Arc<Repository>, request: &TierRestoreRequest, _progress: &dyn Progress) -> Result<TierRestored> {
        let backup = as_of(repository, request.as_of, request.name.as_deref())?;
        let jar = read(repository, &backup)?;
        let words: String = record::read(repository, ObjectKind::Data, &data(&backup))?;
        std::fs::write(&request.output, &words).map_err(|error| Error::input(error.to_string()))?;
        Ok(TierRestored {
            state: backup.tail.clone(),
            estimate: Estimate::of(jar.stored_bytes, 2),
            bytes_fetched: jar.stored_bytes,
            bytes_written: words.len() as u64,
            notes: Vec::new(),
            backup,
        })
    }
}
