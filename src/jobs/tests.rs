use super::registry::{Runner, RunnerKind};
use super::runner::JobRunner;
use super::*;
use crate::error::Kind;
use crate::jobs::job::Context;
use crate::jobs::job::Task;
use crate::log_shipping::tests::bench::{self, Bench, jobs_of};
use crate::log_shipping::tests::store_double::eventually;
use crate::monitor::status::{AgentStatus, LeaseStatus};
use crate::repository::run_record::{Run, RunOutcome, Scope};
use crate::schedule::cadence::Cadence;
use crate::schedule::job::Retry;
use crate::schedule::state::Why;
use crate::stop::Stop;
use crate::units::now_ns;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const SOON: Duration = Duration::from_millis(200);

/// A job of a test: due every `interval`, retried at once.
fn registration(name: &'static str, interval: Duration, task: Task) -> Registration {
    let retry = Retry { first: Duration::from_millis(1), most: Duration::from_millis(1), times: Some(5) };
    Registration {
        name,
        title: "a job of a test",
        work: Work::Drill,
        scope: Scope::Full,
        cadence: Cadence::Interval(interval),
        retry,
        lane: Lane::Maintenance,
        staleness: None,
        outcome_text: |outcome| format!("{} stored", outcome.stored_bytes),
        is_cluster_wide: true,
        runner: Runner::Scheduler(task),
    }
}

/// A job that counts its runs.
fn counting(name: &'static str, interval: Duration) -> (Registration, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let task = move |_: &Context<'_>| {
        counted.fetch_add(1, Ordering::AcqRel);
        Ok(RunOutcome { stored_bytes: 7, ..RunOutcome::completed(now_ns()) })
    };
    (registration(name, interval, Arc::new(task)), runs)
}

/// A job that runs until it is cancelled.
fn endless(name: &'static str) -> Registration {
    let task = |context: &Context<'_>| {
        context.progress.begin("turning", Some(100));
        context.progress.position(25);
        while !context.progress.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Error::try_again("cancelled"))
    };
    registration(name, SOON, Arc::new(task))
}

struct Agent {
    bench: Bench,
    folder: TempDir,
    jobs: Arc<Jobs>,
    runner: JobRunner,
    stop: Stop,
}

impl Agent {
    fn new(registrations: Vec<Registration>) -> Agent {
        Agent::with(Bench::new(1 << 20), tempfile::tempdir().unwrap(), registrations, "")
    }

    fn with(bench: Bench, folder: TempDir, registrations: Vec<Registration>, more: &str) -> Agent {
        let plan = bench::plan(folder.path(), more);
        let jobs = jobs_of(&bench.repository, &bench.board, &plan, registrations);
        let runner = JobRunner::new(&jobs);
        Agent { bench, folder, jobs, runner, stop: Stop::default() }
    }

    /// The agent's process ends, and the next one begins with what is on the disk.
    fn restarted(self, registrations: Vec<Registration>) -> Agent {
        Agent::with(self.bench, self.folder, registrations, "")
    }

    fn lead(&self, fence: u64) {
        self.bench.board.lead(true, Some(LeaseStatus { holder: "a".into(), fence, is_ours: true }));
    }

    /// Turns until a condition holds.
    fn until(&mut self, what: &str, mut so: impl FnMut(&AgentStatus) -> bool) -> AgentStatus {
        let (runner, stop, board) = (&mut self.runner, &self.stop, &self.bench.board);
        eventually(what, || {
            runner.turn(stop);
            so(&board.status())
        });
        board.status()
    }

    fn job(&self, name: &str) -> JobStatus {
        self.bench.board.status().jobs.into_iter().find(|job| job.name == name).unwrap()
    }

    fn records(&self) -> Vec<(RunId, RunRecord)> {
        self.bench.repository.runs().unwrap().runs.into_iter().collect()
    }
}

#[test]
fn a_new_job_is_one_registration() {
    let (registration, runs) = counting("polishing", SOON);
    let mut agent = Agent::new(vec![registration]);
    agent.lead(1);
    let status = agent.until("a run that is over", |status| !status.recent.is_empty());
    let job = &status.jobs[0];
    assert_eq!((job.name.as_str(), job.title.as_str(), job.cadence.as_str()), ("polishing", "a job of a test", "every 0 s"));
    let (ended, (id, record)) = (&status.recent[0], &agent.records()[0]);
    assert_eq!((job.last.as_ref(), &ended.run, ended.completed, ended.stored_bytes), (Some(ended), &id.to_string(), true, 7));
    assert_eq!((record.run.job.as_str(), record.run.work, record.run.by.as_str()), ("polishing", Work::Drill, "a"));
    assert_eq!(status.last_drill_ns, Some(ended.ended_ns));
    assert!(job.last_success_ns.is_some() && job.failures_in_a_row == 0);
    agent.until("more runs", |_| runs.load(Ordering::Acquire) >= 3);
    let begun = crate::repository::name::RunName { run: *id, has_ended: false };
    assert_eq!(agent.bench.repository.run_record(&begun).unwrap().outcome, None, "its beginning is recorded, too");
}

#[test]
fn failures_are_told_and_a_panic_is_one() {
    let task = |_: &Context<'_>| -> Result<RunOutcome> { Err(Error::try_again("the store is away")) };
    let panics = |_: &Context<'_>| -> Result<RunOutcome> { panic!("on purpose") };
    let hour = Duration::from_secs(3600);
    let mut agent = Agent::new(vec![registration("failing", hour, Arc::new(task)), registration("panicking", hour, Arc::new(panics))]);
    agent.lead(1);
    agent.jobs.run_now("failing").unwrap();
    agent.jobs.run_now("panicking").unwrap();
    let status = agent.until("failures of both", |status| status.jobs.iter().all(|job| job.failures_in_a_row == 6));
    assert_eq!(status.jobs[0].last.as_ref().map(|last| (last.completed, last.reason.as_str())), Some((false, "the store is away")));
    assert!(status.jobs[1].last.as_ref().is_some_and(|last| last.reason.contains("panicked")));
    assert!(
        status.alerts[0].text.contains("failing has failed 6 times in a row: the store is away; panicking has failed"),
        "{:?}",
        status.alerts
    );
    assert_eq!((agent.records().len(), status.recent.len()), (12, 12), "one asked for, and five that try again");
}

#[test]
fn only_the_agent_that_leads_runs_the_clusters_jobs_and_only_while_it_does() {
    let mut agent = Agent::new(vec![endless("endless")]);
    for _ in 0..3 {
        agent.runner.turn(&agent.stop);
    }
    assert_eq!(agent.job("endless").next_reason, crate::schedule::job::ELSEWHERE);
    assert_eq!(agent.jobs.run_now("endless").unwrap_err().kind, Kind::TryAgain);
    agent.lead(1);
    let status = agent.until("a run", |status| status.jobs[0].running.as_ref().is_some_and(|running| running.position_bytes == 25));
    let running = status.jobs[0].running.clone().unwrap();
    assert_eq!((running.step.as_str(), running.total_bytes), ("turning", 100));
    agent.bench.board.lead(false, None);
    let status = agent.until("its end", |status| status.jobs[0].running.is_none() && !status.recent.is_empty());
    assert_eq!(status.recent[0].reason, "cancelled: another agent leads now");
    assert_eq!((status.jobs[0].failures_in_a_row, status.alerts.len()), (0, 0));
    assert!(agent.records()[0].1.outcome.is_some());
}

#[test]
fn what_another_agent_ran_before_it_fell_silent_is_not_run_again() {
    let (registration, runs) = counting("daily", Duration::from_secs(86_400));
    let mut agent = Agent::new(vec![registration.clone()]);
    let run = |started_ns: u64| Run {
        work: Work::Drill,
        scope: Scope::Full,
        tenant: None,
        job: "daily".into(),
        by: "another".into(),
        started_ns,
        retention_days: 0,
    };
    let hour_ns = 3_600_000_000_000;
    let before = RunRecord { run: run(now_ns() - hour_ns), outcome: Some(RunOutcome::completed(now_ns() - hour_ns + 1)) };
    agent.bench.repository.record_run(agent.bench.repository.new_run().unwrap(), &before).unwrap();
    agent.lead(1);
    let status = agent.until("the past", |status| !status.recent.is_empty());
    let next_ns = agent.until("a next run", |status| status.jobs[0].next_ns.is_some()).jobs[0].next_ns.unwrap();
    assert!((22 * hour_ns..24 * hour_ns).contains(&(next_ns - now_ns())), "{}", next_ns - now_ns());
    assert_eq!(status.jobs[0].last.as_ref().map(|last| last.ended_ns), before.outcome.as_ref().map(|outcome| outcome.ended_ns));
    // A run without an end was cut short, and is run again.
    let mut agent = agent.restarted(vec![registration]);
    let cut = RunRecord { run: run(now_ns()), outcome: None };
    agent.bench.repository.record_run(agent.bench.repository.new_run().unwrap(), &cut).unwrap();
    agent.lead(3);
    agent.until("a run of its own", |_| runs.load(Ordering::Acquire) == 1);
}

#[test]
fn what_is_remembered_survives_a_kill() {
    let (other, runs) = counting("other", Duration::from_secs(86_400));
    let registrations = vec![endless("endless"), other];
    let mut agent = Agent::new(registrations.clone());
    agent.lead(1);
    agent.jobs.pause("other", true).unwrap();
    agent.jobs.run_now("endless").unwrap();
    agent.until("a run", |status| status.jobs[0].running.is_some());
    // Killed: nothing is reported or written after this.
    let kept = std::fs::read(agent.folder.path().join("state").join(state::JOBS_FILE)).unwrap();
    agent.stop.ask();
    agent.until("the thread to end", |status| status.jobs[0].running.is_none());
    std::fs::write(agent.folder.path().join("state").join(state::JOBS_FILE), kept).unwrap();
    let mut agent = agent.restarted(registrations);
    agent.runner.turn(&agent.stop);
    assert_eq!((agent.job("endless").failures_in_a_row, agent.job("other").is_paused), (1, true));
    agent.lead(2);
    agent.until("the run to be made up for", |status| status.jobs[0].running.is_some());
    assert_eq!(runs.load(Ordering::Acquire), 0);
    agent.stop.ask();
    agent.until("the thread to end", |status| status.jobs[0].running.is_none());
}

#[test]
fn an_agent_that_ends_cancels_what_runs_and_counts_no_failure() {
    let registrations = vec![endless("endless")];
    let mut agent = Agent::new(registrations.clone());
    agent.lead(1);
    agent.until("a run", |status| status.jobs[0].running.is_some());
    let ended = Stop::default();
    ended.ask();
    agent.runner.run(&Stop::default(), &ended);
    assert_eq!(agent.bench.board.status().recent[0].reason, "cancelled: the agent ends");
    // A run that does not react to the stop is left behind.
    let deaf = |_: &Context<'_>| -> Result<RunOutcome> {
        std::thread::sleep(Duration::from_secs(60));
        Ok(RunOutcome::completed(now_ns()))
    };
    let mut agent = agent.restarted(vec![registration("endless", SOON, Arc::new(deaf))]);
    agent.lead(2);
    agent.until("a run", |status| status.jobs[0].running.is_some());
    agent.runner.run(&Stop::default(), &ended);
    let mut agent = agent.restarted(registrations);
    agent.runner.turn(&agent.stop);
    assert_eq!(agent.job("endless").failures_in_a_row, 0);
}

#[test]
fn requests_are_taken_and_answered() {
    let (registration, runs) = counting("daily", Duration::from_secs(86_400));
    let mut agent = Agent::new(vec![registration]);
    let state = agent.folder.path().join("state");
    let request = |action: requests::Action, job: &str| requests::JobRequest { action, job: job.into() };
    let run = request(requests::Action::Run, "daily");
    requests::send(&state, &run).unwrap();
    agent.runner.turn(&agent.stop);
    assert!(requests::answer(&state, &run).unwrap_err().message.contains("runs on the agent that leads"));
    agent.lead(1);
    for (action, is_paused) in [(requests::Action::Pause, true), (requests::Action::Resume, false), (requests::Action::Pause, true)] {
        requests::send(&state, &request(action, "daily")).unwrap();
        agent.runner.turn(&agent.stop);
        assert_eq!((requests::answer(&state, &request(action, "daily")), agent.job("daily").is_paused), (Ok(Some(())), is_paused));
    }
    requests::send(&state, &run).unwrap();
    agent.until("a run though it is paused", |_| runs.load(Ordering::Acquire) == 1);
    let unknown = request(requests::Action::Run, "dayli");
    requests::send(&state, &unknown).unwrap();
    agent.runner.turn(&agent.stop);
    assert!(requests::answer(&state, &unknown).unwrap_err().message.contains("did you mean daily?"));
}

#[test]
fn a_checkpoint_goes_before_what_takes_long() {
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&steps);
    let task = move |context: &Context<'_>| {
        while !context.progress.is_cancelled() {
            context.progress.pause();
            counted.fetch_add(1, Ordering::AcqRel);
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Error::try_again("cancelled"))
    };
    let plan = bench::plan(tempfile::tempdir().unwrap().path(), "");
    let checkpoint = registry::registrations(&plan).remove(0);
    let mut agent = Agent::new(vec![checkpoint, registration("long", SOON, Arc::new(task))]);
    agent.lead(1);
    agent.until("a run", |_| steps.load(Ordering::Acquire) > 0);
    let taken = agent.jobs.turn(Lane::Backup, RunnerKind::Session, |_| Some("a gap".into()));
    assert_eq!(taken.begin, Some(("checkpoint".into(), Why::Wish("a gap".into()))), "it does not wait for the other");
    let active = agent.jobs.begin("checkpoint", Why::Wish("a gap".into())).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let before = steps.load(Ordering::Acquire);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(steps.load(Ordering::Acquire), before, "the other pauses");
    active.end(Ok(RunOutcome::completed(now_ns())), false);
    agent.until("the other to go on", |_| steps.load(Ordering::Acquire) > before);
    drop(agent.jobs.begin("checkpoint", Why::Asked).unwrap());
    agent.until("a run without an end to be a failure", |status| status.jobs[0].failures_in_a_row == 1);
    agent.stop.ask();
    agent.until("the end", |status| status.jobs[1].running.is_none());
}

/// A job of a lane that runs until it may end, and notes when it runs.
fn held(name: &'static str, lane: Lane, runs: &Arc<AtomicUsize>, may_end: &Arc<AtomicBool>) -> Registration {
    let (runs, may_end) = (Arc::clone(runs), Arc::clone(may_end));
    let task = move |context: &Context<'_>| {
        runs.fetch_add(1, Ordering::AcqRel);
        while !may_end.load(Ordering::Acquire) && !context.progress.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(RunOutcome::completed(now_ns()))
    };
    Registration { lane, ..registration(name, Duration::from_secs(3600), Arc::new(task)) }
}

#[test]
fn two_lanes_run_side_by_side_and_one_lane_one_by_one() {
    let (runs, may_end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let all = [("key", Lane::Backup), ("export", Lane::Backup), ("check", Lane::Maintenance), ("sweep", Lane::Maintenance)];
    let mut agent = Agent::new(all.iter().map(|(name, lane)| held(name, *lane, &runs, &may_end)).collect());
    agent.lead(1);
    agent.until("what ran before to be known", |status| status.jobs.iter().all(|job| job.next_ns.is_some()));
    for (name, _) in all {
        agent.jobs.run_now(name).unwrap();
    }
    agent.until("a run in each lane", |status| status.jobs.iter().filter(|job| job.running.is_some()).count() == 2);
    for _ in 0..20 {
        agent.runner.turn(&agent.stop);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(runs.load(Ordering::Acquire), 2, "the second of each lane waits");
    let running: Vec<String> =
        agent.bench.board.status().jobs.into_iter().filter(|job| job.running.is_some()).map(|job| job.name).collect();
    assert_eq!(running, ["key", "check"], "one of each lane, the first that was asked for");
    may_end.store(true, Ordering::Release);
    agent.until("all to have run", |status| status.jobs.iter().all(|job| job.last_success_ns.is_some()));
    assert_eq!(runs.load(Ordering::Acquire), 4);
    assert_eq!(agent.job("sweep").outcome, "0 stored");
}

#[test]
fn damage_is_an_alert_until_everything_is_whole() {
    let bench = Bench::new(1 << 20);
    let folder = tempfile::tempdir_in(crate::tier::sample::folder()).unwrap();
    let sample = crate::tb_format::sample::SampleFile::new(7, crate::tier::sample::LOG_OPS);
    crate::tier::sample::backup(&bench.repository, &sample, &folder.path().join("d")).unwrap();
    let plan = bench::plan(folder.path(), "");
    let all = registry::registrations(&plan);
    let mut agent = Agent::with(bench, folder, all.clone(), "");
    agent.bench.board.change(|status| (status.timeline, status.durable_op) = (1, 3359));
    agent.bench.board.checkpoint(crate::monitor::status::CheckpointStatus { op: 959, timeline: 1, ended_ns: now_ns() });
    agent.lead(1);
    agent.jobs.run_now("verification").unwrap();
    let status = agent.until("a verification", |status| status.verification.is_some());
    let found = status.verification.unwrap();
    assert_eq!((found.is_whole, found.backups, found.backups_whole, found.problems, found.is_full), (true, 1, 1, 0, false));
    let status = agent.until("the storage", |status| !status.storage.is_empty() && status.restore_estimate_seconds > 0);
    assert_eq!((status.restore_estimate_seconds, status.alerts.len()), (1 + 2400 / 240, 0));
    assert!(status.storage.iter().any(|kind| kind.class == "checkpoints" && kind.objects == 3), "{:?}", status.storage);

    let store = agent.bench.repository.store();
    let pack = agent.bench.repository.list_all(crate::repository::name::PACKS).unwrap()[0].name.clone();
    let bytes = store.get_range(&pack, 0, store.size_bytes(&pack).unwrap().unwrap()).unwrap();
    store.delete(&pack).unwrap();
    agent.jobs.run_now("verification").unwrap();
    let status = agent.until("the damage", |status| status.verification.as_ref().is_some_and(|found| !found.is_whole));
    assert!(status.alerts[0].text.contains("0 of 1 backups are intact"), "{:?}", status.alerts);
    let job = agent.job("verification");
    assert!(job.last.is_some_and(|last| last.reason.starts_with(verification::DAMAGED) && last.reason.contains(&pack)));
    assert_eq!((job.failures_in_a_row, job.next_reason.as_str()), (1, "every 24 h"), "another try would find the same");
    // The next agent learns it from the record.
    let mut agent = agent.restarted(all);
    agent.lead(2);
    agent.until("the alert", |status| status.alerts.iter().any(|alert| alert.text.contains("verification found 1 objects")));
    let digest = crate::pipeline::digest::digest_of(&bytes);
    agent.bench.repository.store().put(&pack, &[bytes], &digest).unwrap();
    agent.jobs.run_now("verification").unwrap();
    agent.until("everything to be intact", |status| {
        status.alerts.is_empty() && status.verification.as_ref().is_some_and(|found| found.is_whole)
    });
}

#[test]
fn the_configuration_counts_and_what_it_gets_wrong_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rules = |more: &str, name: &str| {
        let plan = bench::plan(folder.path(), more);
        let all = registry::registrations(&plan);
        registry::check(&plan, &all)?;
        all.iter().find(|registration| registration.name == name).unwrap().rules(&plan, b"s")
    };
    let defaults = rules("", "verification").unwrap();
    assert_eq!(
        (defaults.cadence, defaults.jitter, defaults.is_enabled),
        (Cadence::Interval(registry::VERIFICATION_INTERVAL), Duration::ZERO, true)
    );
    assert_eq!(rules("[checkpoint]\ninterval_s = 60", "checkpoint").unwrap().cadence, Cadence::Interval(Duration::from_secs(60)));
    let written =
        rules("[jobs.verification]\ncron = \"30 2 * * *\"\ntime_zone = \"Europe/Berlin\"\njitter_s = 600\nenabled = false", "verification")
            .unwrap();
    assert_eq!(written.cadence, Cadence::times("30 2 * * *", "Europe/Berlin").unwrap());
    assert_eq!((written.jitter, written.is_enabled), (Duration::from_secs(600), false));
    let refused = |more: &str| rules(more, "verification").unwrap_err().message;
    let message = refused("[jobs.verifcation]\nenabled = false");
    assert!(message.contains("amber.toml:5: `[jobs.verifcation]`: ") && message.contains("did you mean verification?"), "{message}");
    assert!(refused("[jobs.banana]\nenabled = false").contains("The jobs are checkpoint, verification"));
    assert!(refused("[jobs.verification]\njitter_s = 86400").contains("jitter_s must be less than the interval of 24 h"));
}
