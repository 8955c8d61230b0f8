//! What is new in a plan since it was last seen, as lines for a person.
//!
//! Pure: snapshots in, lines out. The same snapshot twice gives nothing new,
//! so a stream that breaks and begins again elsewhere repeats no line.

use crate::render::words;
use proto::v1::{Plan, Step};
use std::collections::BTreeMap;

/// How a plan that is being followed stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It goes on.
    Running,
    /// Every step is done.
    Completed,
    /// It waits for a person.
    Held,
    /// It ended in a way that this program has no word for.
    EndedOtherwise,
}

/// How this snapshot stands.
pub(crate) fn standing(plan: &Plan) -> Standing {
    match (plan.state.as_str(), plan.closed_unix_ms) {
        ("completed", _) => Standing::Completed,
        ("held", _) => Standing::Held,
        ("running", _) | (_, None) => Standing::Running,
        (_, Some(_)) => Standing::EndedOtherwise,
    }
}

/// What was last said of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    state: String,
    attempts: u64,
}

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    headed: bool,
    steps: BTreeMap<u64, Said>,
}

impl Progress {
    /// The lines that this snapshot adds.
    pub(crate) fn lines(&mut self, plan: &Plan) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.headed {
            self.headed = true;
            lines.push(heading(plan));
        }
        let total = plan.steps.len();
        for (at, step) in plan.steps.iter().enumerate() {
            let before = self.steps.entry(step.number).or_default();
            let now = Said { state: step.state.clone(), attempts: step.attempts };
            if *before == now {
                continue;
            }
            let prefix = format!("[{}/{total}]", at + 1);
            if is_over(step) {
                if before.state != now.state {
                    lines.push(over(&prefix, step));
                }
            } else if now.attempts > before.attempts && now.attempts > 1 {
                lines.push(again(&prefix, step));
            }
            *before = now;
        }
        lines
    }

    /// What happens at this moment, for a line that is overwritten.
    pub(crate) fn passing(plan: &Plan, now_unix_ms: u64) -> Option<String> {
        let step = plan.steps.iter().find(|step| step.state == "running")?;
        let since = step.started_unix_ms.map_or_else(String::new, |at| {
            format!(" ({})", words::seconds(now_unix_ms.saturating_sub(at)))
        });
        Some(format!("      {}{since} ...", step.what))
    }
}

/// `plan 7: failover of fx, primary -> standby, by ann`.
pub(crate) fn heading(plan: &Plan) -> String {
    let number = if plan.id == 0 { "plan".into() } else { format!("plan {}", plan.id) };
    let by = if plan.by.is_empty() { String::new() } else { format!(", by {}", plan.by) };
    let way = match (plan.from.as_str(), plan.to.as_str()) {
        ("", to) => format!("to {to}"),
        (from, to) => format!("{from} -> {to}"),
    };
    format!("{number}: {} of {}, {way}{by}", plan.kind, plan.group)
}

fn is_over(step: &Step) -> bool {
    matches!(step.state.as_str(), "done" | "failed" | "skipped")
}

fn over(prefix: &str, step: &Step) -> String {
    let took = match (step.started_unix_ms, step.finished_unix_ms) {
        (Some(from), Some(to)) => format!(", {}", words::seconds(to.saturating_sub(from))),
        (Some(_) | None, _) => String::new(),
    };
    let tries =
        if step.attempts > 1 { format!(", attempt {}", step.attempts) } else { String::new() };
    format!("{prefix} {:<7} {}{took}{tries}{}", step.state, step.what, detail(step))
}

fn again(prefix: &str, step: &Step) -> String {
    format!("{prefix} again   {}, attempt {}{}", step.what, step.attempts, detail(step))
}

fn detail(step: &Step) -> String {
    if step.detail.is_empty() { String::new() } else { format!(": {}", step.detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u64, what: &str, state: &str, attempts: u64) -> Step {
        Step { number, what: what.into(), state: state.into(), attempts, ..Default::default() }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan {
            id: 7,
            group: "fx".into(),
            kind: "failover".into(),
            from: "primary".into(),
            to: "standby".into(),
            state: "running".into(),
            by: "ann".into(),
            steps,
            ..Default::default()
        }
    }

    #[test]
    fn a_step_is_said_once_and_a_repeated_snapshot_is_silent() {
        let mut progress = Progress::default();
        let begun =
            plan(vec![step(0, "fence primary", "running", 1), step(1, "start b", "waiting", 0)]);
        assert_eq!(progress.lines(&begun), ["plan 7: failover of fx, primary -> standby, by ann"]);
        let mut fenced =
            plan(vec![step(0, "fence primary", "done", 1), step(1, "start b", "running", 1)]);
        fenced.steps[0].detail = "lease lapsed".into();
        fenced.steps[0].started_unix_ms = Some(1000);
        fenced.steps[0].finished_unix_ms = Some(3150);
        assert_eq!(progress.lines(&fenced), ["[1/2] done    fence primary, 2.15 s: lease lapsed"]);
        assert!(progress.lines(&fenced).is_empty());
        assert!(progress.lines(&begun).iter().all(|line| !line.contains("plan 7")));
    }

    #[test]
    fn another_attempt_and_a_failure_are_said() {
        let mut progress = Progress::default();
        let mut first = plan(vec![step(0, "start b on s1", "running", 1)]);
        progress.lines(&first);
        first.steps[0].attempts = 2;
        first.steps[0].detail = "the image is missing".into();
        assert_eq!(
            progress.lines(&first),
            ["[1/1] again   start b on s1, attempt 2: the image is missing"]
        );
        first.steps[0].state = "failed".into();
        first.steps[0].detail = "gave up".into();
        assert_eq!(progress.lines(&first), ["[1/1] failed  start b on s1, attempt 2: gave up"]);
    }

    #[test]
    fn what_runs_now_is_passing() {
        let mut now = plan(vec![step(0, "fence primary", "running", 1)]);
        now.steps[0].started_unix_ms = Some(1000);
        assert_eq!(Progress::passing(&now, 2500).unwrap(), "      fence primary (1.50 s) ...");
        now.steps[0].state = "done".into();
        assert_eq!(Progress::passing(&now, 2500), None);
    }

    #[test]
    fn standings() {
        let with = |state: &str, closed| {
            standing(&Plan { state: state.into(), closed_unix_ms: closed, ..Default::default() })
        };
        assert_eq!(with("running", None), Standing::Running);
        assert_eq!(with("completed", Some(1)), Standing::Completed);
        assert_eq!(with("held", None), Standing::Held);
        assert_eq!(with("abandoned", Some(1)), Standing::EndedOtherwise);
        assert_eq!(with("some-new-word", None), Standing::Running);
    }
}
