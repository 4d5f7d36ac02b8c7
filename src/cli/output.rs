//! What a command prints: the same facts as text for people and as one JSON object for machines.

use crate::error::{Error, Result};
use crate::names::{on_one_line, printable};
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};

/// A command's result.
#[derive(Debug, Clone)]
pub struct Report {
    /// For people.
    pub text: String,
    /// For machines.
    pub json: Value,
    /// The error of a command that failed although it has a result to print (a verification that
    /// found damage).
    pub failure: Option<Error>,
    /// Whether the text is printed byte by byte: a script, a page of the manual.
    pub is_verbatim: bool,
}

impl Report {
    /// A result in both forms.
    pub fn new(text: String, json: Value) -> Report {
        Report { text, json, failure: None, is_verbatim: false }
    }

    /// Adds a note to both forms.
    pub fn add_note(&mut self, note: Option<String>) {
        let Some(note) = note else { return };
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(&format!("note: {note}\n"));
        match self.json.get_mut("notes").and_then(Value::as_array_mut) {
            Some(notes) => notes.push(json!(note)),
            None => self.json["notes"] = json!([note]),
        }
    }

    /// Text that is printed as it is, for people and machines.
    pub fn verbatim(text: String) -> Report {
        Report { json: Value::String(text.clone()), text, failure: None, is_verbatim: true }
    }

    /// Writes the report to the standard output. A reader that has closed the pipe is no error.
    ///
    /// # Errors
    /// [`Error::try_again`] where the output cannot be written: somebody would take what is missing
    /// for nothing.
    pub fn print(&self, json: bool) -> Result<()> {
        let text = match json {
            true => self.json.to_string(),
            false if self.is_verbatim => self.text.trim_end().to_owned(),
            false => printable(self.text.trim_end()),
        };
        let mut output = std::io::stdout().lock();
        match writeln!(output, "{text}").and_then(|()| output.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::try_again(format!("the result cannot be written to the standard output ({error}); what was done stands"))
                    .caused_by(error))
            }
            _ => Ok(()),
        }
    }
}

/// Prints an error: on the standard error for people, on the standard output for machines.
pub fn print_error(error: &Error, json: bool) {
    if json {
        let object = json!({ "error": { "kind": error.kind.word(), "exit_code": error.kind.exit_code(), "message": error.message } });
        let _ = writeln!(std::io::stdout(), "{object}");
    } else {
        let _ = writeln!(std::io::stderr(), "amber: {}", printable(&error.to_string()));
    }
}

/// Lines of a label and a value, the values aligned.
pub fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    rows.iter().map(|(label, value)| format!("{label:width$}  {}\n", on_one_line(value))).collect()
}

/// A table with a header row; columns as wide as their widest cell.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| on_one_line(cell)).collect()).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).chain(header.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let padded: Vec<String> = cells.enumerate().map(|(column, cell)| format!("{cell:width$}", width = width(column))).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut header.iter().map(|cell| (*cell).to_owned()));
    for row in &rows {
        text.push_str(&line(&mut row.iter().cloned()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_an_end_of_line_is_one_row() {
        let rows = table(&["name", "op"], &[vec!["a\nb".into(), "7".into()]]);
        assert_eq!(rows, "name  op\na\\nb  7\n");
        assert_eq!(facts(&[("file", "a\nop    9".into())]), "file  a\\nop    9\n");
    }

    #[test]
    fn facts_and_tables_align() {
        assert_eq!(facts(&[("op", "7".into()), ("blocks", "12".into())]), "op      7\nblocks  12\n");
        assert_eq!(table(&["op", "time"], &[vec!["1234".into(), "x".into()]]), "op    time\n1234  x\n");
    }
}
