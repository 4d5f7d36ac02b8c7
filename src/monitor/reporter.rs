//! The reporter: once a second it turns the status board into the status document and what the page
//! shows, and notifies systemd that the agent is alive.

use super::alert::Topic;
use super::clock_watch::ClockWatch;
use super::live::Live;
use super::status::{AgentState, AgentStatus};
use super::status_board::StatusBoard;
use super::systemd::Notifier;
use super::usage::{CpuShare, cpu_seconds, memory_bytes};
use crate::host::Disk;
use crate::limits::governor::Governor;
use crate::stop::Stop;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the status is written.
const INTERVAL: Duration = Duration::from_secs(1);
/// A follower that has not completed a turn for this long hangs: systemd is no longer notified that
/// the agent is alive, and restarts it.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// A forecast is kept at least this long, so that alerts do not flap when estimates are near their
/// thresholds.
const OUTLOOK_STANDS: Duration = Duration::from_secs(60);

/// Writes and publishes the status.
pub struct Reporter {
    board: Arc<StatusBoard>,
    disk: Disk,
    live: Arc<Live>,
    directory: PathBuf,
    notifier: Notifier,
    lag_alarm: Duration,
    governor: Arc<Governor>,
    clock_watch: ClockWatch,
    outlook: Option<(Instant, String)>,
    share: CpuShare,
    failed: bool,
    said: String,
}

impl Reporter {
    /// A reporter for the whole life of the agent.
    pub fn new(
        board: &Arc<StatusBoard>,
        live: &Arc<Live>,
        disk: Disk,
        directory: PathBuf,
        notifier: Notifier,
        lag_alarm: Duration,
        governor: &Arc<Governor>,
    ) -> Reporter {
        let (board, live, governor, share) = (Arc::clone(board), Arc::clone(live), Arc::clone(governor), CpuShare::default());
        let (clock_watch, said) = (ClockWatch::default(), String::new());
        Reporter { board, live, disk, directory, notifier, lag_alarm, governor, clock_watch, outlook: None, share, failed: false, said }
    }

    /// Forecasts what the limits lead to: raises or clears the alert on the board, and returns what
    /// sets the figures of the status.
    fn look_ahead(&mut self) -> impl FnOnce(&mut AgentStatus) + use<> {
        let outlook = self.governor.forecast();
        if self.outlook.as_ref().is_none_or(|(said, _)| said.elapsed() >= OUTLOOK_STANDS) {
            self.outlook = outlook.advice().map(|advice| (self.board.clock().now(), advice));
            self.board.alert(Topic::Limits, self.outlook.as_ref().map(|(_, advice)| advice.clone()));
        }
        let advice = self.outlook.as_ref().map(|(_, advice)| advice.clone()).unwrap_or_default();
        move |status| {
            (status.cpu_share_10s_percent, status.cpu_log_percent) = (outlook.cpu_percent, outlook.log_cpu_percent);
            (status.cpu_budget_percent, status.bulk_waited_seconds) = (outlook.cpu_budget_percent.unwrap_or(0), outlook.bulk_waited_s);
            status.outlook = advice;
        }
    }

    /// Reports until it is asked to stop, and then once more.
    pub fn run(&mut self, stop: &Stop) {
        while !stop.wait(INTERVAL) {
            self.turn();
        }
        self.turn();
    }

    /// One report.
    pub fn turn(&mut self) {
        let lag = Duration::from_millis(self.board.status().lag_ms);
        self.board.note_lag(lag.as_millis() as u64);
        let late = (lag > self.lag_alarm)
            .then(|| format!("the oldest op that is not durable has waited for {} s: the recovery point is at risk", lag.as_secs()));
        self.board.alert(Topic::Lag, late);
        let jump = self.clock_watch.look(self.board.clock()).map(str::to_owned);
        self.board.alert(Topic::Clock, jump);
        let look_ahead = self.look_ahead();
        let mut status = self.board.status();
        look_ahead(&mut status);
        (status.written_ns, status.cpu_percent) = (self.board.clock().now_ns(), self.share.percent());
        (status.cpu_seconds, status.memory_bytes) = (cpu_seconds(), memory_bytes());
        (status.lag_alarm_ms, status.page) = (self.lag_alarm.as_millis() as u64, self.live.page());
        status.state = state(&status);
        status.extend_restorable();
        if let Err(error) = status.write(self.disk, &self.directory) {
            if !self.failed {
                tracing::warn!("{error}");
            }
            self.failed = true;
        } else {
            self.failed = false;
        }
        if self.board.since_turn().is_none_or(|since| since < HANGS_AFTER) {
            self.notifier.alive();
        }
        let said = format!("{}, durable up to op {}, {} alerts", status.state.text(), status.durable_op, status.alerts.len());
        if said != self.said {
            self.notifier.status(&said);
            self.said = said;
        }
        self.live.publish(status);
    }
}

/// What the agent is doing, from what the board says.
fn state(status: &AgentStatus) -> AgentState {
    match (status.state, &status.lease) {
        (AgentState::Stopping, _) => AgentState::Stopping,
        (_, Some(lease)) if lease.is_ours && status.alerts.is_empty() && status.store_reachable => AgentState::Leading,
        (_, Some(lease)) if lease.is_ours => AgentState::Degraded,
        (_, Some(_)) => AgentState::StandingBy,
        (_, None) => AgentState::Starting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Clock;
    use crate::limits::governor::Limits;

    #[test]
    fn the_status_tells_how_the_limits_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let governor = Arc::new(Governor::new(Limits { cpu_budget_percent: Some(7), ..Limits::default() }, 0, Clock::default()));
        let board = Arc::new(StatusBoard::default());
        let mut reporter = Reporter::new(
            &board,
            &Arc::default(),
            Disk::SYSTEM,
            folder.path().to_owned(),
            Notifier::from_environment(),
            Duration::from_secs(900),
            &governor,
        );
        let (began, before) = (Instant::now(), cpu_seconds());
        while cpu_seconds() < before + 0.05 {
            std::hint::black_box(began.elapsed());
        }
        reporter.turn();
        let status = AgentStatus::read(Disk::SYSTEM, folder.path()).unwrap();
        assert!(status.cpu_share_10s_percent > 0.0 && status.cpu_share_10s_percent <= 100.0, "{status:?}");
        assert_eq!((status.cpu_budget_percent, status.outlook.as_str(), status.alerts.len()), (7, "", 0));
        // Advice about limits that do not fit is an alert too, and is kept for a while.
        reporter.outlook = Some((Instant::now(), "write cpu_budget_percent = 9".to_owned()));
        reporter.turn();
        assert_eq!(AgentStatus::read(Disk::SYSTEM, folder.path()).unwrap().outlook, "write cpu_budget_percent = 9");
        reporter.outlook = Some((Instant::now().checked_sub(OUTLOOK_STANDS).unwrap(), String::new()));
        reporter.turn();
        assert_eq!(AgentStatus::read(Disk::SYSTEM, folder.path()).unwrap().outlook, "");
    }
}
