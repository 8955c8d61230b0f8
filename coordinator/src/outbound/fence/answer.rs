//! What a hook's run means. Strict: anything but one clear answer is unknown.

use daemon::command::{Finished, Output, Run, TimedOut};
use failover::{FenceOrder, HookVerdict};
use serde::Deserialize;

/// Characters of a hook's words in one line for a person.
const WORDS_MAX: usize = 400;

/// What came of a order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceOutcome {
    /// What is known now.
    pub verdict: HookVerdict,
    /// In words: the hook's own, or what was wrong with its answer.
    pub detail: String,
}

impl FenceOutcome {
    pub(super) fn unknown(detail: String) -> Self {
        Self { verdict: HookVerdict::Unknown, detail }
    }
}

/// What a hook writes to stdout. More members are allowed.
#[derive(Deserialize)]
struct Answer {
    verdict: HookVerdict,
    #[serde(default)]
    detail: String,
    /// Whom it speaks of: must be whom it was asked about.
    host: Option<String>,
    epoch: Option<u64>,
}

/// Reads what a run came to.
pub(super) fn read(order: &FenceOrder, run: &Run) -> FenceOutcome {
    let unknown = |words: &str, stderr: Option<&Output>| {
        let said = stderr.map(|output| output.one_line(WORDS_MAX)).unwrap_or_default();
        let gap = if said.is_empty() { "" } else { ": " };
        FenceOutcome::unknown(format!("{words}{gap}{said}"))
    };
    let finished = match run {
        Run::Finished(finished) => finished,
        Run::TimedOut(TimedOut { deadline, killed, stderr, .. }) => {
            let how = if *killed { "killed" } else { "ended" };
            return unknown(&format!("{how} at its deadline of {deadline:?}"), Some(stderr));
        }
        Run::NotStarted(why) => return unknown(&format!("not started: {why}"), None),
    };
    let Finished { status, stdout, stderr, .. } = finished;
    if !finished.succeeded() {
        return unknown(&status.to_string(), Some(stderr));
    }
    if stdout.dropped > 0 {
        return unknown("it said more than a coordinator reads", Some(stderr));
    }
    // Exactly one JSON value: a second answer is a contradiction or a mistake.
    match serde_json::from_slice::<Answer>(&stdout.bytes) {
        Ok(answer) => judge(order, &answer),
        Err(error) => unknown(&format!("its answer is not understood ({error})"), Some(stderr)),
    }
}

fn judge(order: &FenceOrder, answer: &Answer) -> FenceOutcome {
    let detail: String =
        answer.detail.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    let same =
        answer.host.as_deref() == Some(order.host.as_str()) && answer.epoch == Some(order.epoch.0);
    match answer.verdict {
        HookVerdict::Confirmed if !same => FenceOutcome::unknown(format!(
            "it confirms host {} and epoch {}, not host {} and epoch {}",
            answer.host.as_deref().unwrap_or("(none)"),
            answer.epoch.map_or_else(|| "(none)".to_owned(), |epoch| epoch.to_string()),
            order.host,
            order.epoch
        )),
        verdict => FenceOutcome { verdict, detail },
    }
}
