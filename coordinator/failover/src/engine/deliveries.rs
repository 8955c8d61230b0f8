//! Pumps the outbox: start committed, sent, outcome committed.

use super::{Engine, appends::Purpose};
use crate::{
    effect::{Delivery, Effect},
    event::{DeliveryResult, Now},
    outbox::{self, ChannelState, Notification},
    record::Record,
};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use model::{AttemptId, Millis, NotificationId, Term};

/// Deliveries begun at once at most; the rest waits its turn.
const AT_ONCE_MAX: usize = 16;

/// A channel that was added later gets notifications up to this old.
const NEWS_KEPT: Millis = Millis::from_secs(3600);

type Try = (NotificationId, String, AttemptId);

/// The deliveries that this leader has begun.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    begun: BTreeMap<Try, Option<DeliveryResult>>,
}

impl Deliveries {
    /// Forgets everything: the journal says which tries have begun.
    pub(super) fn reset(&mut self) {
        self.begun.clear();
    }

    /// The try's start is committed: it may go out.
    pub(super) fn send(
        &mut self,
        term: Term,
        notification: &Notification,
        channel: &str,
        attempt: AttemptId,
    ) -> Effect {
        self.begun.insert((notification.id, channel.into(), attempt), None);
        let delivery = Delivery {
            notification: notification.id,
            channel: channel.into(),
            attempt,
            severity: notification.severity,
            group: notification.group.clone(),
            incident: notification.incident,
            title: notification.title.clone(),
            body: notification.body.clone(),
            at: notification.at,
        };
        Effect::Deliver { term, delivery: delivery.into() }
    }

    /// The try has ended.
    pub(super) fn ended(
        &mut self,
        id: NotificationId,
        channel: String,
        attempt: AttemptId,
        result: DeliveryResult,
    ) {
        if let Some(slot) = self.begun.get_mut(&(id, channel, attempt)) {
            *slot = Some(result);
        }
    }
}

impl Engine {
    /// Proposes the next record of every delivery that needs one.
    pub(super) fn pump_outbox(&mut self, now: Now, out: &mut Vec<Effect>) {
        let outbox = &self.state.outbox;
        // A try whose outcome is committed takes no place any more.
        self.deliveries.begun.retain(|(id, channel, attempt), _| {
            let delivery = outbox.get(id).and_then(|n| n.channels.get(channel));
            delivery.is_some_and(|delivery| {
                delivery.state == ChannelState::Sending && delivery.attempts == attempt.0
            })
        });
        let mut room = AT_ONCE_MAX.saturating_sub(self.deliveries.begun.len());
        let mut records = Vec::new();
        for notification in self.state.outbox.values() {
            for channel in &self.settings.channels {
                if notification.settled(channel)
                    || self.appends.delivering(notification.id, channel)
                {
                    continue;
                }
                match self.next_for(notification, channel, now) {
                    Some(record @ Record::DeliveryStarted { .. }) if room > 0 => {
                        room -= 1;
                        records.push((notification.id, channel.clone(), record));
                    }
                    Some(Record::DeliveryStarted { .. }) | None => {}
                    Some(record) => records.push((notification.id, channel.clone(), record)),
                }
            }
        }
        for (id, channel, record) in records {
            // A full queue is tried again at the next tick.
            let _full = self.propose(Purpose::Delivery(id, channel), record, out);
        }
    }

    fn next_for(&self, notification: &Notification, channel: &str, now: Now) -> Option<Record> {
        let known = notification.channels.get(channel);
        let attempts = known.map_or(0, |delivery| delivery.attempts);
        let start = || {
            Some(Record::DeliveryStarted {
                notification: notification.id,
                channel: channel.into(),
                attempt: AttemptId(attempts + 1),
                at: now.wall,
            })
        };
        let Some(delivery) = known else {
            // A channel that is new does not want the news of yesterday.
            let fresh = now.wall.since(notification.at) < NEWS_KEPT;
            return fresh.then(start).flatten();
        };
        match delivery.state {
            ChannelState::Accepted | ChannelState::Abandoned => None,
            ChannelState::Waiting => {
                // A wall clock that stepped back must not hold a notification up.
                let due = now.wall < delivery.at
                    || now.wall.since(delivery.at) >= outbox::pause(attempts).max(delivery.wait);
                due.then(start).flatten()
            }
            ChannelState::Sending => {
                let own = (notification.id, channel.into(), AttemptId(attempts));
                match self.deliveries.begun.get(&own) {
                    // A former leader began it: whether it went out nobody knows.
                    None => start(),
                    Some(None) => None,
                    Some(Some(result)) => Some(finished(own, result.clone(), now)),
                }
            }
        }
    }
}

fn finished((notification, channel, attempt): Try, result: DeliveryResult, now: Now) -> Record {
    let (failure, retry_after) = match result {
        DeliveryResult::Accepted => (None, None),
        DeliveryResult::Failed { detail, retry_after } => (Some(detail), retry_after),
    };
    Record::DeliveryFinished { notification, channel, attempt, failure, retry_after, at: now.wall }
}
