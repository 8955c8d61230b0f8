//! One record into the state: the dispatch, policies, holds and the outbox.

use super::{Applied, Certificate, Group, Hold, State};
use crate::{
    outbox::{ATTEMPTS_MAX, ChannelDelivery, ChannelState, Notification},
    policy::GroupSpec,
    record::{Position, Record},
};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
};
use model::{AttemptId, Epoch, GroupId, IncidentId, Millis, NotificationId, Severity, Wall};

pub(super) fn ignored(why: impl Into<String>) -> Applied {
    Applied::Ignored(why.into())
}

impl State {
    /// Applies one committed record. Total: a record that no longer fits
    /// changes nothing but the position and is answered with the reason.
    pub fn apply(&mut self, position: Position, record: &Record) -> Applied {
        self.position = position;
        match record {
            Record::GroupApplied { spec, .. } => self.apply_group(spec),
            Record::AutomationHeld { group, by, reason, at } => {
                let hold = Hold { by: by.clone(), reason: reason.clone(), at: *at, plan: None };
                self.set_hold(group.as_ref(), Some(hold))
            }
            Record::AutomationResumed { group, .. } => self.set_hold(group.as_ref(), None),
            Record::PlanOpened { draft, cause, evidence, at } => {
                self.apply_plan_opened(draft, cause, evidence, *at)
            }
            Record::StepStarted { plan, step, attempt, at } => {
                self.apply_step_started(*plan, *step, *attempt, *at)
            }
            Record::StepFinished { plan, step, attempt, result, at } => {
                self.apply_step_finished((*plan, *step, *attempt), result, *at)
            }
            Record::Fenced { plan, step, proof, at } => self.apply_fenced(*plan, *step, proof, *at),
            Record::Activated { plan, step, group, site, epoch, proof, at } => {
                self.apply_activated((*plan, *step), (group, site, *epoch), proof, *at)
            }
            Record::PlanClosed { plan, held, at } => {
                self.apply_plan_closed(*plan, held.as_deref(), *at)
            }
            Record::DeliveryStarted { notification, channel, attempt, at } => {
                self.apply_delivery_started(*notification, channel, *attempt, *at)
            }
            Record::DeliveryFinished {
                notification,
                channel,
                attempt,
                failure,
                retry_after,
                at,
            } => {
                let outcome = failure.as_ref().map(|why| (why.clone(), *retry_after));
                self.apply_delivery_finished(*notification, channel, *attempt, outcome, *at)
            }
            Record::TokenCreated { .. } => self.apply_token_created(record),
            Record::TokenRedeemed { .. } => self.apply_token_redeemed(record),
            Record::CertificateNoted { serial, identity, issued, not_after, .. } => {
                let certificate = Certificate {
                    identity: identity.clone(),
                    issued: *issued,
                    not_after: *not_after,
                };
                self.certificates.insert(serial.clone(), certificate);
                Applied::Done
            }
            Record::CertificateRevoked { serial, reason, .. } => {
                self.revoked.insert(serial.clone(), reason.clone());
                Applied::Done
            }
        }
    }

    fn apply_group(&mut self, spec: &GroupSpec) -> Applied {
        if let Some(fault) = spec.check().first() {
            return ignored(format!("{}: {}", fault.field, fault.message));
        }
        match self.groups.get_mut(&spec.name) {
            None => {
                let group = Group {
                    spec: spec.clone(),
                    active: None,
                    epoch: Epoch(0),
                    plan: None,
                    hold: None,
                    failed_over_at: None,
                };
                self.groups.insert(spec.name.clone(), group);
                Applied::Done
            }
            Some(group) if group.plan.is_some() => {
                ignored(format!("a plan of {} is under way; apply it when that is over", spec.name))
            }
            Some(group) => {
                let gone = |active: &model::SiteId| spec.site(active).is_none();
                if let Some(active) = group.active.as_ref().filter(|active| gone(active)) {
                    return ignored(format!(
                        "site {active} is active; move {} before removing it",
                        spec.name
                    ));
                }
                let moved = group.active.as_ref().is_some_and(|active| {
                    group.spec.site(active).map(|s| &s.hosts) != spec.site(active).map(|s| &s.hosts)
                });
                if moved {
                    return ignored(format!(
                        "the hosts of {}'s active site cannot change while it is active; \
                         switch over first",
                        spec.name
                    ));
                }
                if group.active.is_some() && group.spec.lease > spec.lease {
                    // Leases of the old length may live on: the new bounds would be too short.
                    return ignored(format!(
                        "{}'s lease cannot be shortened while a site is active under the longer \
                         one; apply it as a new group or keep {}",
                        spec.name, group.spec.lease
                    ));
                }
                group.spec = spec.clone();
                Applied::Done
            }
        }
    }

    fn set_hold(&mut self, group: Option<&GroupId>, hold: Option<Hold>) -> Applied {
        let Some(name) = group else {
            if hold.is_none() {
                self.groups.values_mut().for_each(|group| group.hold = None);
            }
            self.hold = hold;
            return Applied::Done;
        };
        let Some(group) = self.groups.get_mut(name) else {
            return ignored(format!("no group is called {name}"));
        };
        if hold.is_none() && self.hold.is_some() {
            return ignored("automation is held for every group; resume that first (no GROUP)");
        }
        group.hold = hold;
        Applied::Done
    }

    pub(super) fn notify(
        &mut self,
        (severity, group, incident): (Severity, &GroupId, IncidentId),
        title: &str,
        body: String,
        at: Wall,
    ) {
        let id = self.next_notification();
        self.outbox.insert(
            id,
            Notification {
                id,
                severity,
                group: group.clone(),
                incident,
                title: title.to_string(),
                body,
                at,
                channels: BTreeMap::new(),
            },
        );
    }

    fn apply_delivery_started(
        &mut self,
        id: NotificationId,
        channel: &str,
        attempt: AttemptId,
        at: Wall,
    ) -> Applied {
        let Some(notification) = self.outbox.get_mut(&id) else {
            return ignored(format!("notification {id} is gone"));
        };
        let delivery = notification.channels.entry(channel.into()).or_insert(ChannelDelivery {
            state: ChannelState::Waiting,
            attempts: 0,
            detail: String::new(),
            wait: Millis::ZERO,
            at,
        });
        match delivery.state {
            ChannelState::Accepted | ChannelState::Abandoned => ignored("already settled"),
            ChannelState::Waiting | ChannelState::Sending if attempt.0 > delivery.attempts => {
                delivery.state = ChannelState::Sending;
                delivery.attempts = attempt.0;
                delivery.at = at;
                Applied::Done
            }
            ChannelState::Waiting | ChannelState::Sending => ignored("an older attempt"),
        }
    }

    fn apply_delivery_finished(
        &mut self,
        id: NotificationId,
        channel: &str,
        attempt: AttemptId,
        failure: Option<(String, Option<Millis>)>,
        at: Wall,
    ) -> Applied {
        let delivery = self.outbox.get_mut(&id).and_then(|n| n.channels.get_mut(channel));
        let Some(delivery) = delivery else {
            return ignored(format!("notification {id} was not being sent to {channel}"));
        };
        if delivery.state == ChannelState::Accepted {
            return ignored("already accepted");
        }
        delivery.at = at;
        match failure {
            // An acceptance counts whichever try it belongs to.
            None => {
                delivery.state = ChannelState::Accepted;
                delivery.detail = String::new();
            }
            Some(_) if attempt.0 < delivery.attempts => return ignored("an older attempt"),
            Some((why, retry_after)) => {
                let more = retry_after.filter(|_| delivery.attempts < ATTEMPTS_MAX);
                delivery.state =
                    if more.is_some() { ChannelState::Waiting } else { ChannelState::Abandoned };
                delivery.wait = more.unwrap_or(Millis::ZERO);
                delivery.detail = why;
            }
        }
        self.prune();
        Applied::Done
    }
}
