//! One record into the state: the dispatch, policies, holds and the outbox.

use super::{Applied, CONSIDERED_MAX, Considered, Group, Hold, NO_INCIDENT, State, stops::Aim};
use crate::{
    decision::{self, Decision, Reason},
    incident::Cause,
    outbox::{ATTEMPTS_MAX, ChannelDelivery, ChannelState, Notification},
    policy::GroupSpec,
    record::{Position, Record},
    sight::Sight,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::{String, ToString},
};
use model::{
    AttemptId, Epoch, GroupId, HostDeed, HostId, HostOrder, IncidentId, Millis, NotificationId,
    Severity, Wall,
};

/// A block of one kind is told again only after this time: a host whose silence
/// comes and goes must not wake a person every minute.
const BLOCK_APART: Millis = Millis::from_secs(300);

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
            Record::CertificateNoted { .. } => self.apply_certificate_noted(record),
            Record::CertificateRevoked { serial, reason, .. } => {
                self.revoked.insert(serial.clone(), reason.clone());
                Applied::Done
            }
            Record::Considered { group, evidence, decision, at } => {
                self.apply_considered(group, evidence, decision, *at)
            }
            Record::HostOrdered { host, deed, by, reason, at } => {
                self.apply_host_ordered(host, *deed, (by, reason), *at)
            }
            Record::StopOrdered { group, site, host, deed, by, reason, at } => {
                let aim = Aim { group: group.as_ref(), site: site.as_ref(), host: host.as_ref() };
                self.apply_stop_ordered(aim, *deed, (by, reason), *at)
            }
            Record::ReadinessChanged { group, why, at } => {
                self.apply_readiness(group, why.as_deref(), *at)
            }
            Record::TaskOrdered { .. } => self.apply_task_ordered(record),
            Record::TaskEnded { .. } => self.apply_task_ended(record),
            Record::ApprovalAsked { asked, at } => self.apply_approval_asked(asked, *at),
            Record::RpoExceeded { .. } => self.apply_rpo_exceeded(record),
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
                    considered: VecDeque::new(),
                    blocked: None,
                    failsafe: None,
                    rpo_told: BTreeMap::new(),
                    unready: None,
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

    /// The newest order for a host takes the place of the one before: what an
    /// agent did not hear of meanwhile is out of date.
    fn apply_host_ordered(
        &mut self,
        host: &HostId,
        deed: HostDeed,
        (by, reason): (&str, &str),
        at: Wall,
    ) -> Applied {
        if !self.named_hosts().any(|named| named == host) {
            return ignored(format!("no group names a host {host}; `coordctl status` lists them"));
        }
        let id = self.next_order(at);
        let order = HostOrder { id, deed, by: by.into(), reason: reason.into() };
        self.orders.insert(host.clone(), order);
        Applied::HostOrdered(id)
    }

    fn apply_considered(
        &mut self,
        group: &GroupId,
        evidence: &Sight,
        decision: &Decision,
        at: Wall,
    ) -> Applied {
        if let Decision::Hold(reason) = decision
            && reason.is_block()
        {
            self.tell_block(group, evidence, reason, at);
        }
        let Some(group) = self.groups.get_mut(group) else {
            return ignored(format!("no group is called {group}"));
        };
        let (evidence, decision) = (Box::new(evidence.clone()), decision.clone());
        group.considered.push_back(Considered { evidence, decision, at });
        while group.considered.len() > CONSIDERED_MAX {
            group.considered.pop_front();
        }
        Applied::Done
    }

    /// Told once when it could fail over no more, and once when it could again.
    fn apply_readiness(&mut self, name: &GroupId, why: Option<&str>, at: Wall) -> Applied {
        let Some(group) = self.groups.get_mut(name) else {
            return ignored(format!("no group is called {name}"));
        };
        if group.unready.is_some() == why.is_some() {
            return ignored("it was told already");
        }
        group.unready = why.map(ToString::to_string);
        let (severity, title, body) = match why {
            Some(why) => (
                Severity::High,
                format!("{name} could not fail over now"),
                format!("{why}. What to do: coordctl doctor {name}"),
            ),
            None => (
                Severity::Info,
                format!("{name} could fail over again"),
                "What stood against it is gone".to_string(),
            ),
        };
        self.notify((severity, name, NO_INCIDENT), &title, body, at);
        self.prune();
        Applied::Done
    }

    /// Certain trouble, and nothing moves by itself: a person has to know. Once for
    /// each kind of block while it comes and goes.
    fn tell_block(&mut self, name: &GroupId, evidence: &Sight, reason: &Reason, at: Wall) {
        let stopped = self.stopped_hosts(name);
        let Some(group) = self.groups.get_mut(name) else { return };
        // A plan that was given up has told it already.
        let told_by_plan = group.hold.as_ref().is_some_and(|hold| hold.plan.is_some());
        // So has a stop: that its services do not run is what was ordered.
        let told_by_stop = |cause: &Cause| matches!(cause, Cause::ServiceFailed { host, .. } if stopped.contains(host));
        let (word, last) = (reason.word(), group.blocked.as_ref());
        let lately = last.is_some_and(|(kind, told)| {
            kind == word && at.0.saturating_sub(told.0) < BLOCK_APART.0
        });
        let cause = decision::cause(evidence).filter(|cause| !told_by_stop(cause));
        let Some(cause) = cause.filter(|_| !told_by_plan && !lately) else { return };
        group.blocked = Some((word.into(), at));
        let mut others =
            group.spec.sites.iter().filter(|site| Some(&site.name) != group.active.as_ref());
        let to = others.next().map(|site| format!(" --to {}", site.name)).unwrap_or_default();
        let body = format!(
            "{cause}. Nothing moves by itself: {reason}. What was seen: coordctl explain {name}. \
             What stands against a move: coordctl failover {name}{to} --dry-run"
        );
        let incident = self.open_incident(name).map_or(NO_INCIDENT, |incident| incident.id);
        let title = format!("{name}: trouble, and no failover");
        self.notify((cause.severity(), name, incident), &title, body, at);
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
