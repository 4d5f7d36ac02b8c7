//! Log lines of a process that runs for months: text for people, JSON for machines, to the standard
//! error.
//!
//! The rest of the program only uses `tracing`; [`start`] decides once where its lines go. Lines of
//! other crates are shown from warnings up, whatever the level is. Below that an HTTP client writes
//! many lines, and they may hold what does not belong in a log.

use crate::cancellation::Cancellation;
use crate::error::{Error, Result};
use crate::names::on_one_line;
use crate::progress::Progress;
use crate::threads::lock;
use crate::units::bytes_text;
use std::io::Write;
use std::sync::Mutex;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `2026-11-21T10:00:00.000000Z  INFO amber::agent: text key=value`
    Text,
    /// One object a line: `timestamp`, `level`, `target`, `fields.message` and the other fields.
    Json,
}

/// Sends log lines of `level` and above to the standard error from now on.
///
/// # Errors
/// [`Error::bug`] when it is called a second time in a process.
pub fn start(format: Format, level: Level) -> Result<()> {
    // Under systemd the journal stamps every line itself, and it does not parse JSON.
    let stamped = format == Format::Json || std::env::var_os("JOURNAL_STREAM").is_none();
    subscriber(format, level, stamped, std::io::stderr)
        .try_init()
        .map_err(|error| Error::bug(format!("log lines go somewhere already: {error}")).caused_by(error))
}

/// What [`start`] installs, writing to `writer`.
fn subscriber<W>(format: Format, level: Level, stamped: bool, writer: W) -> impl SubscriberInitExt + tracing::Subscriber
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let shown = Targets::new().with_target("amber", level).with_default(LevelFilter::WARN.min(LevelFilter::from_level(level)));
    // A standard error that is closed must not end the process.
    let writer = OneLines { writer };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match (format, stamped) {
        (Format::Json, _) => lines.json().boxed(),
        (Format::Text, true) => lines.with_timer(SystemTime).boxed(),
        (Format::Text, false) => lines.without_time().boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(shown))
}

/// Makes a [`OneLine`] of each writer.
#[derive(Debug)]
struct OneLines<M> {
    writer: M,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLines<M> {
    type Writer = OneLine<M::Writer>;

    fn make_writer(&'a self) -> OneLine<M::Writer> {
        OneLine { output: self.writer.make_writer() }
    }
}

/// Writes each event as one line without control characters, whatever names stand in it.
#[derive(Debug)]
struct OneLine<W> {
    output: W,
}

impl<W: Write> Write for OneLine<W> {
    /// The events come whole, with the end of their line.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        self.output.write_all(format!("{}\n", on_one_line(line)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// Progress of work inside a process that nobody watches: steps and notes become log lines, and
/// bytes are reported at the end of a step.
#[derive(Debug, Default)]
pub struct LoggedProgress {
    step: Mutex<Option<(String, u64)>>,
}

impl Cancellation for LoggedProgress {}

impl Progress for LoggedProgress {
    fn begin(&self, step: &str, _total_bytes: Option<u64>) {
        self.end();
        *lock(&self.step) = Some((step.to_owned(), 0));
    }

    fn total(&self, _total_bytes: u64) {}

    fn position(&self, position_bytes: u64) {
        if let Some((_, position)) = lock(&self.step).as_mut() {
            *position = position_bytes;
        }
    }

    fn note(&self, text: &str) {
        tracing::warn!("{text}");
    }

    fn end(&self) {
        if let Some((step, position_bytes)) = lock(&self.step).take() {
            tracing::info!(position_bytes, "{step}: {}", bytes_text(position_bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: Format, level: Level, stamped: bool, action: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let writer = kept.clone();
        tracing::subscriber::with_default(subscriber(format, level, stamped, move || writer.clone()), action);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn say() {
        tracing::info!(op = 7_u64, "shipped");
        tracing::debug!("detail");
        tracing::info!(target: "hyper::client", "other crates are quiet");
        tracing::warn!(target: "hyper::client", "but not mute");
    }

    #[test]
    fn a_name_is_neither_two_lines_nor_a_command() {
        for format in [Format::Text, Format::Json] {
            let lines = lines(format, Level::INFO, false, || LoggedProgress::default().note("a\nERROR b\u{1b}[2J\u{9b}c\u{202e}"));
            assert!(lines.len() == 1 && !lines[0].chars().any(|character| character.is_control() || character == '\u{202e}'), "{lines:?}");
        }
    }

    #[test]
    fn text_has_level_target_message_and_fields() {
        let said = lines(Format::Text, Level::INFO, false, say);
        assert_eq!(said, [" INFO amber::monitor::log::tests: shipped op=7", " WARN hyper::client: but not mute"]);
        let stamped = lines(Format::Text, Level::INFO, true, say);
        assert!(stamped[0].starts_with("20") && stamped[0].contains("Z  INFO amber"), "{stamped:?}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let said = lines(Format::Json, Level::DEBUG, false, say);
        assert_eq!(said.len(), 3);
        let first: serde_json::Value = serde_json::from_str(&said[0]).unwrap();
        assert_eq!((first["level"].as_str(), first["fields"]["message"].as_str()), (Some("INFO"), Some("shipped")));
        assert_eq!(first["fields"]["op"], 7);
        assert!(first["timestamp"].as_str().unwrap().starts_with("20"));
        assert!(said[1].contains("detail"));
    }

    #[test]
    fn the_level_counts_for_everybody() {
        assert_eq!(lines(Format::Text, Level::ERROR, false, say), Vec::<String>::new());
    }

    #[test]
    fn steps_and_notes_become_lines() {
        let progress = LoggedProgress::default();
        let said = lines(Format::Text, Level::INFO, false, || {
            progress.begin("blocks", Some(5));
            progress.position(2048);
            progress.note("io_uring is refused");
            progress.begin("log", None);
            progress.end();
            progress.end();
        });
        let texts: Vec<&str> = said.iter().map(|line| line.split(": ").skip(1).collect::<Vec<_>>().join(": ").leak() as &str).collect();
        assert_eq!(texts, ["io_uring is refused", "blocks: 2.0 KiB position_bytes=2048", "log: 0 B position_bytes=0"]);
    }
}
