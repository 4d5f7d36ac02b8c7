//! Why a checkpoint is wanted now, independent of its interval.
//!
//! A checkpoint bounds how long a restore takes, because the log after it must be replayed. A
//! checkpoint is due at an interval ([`crate::schedule`]). It is due earlier when replaying the log
//! since the last one would take longer than the recovery-time budget allows. It is due at once
//! where the log alone does not join (a new repository, a gap, a new timeline).

use crate::config::plan::CheckpointPlan;
use crate::monitor::status::CheckpointStatus;

/// What the decision is based on.
#[derive(Debug, Clone, Default)]
pub struct Situation {
    /// The timeline that is shipped.
    pub timeline: u32,
    /// Everything up to here is durable.
    pub durable_op: u64,
    /// The newest checkpoint of the history.
    pub last: Option<CheckpointStatus>,
    /// Why something else wants a checkpoint.
    pub wanted: Option<String>,
    /// Whether this agent has taken a checkpoint since it began to lead.
    pub taken: bool,
}

/// Whether a checkpoint is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Now, and why.
    Now(String),
    /// After so many more ops.
    AfterOps(u64),
}

impl Wish {
    /// Why a checkpoint is wanted now, if it is.
    pub fn reason(self) -> Option<String> {
        match self {
            Wish::Now(reason) => Some(reason),
            Wish::AfterOps(_) => None,
        }
    }
}

/// Whether the plan wants a checkpoint in this situation.
pub fn wish(plan: &CheckpointPlan, situation: &Situation) -> Wish {
    if let Some(wanted) = &situation.wanted {
        return Wish::Now(wanted.clone());
    }
    let Some(last) = situation.last.as_ref().filter(|last| last.timeline == situation.timeline) else {
        return Wish::Now(format!("timeline {} has no checkpoint of its own yet", situation.timeline));
    };
    if plan.on_start && !situation.taken {
        return Wish::Now("the agent has begun to ship".into());
    }
    let replay_ops = situation.durable_op.saturating_sub(last.op);
    let budget_ops = plan.replay_ops_per_s.saturating_mul(plan.replay_budget.as_secs());
    match budget_ops.checked_sub(replay_ops) {
        None => Wish::Now(format!("replaying the {replay_ops} ops since the last one would take longer than {:?}", plan.replay_budget)),
        Some(left_ops) => Wish::AfterOps(left_ops),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn plan() -> CheckpointPlan {
        CheckpointPlan {
            interval: Duration::from_secs(3600),
            replay_budget: Duration::from_secs(100),
            replay_ops_per_s: 10,
            on_start: false,
        }
    }

    fn situation() -> Situation {
        let last = CheckpointStatus { op: 1000, timeline: 1, ended_ns: 5_000_000_000 };
        Situation { timeline: 1, durable_op: 1000, last: Some(last), wanted: None, taken: false }
    }

    #[test]
    fn the_replay_budget_makes_one_due() {
        assert_eq!(wish(&plan(), &situation()), Wish::AfterOps(1000));
        assert_eq!(wish(&plan(), &Situation { durable_op: 2000, ..situation() }), Wish::AfterOps(0));
        assert!(wish(&plan(), &Situation { durable_op: 2001, ..situation() }).reason().is_some_and(|reason| reason.contains("1001 ops")));
        assert_eq!(
            wish(&plan(), &Situation { durable_op: 1, ..situation() }),
            Wish::AfterOps(1000),
            "a checkpoint that is ahead of the log"
        );
    }

    #[test]
    fn a_history_without_a_checkpoint_a_wish_and_a_start_make_one_due() {
        assert!(wish(&plan(), &Situation { last: None, ..situation() }).reason().is_some());
        assert!(wish(&plan(), &Situation { timeline: 2, ..situation() }).reason().is_some_and(|reason| reason.contains("timeline 2")));
        let wanted = Situation { wanted: Some("a gap at op 7".into()), ..situation() };
        assert_eq!(wish(&plan(), &wanted), Wish::Now("a gap at op 7".into()));
        let on_start = CheckpointPlan { on_start: true, ..plan() };
        assert!(wish(&on_start, &situation()).reason().is_some());
        assert!(wish(&on_start, &Situation { taken: true, ..situation() }).reason().is_none());
    }
}
