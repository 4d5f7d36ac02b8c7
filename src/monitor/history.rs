//! The last hours as figures, for the page's charts: bounded in memory, whatever happens.
//!
//! Flow: [`History::push`] takes a status a second and makes a [`Sample`] of it. Rates come from
//! what the counters gained since the status before. The last minutes are kept second by second.
//! Older seconds are merged into samples of fifteen seconds, which hold the worst lag and the
//! average of the rest and are kept for a day. [`History::columns`] returns the samples of a span
//! of time as columns, thinned to what a chart can show.

use super::status::AgentStatus;
use serde::Serialize;
use std::collections::VecDeque;

/// Seconds that are kept one by one.
const FINE_SAMPLES: usize = 900;
/// Coarse samples: a day of them.
const COARSE_SAMPLES: usize = 5760;
/// Seconds that make a coarse sample.
const COARSE_MS: u64 = 15_000;
/// The most samples that are returned; a wide screen shows no more.
pub const POINTS_MAX: usize = 720;

/// The figures of one moment, or of a short time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// When the time that it covers ended, in milliseconds since the epoch.
    pub time_ms: u64,
    /// The longest time that the oldest op waited, in milliseconds.
    pub lag_ms: u64,
    /// Ops read in a second.
    pub ops_per_s: f64,
    /// Bytes of log read in a second.
    pub read_bytes_per_s: f64,
    /// Bytes stored in a second.
    pub stored_bytes_per_s: f64,
    /// CPU time in percent of the machine, over ten seconds.
    pub cpu_percent: f64,
}

/// Samples as columns: one list for each field of [`Sample`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Columns {
    /// See [`Sample::time_ms`].
    pub time_ms: Vec<u64>,
    /// See [`Sample::lag_ms`].
    pub lag_ms: Vec<u64>,
    /// See [`Sample::ops_per_s`].
    pub ops_per_s: Vec<f64>,
    /// See [`Sample::read_bytes_per_s`].
    pub read_bytes_per_s: Vec<f64>,
    /// See [`Sample::stored_bytes_per_s`].
    pub stored_bytes_per_s: Vec<f64>,
    /// See [`Sample::cpu_percent`].
    pub cpu_percent: Vec<f64>,
}

/// The counters that rates are computed from.
#[derive(Debug, Clone, Copy)]
struct Counters {
    time_ms: u64,
    timeline: u32,
    op: u64,
    read_bytes: u64,
    stored_bytes: u64,
}

/// The samples of the last day.
#[derive(Debug, Default)]
pub struct History {
    before: Option<Counters>,
    fine: VecDeque<Sample>,
    coarse: VecDeque<Sample>,
    /// The next coarse sample as merged so far, and how many seconds went into it.
    collecting: Option<(Sample, u32)>,
}

impl History {
    /// Takes the status of a second. If it is older than the last one (a clock was set back), the
    /// history starts anew.
    pub fn push(&mut self, status: &AgentStatus) {
        let now = Counters {
            time_ms: status.written_ns / 1_000_000,
            timeline: status.timeline,
            op: status.head_op,
            read_bytes: status.log_bytes_read,
            stored_bytes: status.stored_bytes,
        };
        let before = self.before.replace(now);
        if before.is_some_and(|before| before.time_ms > now.time_ms) {
            // A chart cannot draw a sample that lies before those that it has.
            *self = History { before: Some(now), ..History::default() };
        }
        let seconds = before.map_or(0.0, |before| now.time_ms.saturating_sub(before.time_ms) as f64 / 1000.0);
        let rate = |gained: u64| if seconds > 0.0 { gained as f64 / seconds } else { 0.0 };
        // When a session begins, counters start anew or jump to what is stored. That is no rate.
        let goes_on = before.filter(|before| before.timeline == now.timeline && before.op > 0 && before.read_bytes <= now.read_bytes);
        let gained = goes_on.map_or((0, 0, 0), |before| {
            let stored = now.stored_bytes.saturating_sub(before.stored_bytes);
            (now.op.saturating_sub(before.op), now.read_bytes - before.read_bytes, stored)
        });
        self.keep(Sample {
            time_ms: now.time_ms,
            lag_ms: status.lag_ms,
            ops_per_s: rate(gained.0),
            read_bytes_per_s: rate(gained.1),
            stored_bytes_per_s: rate(gained.2),
            cpu_percent: status.cpu_share_10s_percent,
        });
    }

    fn keep(&mut self, sample: Sample) {
        push_bounded(&mut self.fine, sample, FINE_SAMPLES);
        let (mut coarse, seconds) = self.collecting.take().unwrap_or_default();
        if seconds > 0 && sample.time_ms / COARSE_MS != coarse.time_ms / COARSE_MS {
            push_bounded(&mut self.coarse, coarse, COARSE_SAMPLES);
            self.collecting = Some((sample, 1));
            return;
        }
        merge(&mut coarse, seconds, &sample);
        self.collecting = Some((coarse, seconds + 1));
    }

    /// The samples of the last `span_ms` milliseconds, at most [`POINTS_MAX`] of them.
    pub fn columns(&self, span_ms: u64) -> Columns {
        let newest_ms = self.fine.back().map_or(0, |sample| sample.time_ms);
        let from_ms = newest_ms.saturating_sub(span_ms);
        let fine_from_ms = self.fine.front().map_or(0, |sample| sample.time_ms);
        let coarse = self.coarse.iter().filter(|sample| sample.time_ms < fine_from_ms);
        let samples: Vec<&Sample> = coarse.chain(&self.fine).filter(|sample| sample.time_ms >= from_ms).collect();
        let mut columns = Columns::default();
        for group in samples.chunks(samples.len().div_ceil(POINTS_MAX).max(1)) {
            let mut point = Sample::default();
            for (count, sample) in (0..).zip(group) {
                merge(&mut point, count, sample);
            }
            columns.push(&point);
        }
        columns
    }
}

/// Merges a sample into one that was made of `count` so far: the later end and the worst lag of
/// both, the average of the rest.
fn merge(into: &mut Sample, count: u32, sample: &Sample) {
    let average = |old: &mut f64, new: f64| *old += (new - *old) / f64::from(count + 1);
    into.time_ms = sample.time_ms;
    into.lag_ms = into.lag_ms.max(sample.lag_ms);
    average(&mut into.ops_per_s, sample.ops_per_s);
    average(&mut into.read_bytes_per_s, sample.read_bytes_per_s);
    average(&mut into.stored_bytes_per_s, sample.stored_bytes_per_s);
    average(&mut into.cpu_percent, sample.cpu_percent);
}

fn push_bounded(samples: &mut VecDeque<Sample>, sample: Sample, most: usize) {
    if samples.len() == most {
        samples.pop_front();
    }
    samples.push_back(sample);
}

impl Columns {
    fn push(&mut self, sample: &Sample) {
        // Three decimals are more than a chart shows.
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        self.time_ms.push(sample.time_ms);
        self.lag_ms.push(sample.lag_ms);
        self.ops_per_s.push(round(sample.ops_per_s));
        self.read_bytes_per_s.push(round(sample.read_bytes_per_s));
        self.stored_bytes_per_s.push(round(sample.stored_bytes_per_s));
        self.cpu_percent.push(round(sample.cpu_percent));
    }
}

#[cfg(test)]
mod tests;
