//! Invariant 4: every command that an agent ran has an earlier committed record:
//! the start of that very try, and for what needs an epoch, its activation.

use super::{Violation, broken};
use crate::{clock::Us, history::History, stage::NAMES};
use failover::{Applied, Record};
use model::{Action, AttemptId, Epoch, PlanId, StepId};
use std::collections::BTreeMap;

/// Looks for the record of every command.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut starts: BTreeMap<(PlanId, StepId, AttemptId), Us> = BTreeMap::new();
    let mut epochs: BTreeMap<Epoch, Us> = BTreeMap::new();
    for commit in history.commits.iter().filter(|commit| commit.applied == Applied::Done) {
        match commit.record.as_deref() {
            Some(Record::StepStarted { plan, step, attempt, .. }) => {
                starts.insert((*plan, *step, *attempt), commit.at);
            }
            Some(Record::Activated { epoch, .. }) => {
                epochs.insert(*epoch, commit.at);
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for ran in &history.ran {
        let start = starts.get(&(ran.id.plan, ran.id.step, ran.id.attempt));
        let epoch = match ran.action {
            // What is fenced is the epoch before; 0 for a group that was never active.
            Action::Fence => true,
            Action::Promote { .. } | Action::StartService { .. } | Action::Verify { .. } => {
                epochs.get(&ran.epoch).is_some_and(|at| *at <= ran.at)
            }
        };
        if !epoch || start.is_none_or(|at| *at > ran.at) {
            let word = ran.action.word();
            let what = format!("{} ran {word} {} without a record", NAMES[ran.host], ran.id);
            found.push(broken(4, ran.at, what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Commit, Ran},
        stage::P1,
    };
    use failover::Position;
    use model::{CommandId, Wall};
    use std::rc::Rc;

    #[test]
    fn it_finds_a_command_without_a_record_and_one_that_came_first() {
        let (plan, step, attempt) = (PlanId(1), StepId(0), AttemptId(1));
        let record = Record::StepStarted { plan, step, attempt, at: Wall(0) };
        let commit = Commit {
            at: 100,
            position: Position::default(),
            record: Some(Rc::new(record)),
            applied: Applied::Done,
            needed: None,
        };
        let ran = |at, attempt| Ran {
            at,
            host: P1,
            id: CommandId { plan, step, attempt: AttemptId(attempt), part: 0 },
            epoch: Epoch(1),
            action: Action::Fence,
        };
        let with = |ran: Ran| {
            let commits = vec![commit.clone()];
            let history = History { commits, ran: vec![ran], ..History::default() };
            check(&history).len()
        };
        assert_eq!(with(ran(100, 1)), 0);
        assert_eq!(with(ran(99, 1)), 1, "too early");
        assert_eq!(with(ran(100, 2)), 1, "another try");
        let promote = Ran { action: Action::Verify { feeds: vec![] }, ..ran(100, 1) };
        assert_eq!(with(promote), 1, "its epoch was never activated");
    }
}
