//! Invariant 8: every notification that a record asked for was accepted by a
//! channel or is still in the outbox.

use super::{Violation, broken};
use crate::history::History;
use failover::ChannelState;

/// Compares what the journal says with what the channel really took.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let outbox = &history.truth.outbox;
    let newest = outbox.keys().next_back().map_or(0, |id| id.0);
    let mut found = Vec::new();
    for number in 1..=newest {
        let taken = history.accepted.contains(&number);
        let known = outbox.get(&model::NotificationId(number));
        let said = known.is_some_and(|n| {
            n.channels.get("log").is_some_and(|d| d.state == ChannelState::Accepted)
        });
        if said && !taken {
            let what = format!("notification {number} counts as accepted and never was");
            found.push(broken(8, history.calm, what));
        }
        if known.is_none() && !taken {
            let what = format!("notification {number} is nowhere");
            found.push(broken(8, history.calm, what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Names;
    use failover::{ChannelDelivery, Notification};
    use model::{IncidentId, Millis, NotificationId, Severity, Wall};
    use std::collections::BTreeMap;

    fn notification(id: u64, state: ChannelState) -> Notification {
        let detail = String::new();
        let one = ChannelDelivery { state, attempts: 1, detail, wait: Millis(0), at: Wall(0) };
        Notification {
            id: NotificationId(id),
            severity: Severity::Info,
            group: Names::new().unwrap().group,
            incident: IncidentId(1),
            title: String::new(),
            body: String::new(),
            at: Wall(0),
            channels: BTreeMap::from([("log".to_owned(), one)]),
        }
    }

    #[test]
    fn it_finds_a_lost_one_and_one_that_was_never_taken() {
        let mut history = History::default();
        let two = notification(2, ChannelState::Waiting);
        history.truth.outbox.insert(two.id, two);
        assert_eq!(check(&history).len(), 1, "number 1 is nowhere");
        history.accepted.insert(1);
        assert!(check(&history).is_empty());
        let two = notification(2, ChannelState::Accepted);
        history.truth.outbox.insert(two.id, two);
        assert_eq!(check(&history).len(), 1, "number 2 was never taken");
        history.accepted.insert(2);
        assert!(check(&history).is_empty());
    }
}
