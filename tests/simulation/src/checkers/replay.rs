//! Invariant 6: replaying the log gives the live state, on every voter.

use super::{Violation, broken};
use crate::{history::History, stage::NAMES};
use failover::State;

/// Folds the commits up to each voter's place and compares; and what is stored
/// as a snapshot must read back as the same.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut again = State::default();
    let mut ends: Vec<_> = history.voters.iter().collect();
    ends.sort_by_key(|end| end.state.position);
    let mut commits = history.commits.iter().peekable();
    for end in ends {
        while let Some(commit) = commits.next_if(|c| c.position <= end.state.position) {
            if let Some(record) = &commit.record {
                again.apply(commit.position, record);
            }
        }
        if again != end.state {
            let what = format!("{}'s state is not what its log says", NAMES[end.node]);
            found.push(broken(6, history.calm, what));
        }
    }
    let stored = serde_json::to_vec(&again).ok();
    let read = stored.and_then(|text| serde_json::from_slice::<State>(&text).ok());
    if read.as_ref() != Some(&again) {
        found.push(broken(6, history.calm, "a stored state does not read back as the same"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Commit, VoterEnd},
        stage::C1,
    };
    use failover::{Applied, Position, Record};
    use model::{Term, Wall};
    use std::rc::Rc;

    #[test]
    fn it_finds_a_state_that_the_log_does_not_give() {
        let position = Position { index: 1, term: Term(1) };
        let record = Record::AutomationHeld {
            group: None,
            by: "ann".into(),
            reason: "look".into(),
            at: Wall(1),
        };
        let mut state = State::default();
        state.apply(position, &record);
        let mut history = History::default();
        let (record, applied) = (Some(Rc::new(record)), Applied::Done);
        history.commits = vec![Commit { at: 0, position, record, applied, needed: None }];
        history.voters = vec![VoterEnd { node: C1, state: state.clone() }];
        assert!(check(&history).is_empty());
        state.hold = None;
        history.voters = vec![VoterEnd { node: C1, state }];
        assert_eq!(check(&history).len(), 1);
    }
}
