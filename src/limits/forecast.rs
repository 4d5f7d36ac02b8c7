//! Whether the limits can hold what is promised. The answer comes before a promise is missed, with
//! the number to write instead.
//!
//! There are two estimates. The first compares what the log took in the last minute with each
//! limit: near the limit, bulk work gets nothing, and beyond it only the log's right of way keeps
//! the recovery point. The second compares bulk work with a deadline (a checkpoint) with its speed
//! since it began: if the rest will take longer than the time that is left, the limit that it
//! waited for is too low.

use crate::limits::limit::Limit;
use crate::limits::limit::Limits;

/// From this share of a limit on, the log is too near to it.
const TIGHT: f64 = 0.9;
/// The advised number leaves the log using this share of it.
const COMFORTABLE: f64 = 0.6;
/// An estimate from fewer seconds than this does not count.
const KNOWN_AFTER_S: f64 = 20.0;
/// Bulk work that waited for less than this share of its time is not slowed by the limits.
const SLOWED: f64 = 0.2;

/// What was used in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Span {
    /// Its length.
    pub seconds: f64,
    /// CPU time of what is not bulk work.
    pub log_cpu_s: f64,
    /// CPU time of bulk work.
    pub bulk_cpu_s: f64,
    /// Bytes of the log, by [`Limit`].
    pub log_bytes: [f64; 3],
    /// Bytes of bulk work.
    pub bulk_bytes: [f64; 3],
    /// How long bulk work waited; several threads at once count as several.
    pub waited_s: [f64; 3],
}

/// Bulk work with a deadline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// This much is done.
    pub done_bytes: f64,
    /// Of this much, if that is known.
    pub total_bytes: Option<f64>,
    /// When it should be complete, by the clock of the governor.
    pub due_at_s: f64,
}

/// What a forecast is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// The limits.
    pub limits: Limits,
    /// Cores that the process may use.
    pub cores: f64,
    /// CPU time of the last ten seconds, in percent of the machine.
    pub window_percent: f64,
    /// How long bulk work waited since the start.
    pub waited_s: f64,
    /// The last minute.
    pub minute: Span,
    /// Bulk work with a deadline, and what passed since it began.
    pub goal: Option<(Goal, Span)>,
    /// Now.
    pub at_s: f64,
}

/// What will not fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shortfall {
    /// The log alone takes what the limit allows, or nearly.
    Log {
        /// Which limit.
        limit: Limit,
        /// What the log takes: percent of the machine, or bytes a second.
        takes: f64,
        /// What the limit allows.
        allowed: f64,
        /// The number that should be written.
        needs: f64,
    },
    /// Bulk work will be late.
    Late {
        /// The limit that it waits for.
        limit: Limit,
        /// How long the rest will take; infinite if nothing makes progress.
        takes_s: f64,
        /// How long it may take.
        left_s: f64,
        /// The number that should be written.
        needs: f64,
    },
}

/// How the process stands against its limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forecast {
    /// The budget, in percent of the machine.
    pub cpu_budget_percent: Option<u32>,
    /// CPU time of the last ten seconds, in percent of the machine.
    pub cpu_percent: f64,
    /// The log's mean of the last minute, in percent of the machine.
    pub log_cpu_percent: f64,
    /// How long bulk threads have waited since the start, in seconds.
    pub bulk_waited_s: f64,
    /// What will not fit.
    pub shortfalls: Vec<Shortfall>,
}

impl Forecast {
    /// Makes the estimates.
    pub fn of(figures: &Figures) -> Forecast {
        let mut shortfalls: Vec<Shortfall> =
            [Limit::Cpu, Limit::Upload, Limit::Read].into_iter().filter_map(|limit| log_shortfall(figures, limit)).collect();
        // If the log has no room, the checkpoint's lateness adds nothing.
        if shortfalls.is_empty() {
            shortfalls.extend(figures.goal.and_then(|(goal, span)| late(figures, &goal, &span)));
        }
        Forecast {
            cpu_budget_percent: figures.limits.cpu_budget_percent,
            cpu_percent: figures.window_percent,
            log_cpu_percent: taken(figures, &figures.minute, Limit::Cpu).0,
            bulk_waited_s: figures.waited_s,
            shortfalls,
        }
    }

    /// The shortfalls in one sentence each, with the number to write; `None` if everything fits.
    pub fn advice(&self) -> Option<String> {
        let texts: Vec<String> = self.shortfalls.iter().map(Shortfall::text).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

fn allowed(limits: &Limits, limit: Limit) -> Option<f64> {
    match limit {
        Limit::Cpu => limits.cpu_budget_percent.map(f64::from),
        Limit::Upload => limits.upload_bytes_per_s.map(|bytes| bytes as f64),
        Limit::Read => limits.read_bytes_per_s.map(|bytes| bytes as f64),
    }
}

/// What log and bulk work took of a limit, in its unit.
fn taken(figures: &Figures, span: &Span, limit: Limit) -> (f64, f64) {
    let seconds = span.seconds.max(1e-3);
    match limit {
        Limit::Cpu => {
            let machine_s = seconds * figures.cores;
            (100.0 * span.log_cpu_s / machine_s, 100.0 * span.bulk_cpu_s / machine_s)
        }
        _ => (span.log_bytes[limit as usize] / seconds, span.bulk_bytes[limit as usize] / seconds),
    }
}

fn log_shortfall(figures: &Figures, limit: Limit) -> Option<Shortfall> {
    let allowed = allowed(&figures.limits, limit)?;
    let (takes, _) = taken(figures, &figures.minute, limit);
    let known = figures.minute.seconds >= KNOWN_AFTER_S;
    (known && takes >= TIGHT * allowed).then(|| Shortfall::Log { limit, takes, allowed, needs: rounded(limit, takes / COMFORTABLE) })
}

fn late(figures: &Figures, goal: &Goal, span: &Span) -> Option<Shortfall> {
    let limit = [Limit::Cpu, Limit::Upload, Limit::Read]
        .into_iter()
        .max_by(|left, right| span.waited_s[*left as usize].total_cmp(&span.waited_s[*right as usize]))?;
    if span.seconds < KNOWN_AFTER_S || span.waited_s[limit as usize] < SLOWED * span.seconds {
        return None;
    }
    let (left_s, rest_bytes) = ((goal.due_at_s - figures.at_s).max(0.0), goal.total_bytes? - goal.done_bytes);
    let takes_s = if rest_bytes > 0.0 { rest_bytes * span.seconds / goal.done_bytes } else { 0.0 };
    if takes_s <= left_s {
        return None;
    }
    let (log, bulk) = taken(figures, span, limit);
    // At most a hundred times faster: if the deadline has passed, no number can meet it.
    let faster = (takes_s / left_s.max(1.0)).clamp(1.0, 100.0);
    let needs = (log + bulk * faster).max(allowed(&figures.limits, limit)? * 1.2);
    Some(Shortfall::Late { limit, takes_s, left_s, needs: rounded(limit, needs) })
}

/// The next number that is worth writing: whole percents, or whole MiB a second.
fn rounded(limit: Limit, needs: f64) -> f64 {
    const MIB: f64 = 1_048_576.0;
    match limit {
        Limit::Cpu => needs.ceil().clamp(1.0, 100.0),
        _ => (needs / MIB).ceil().max(1.0) * MIB,
    }
}

impl Limit {
    /// The key that sets it, in the configuration's `[limits]` and, with dashes, on the command
    /// line.
    pub fn key(self) -> &'static str {
        match self {
            Limit::Cpu => "cpu_budget_percent",
            Limit::Upload => "upload_bytes_per_s",
            Limit::Read => "read_bytes_per_s",
        }
    }

    fn amount(self, amount: f64) -> String {
        match self {
            Limit::Cpu => format!("{amount:.1} % of the machine"),
            _ => format!("{} a second", crate::units::bytes_text(amount as u64)),
        }
    }
}

impl Shortfall {
    /// The shortfall as a sentence.
    pub fn text(&self) -> String {
        match *self {
            Shortfall::Log { limit, takes, allowed, needs } => format!(
                "the log alone takes {} where {} allows {}: checkpoints and merging get next to nothing, and when the log grows its recovery point is kept only \
                 beyond the limit; write {} = {needs:.0} in [limits]",
                limit.amount(takes),
                limit.key(),
                limit.amount(allowed),
                limit.key(),
            ),
            Shortfall::Late { limit, takes_s, left_s, needs } => {
                let takes = if takes_s.is_finite() { format!("takes {}", minutes(takes_s)) } else { "does not go on".to_owned() };
                format!(
                    "the checkpoint that is being taken waits for {}: its rest {takes}, and the next one is due in {}; write {} = {needs:.0} in [limits]",
                    limit.key(),
                    minutes(left_s),
                    limit.key()
                )
            }
        }
    }
}

fn minutes(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}
