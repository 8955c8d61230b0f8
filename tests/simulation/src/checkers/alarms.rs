//! Invariant 7: no alarm (a state that should be impossible) was raised.

use super::{Violation, broken};
use crate::history::History;

/// Every alarm is one too many.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let all = history.alarms.iter();
    all.map(|(at, alarm)| broken(7, *at, format!("an alarm was raised: {alarm}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_an_alarm() {
        let mut history = History::default();
        assert!(check(&history).is_empty());
        history.alarms.push((5, "two leases".into()));
        assert_eq!(check(&history).len(), 1);
    }
}
