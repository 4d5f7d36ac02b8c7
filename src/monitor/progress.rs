//! Progress for people: a bar on a terminal, plain lines at intervals otherwise, nothing where a
//! machine reads.
//!
//! Everything goes to the standard error, so that the standard output holds only the result.

use crate::cancellation::Cancellation;
use crate::names::on_one_line;
use crate::progress::Progress;
use crate::units::bytes_text;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The shortest time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress that fits where the standard error goes. `quiet` still shows notes.
pub fn for_people(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        Box::new(NotesOnly)
    } else if std::io::stderr().is_terminal() {
        Box::new(Bar::default())
    } else {
        Box::new(Lines::default())
    }
}

fn say(text: &str) {
    // A closed standard error must not end a backup: nobody reads it then.
    let _ = writeln!(std::io::stderr(), "{}", on_one_line(text));
}

/// Shows notes and nothing else.
#[derive(Debug, Clone, Copy)]
struct NotesOnly;

impl Cancellation for NotesOnly {}

impl Progress for NotesOnly {
    fn begin(&self, _step: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}

    fn note(&self, text: &str) {
        say(&format!("note: {text}"));
    }

    fn end(&self) {}
}

/// A bar with bytes, rate and time left.
#[derive(Debug, Default)]
struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    fn with(&self, action: impl FnOnce(&ProgressBar)) {
        if let Ok(bar) = self.bar.lock()
            && let Some(bar) = bar.as_ref()
        {
            action(bar);
        }
    }
}

impl Cancellation for Bar {}

impl Progress for Bar {
    fn begin(&self, step: &str, total_bytes: Option<u64>) {
        let template = match total_bytes {
            Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr_with_hz(5));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(on_one_line(step));
        if let Ok(mut slot) = self.bar.lock()
            && let Some(before) = slot.replace(bar)
        {
            before.finish_and_clear();
        }
    }

    fn total(&self, total_bytes: u64) {
        self.with(|bar| bar.set_length(total_bytes));
    }

    fn position(&self, position_bytes: u64) {
        self.with(|bar| bar.set_position(position_bytes));
    }

    fn note(&self, text: &str) {
        self.with(|bar| bar.println(on_one_line(&format!("note: {text}"))));
        if self.bar.lock().is_ok_and(|bar| bar.is_none()) {
            say(&format!("note: {text}"));
        }
    }

    fn end(&self) {
        if let Ok(mut slot) = self.bar.lock()
            && let Some(bar) = slot.take()
        {
            bar.finish_and_clear();
        }
    }
}

/// A plain line at intervals.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<Option<Step>>,
}

#[derive(Debug)]
struct Step {
    name: String,
    total_bytes: Option<u64>,
    began: Instant,
    said: Instant,
}

impl Cancellation for Lines {}

impl Progress for Lines {
    fn begin(&self, step: &str, total_bytes: Option<u64>) {
        let now = Instant::now();
        if let Ok(mut state) = self.state.lock() {
            *state = Some(Step { name: step.to_owned(), total_bytes, began: now, said: now });
        }
    }

    fn total(&self, total_bytes: u64) {
        if let Ok(mut state) = self.state.lock()
            && let Some(step) = state.as_mut()
        {
            step.total_bytes = Some(total_bytes);
        }
    }

    fn position(&self, position_bytes: u64) {
        let Ok(mut state) = self.state.lock() else { return };
        let Some(step) = state.as_mut() else { return };
        if step.said.elapsed() >= LINE_INTERVAL {
            step.said = Instant::now();
            say(&line(&step.name, position_bytes, step.total_bytes, step.began.elapsed()));
        }
    }

    fn note(&self, text: &str) {
        say(&format!("note: {text}"));
    }

    fn end(&self) {
        if let Ok(mut state) = self.state.lock() {
            *state = None;
        }
    }
}

/// One line: step, position, rate, time left.
fn line(step: &str, position_bytes: u64, total_bytes: Option<u64>, elapsed: Duration) -> String {
    let rate = position_bytes as f64 / elapsed.as_secs_f64().max(0.001);
    let mut text = format!("{step}: {}", bytes_text(position_bytes));
    if let Some(total_bytes) = total_bytes.filter(|total| *total >= position_bytes) {
        let left_seconds = (total_bytes - position_bytes) as f64 / rate.max(1.0);
        text.push_str(&format!(" of {}, {left_seconds:.0} s left", bytes_text(total_bytes)));
    }
    format!("{text}, {}/s", bytes_text(rate as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_position_total_time_left_and_rate() {
        let text = line("blocks", 50 << 20, Some(100 << 20), Duration::from_secs(5));
        assert_eq!(text, "blocks: 50.0 MiB of 100.0 MiB, 5 s left, 10.0 MiB/s");
        assert_eq!(line("log", 1024, None, Duration::from_secs(1)), "log: 1.0 KiB, 1.0 KiB/s");
    }

    #[test]
    fn every_kind_of_progress_takes_every_call() {
        for progress in [Box::new(NotesOnly) as Box<dyn Progress>, Box::new(Bar::default()), Box::new(Lines::default())] {
            progress.position(1);
            progress.begin("step", Some(10));
            progress.total(20);
            progress.position(5);
            progress.note("a note");
            progress.begin("next", None);
            progress.end();
            progress.end();
        }
    }
}
