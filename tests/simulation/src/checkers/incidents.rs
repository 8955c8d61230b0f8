//! Invariant 5: when faults stop, every incident ends closed or held for a
//! human, within a bound. What is looked at is more: the group serves again,
//! or waits for a person.

use super::{Violation, broken};
use crate::history::History;

/// Looks at whether calm came.
pub(super) fn check(history: &History) -> Vec<Violation> {
    match history.settled {
        Some(_) => vec![],
        None => {
            let what = format!("the faults are long over, and {}", history.unsettled);
            vec![broken(5, history.calm, what)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_a_run_that_never_settles() {
        let mut history = History::default();
        assert_eq!(check(&history).len(), 1);
        history.settled = Some(7);
        assert!(check(&history).is_empty());
    }
}
