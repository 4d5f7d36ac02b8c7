//! The plain files in a repository, as `amber list` shows them.

use super::output::table;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::units::{bytes_text, time_text};
use serde_json::{Value, json};

const HEADER: [&str; 6] = ["file", "stored at", "size", "stored", "from", "run"];

/// All stored files, as text and as JSON; the first damage goes into `failure`.
pub fn files(repository: &Repository, failure: &mut Option<Error>) -> Result<(String, Vec<Value>)> {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for name in repository.files(None)? {
        let run = name.run.to_string();
        match repository.file_record(&name) {
            Ok(record) => {
                let sizes = (bytes_text(record.file_bytes), bytes_text(record.stored_bytes));
                rows.push(vec![name.name.clone(), time_text(record.ended_ns), sizes.0, sizes.1, record.path.clone(), run.clone()]);
                let mut value = json!(record);
                if let Value::Object(fields) = &mut value {
                    fields.insert("name".into(), json!(name.name));
                    fields.insert("run".into(), json!(run));
                }
                values.push(value);
            }
            Err(error) if error.kind == Kind::Damaged => {
                let none = || "-".to_owned();
                rows.push(vec![name.name.clone(), "damaged or lost".to_owned(), none(), none(), none(), run.clone()]);
                values.push(json!({ "name": name.name, "run": run, "error": error.message }));
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let text = if rows.is_empty() { String::new() } else { format!("\n{} files\n\n{}", rows.len(), table(&HEADER, &rows)) };
    Ok((text, values))
}
