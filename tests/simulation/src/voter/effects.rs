//! Effect -> world, as coordinator/src/driver/effects.rs does it.

use super::{Asked, DEADLINE, Voter, Waiting};
use crate::{
    clock::MS,
    scene::{Coming, Scene},
};
use failover::{AppendFailure, DeliveryResult, Effect, Event, HookResult, Record};
use model::Millis;
use std::rc::Rc;

/// Of a thousand calls of the DNS hook so many fail.
const HOOK_FAILS: u64 = 30;
/// Of a thousand deliveries so many are not taken at once.
const CHANNEL_FAILS: u64 = 100;

impl Voter {
    pub(super) fn step(&mut self, event: Event, scene: &mut Scene) {
        let now = scene.clock(self.node);
        for effect in self.engine.step(event, now) {
            self.carry_out(effect, scene);
        }
    }

    fn carry_out(&mut self, effect: Effect, scene: &mut Scene) {
        let now = scene.mono(self.node);
        match effect {
            Effect::Append { ticket, record, .. } => {
                scene.say(self.node, || format!("append {}", words(&record)));
                let event = match self.raft.propose(Some(*record), now) {
                    Some(place) => {
                        self.waiting.push(Waiting { ticket, place, until: now + DEADLINE });
                        return;
                    }
                    None => Event::Appended { ticket, result: Err(AppendFailure::NotLeader) },
                };
                self.results.push_back(event);
            }
            Effect::ConfirmQuorum { round, .. } => {
                if !self.raft.leads() {
                    self.results.push_back(Event::RoundEnded { round, confirmed: false });
                    return;
                }
                let number = self.raft.begin_round(now);
                let (term, applied) = (self.raft.term(), self.raft.committed());
                self.rounds.push(Asked { round, number, term, applied, until: now + DEADLINE });
            }
            Effect::Lease { asker, reply } => {
                self.answer(asker, reply, scene);
            }
            Effect::Assign { host, term, groups, .. } => {
                if let Some(to) = scene.names.node(&host) {
                    self.assign(to, term, Rc::new(groups), scene);
                }
            }
            Effect::Dispatch(command) => {
                scene.say(self.node, || {
                    let (id, host) = (&command.id, &command.host);
                    format!("dispatch {} {id} to {host}", command.action.word())
                });
                if let Some(to) = scene.names.node(&command.host) {
                    self.command(to, Rc::new(command), scene);
                }
            }
            Effect::SwitchDns { order, .. } => {
                let fails = scene.rng.permille(HOOK_FAILS);
                let after = scene.rng.between(5 * MS, 200 * MS);
                let (plan, step, attempt) = (order.plan, order.step, order.attempt);
                let result = HookResult { switched: !fails, detail: "the hook's words".into() };
                self.later(Event::HookEnded { plan, step, attempt, result }, after, scene);
            }
            Effect::Deliver { delivery, .. } => self.deliver(&delivery, scene),
            Effect::Reply { result, .. } => {
                scene.say(self.node, || match result {
                    Ok(applied) => format!("reply: {applied:?}"),
                    Err(refused) => format!("refused: {refused}"),
                });
            }
            Effect::Raise(alarm) => {
                let words = alarm.to_string();
                scene.say(self.node, || format!("ALARM {words}"));
                scene.history.alarms.push((scene.now, words));
            }
            // No hook is configured, so none is called.
            Effect::TrustChanged | Effect::CallFence { .. } => {}
        }
    }

    fn later(&self, event: Event, after: u64, scene: &mut Scene) {
        let (node, incarnation) = (self.node, scene.lives[self.node].incarnation);
        let event = Box::new(event);
        scene.at(scene.now + after, Coming::Result { node, incarnation, event });
    }

    fn deliver(&self, delivery: &failover::Delivery, scene: &mut Scene) {
        let fails = scene.rng.permille(CHANNEL_FAILS);
        let after = scene.rng.between(2 * MS, 100 * MS);
        let (notification, attempt) = (delivery.notification, delivery.attempt);
        let channel = delivery.channel.clone();
        let result = if fails {
            let detail = "the channel is busy".into();
            DeliveryResult::Failed { detail, retry_after: Some(Millis(100)) }
        } else {
            // It may take it, and this coordinator may never hear of that.
            scene.at(scene.now + after / 2, Coming::Accept(notification.0));
            DeliveryResult::Accepted
        };
        self.later(Event::DeliveryEnded { notification, channel, attempt, result }, after, scene);
    }
}

/// A record in one line.
pub(crate) fn words(record: &Record) -> String {
    match record {
        Record::GroupApplied { spec, .. } => format!("group-applied {}", spec.name),
        Record::PlanOpened { draft, cause, .. } => {
            format!("plan-opened {} to {}: {cause}", draft.kind, draft.to)
        }
        Record::StepStarted { plan, step, attempt, .. } => {
            format!("step-started {plan}.{step}/{attempt}")
        }
        Record::StepFinished { plan, step, attempt, result, .. } => {
            format!("step-finished {plan}.{step}/{attempt} {result:?}")
        }
        Record::Fenced { plan, proof, .. } => {
            format!("fenced {plan}: level {}: {}", proof.level(), proof.words())
        }
        Record::Activated { site, epoch, .. } => format!("activated {site} epoch {epoch}"),
        Record::PlanClosed { plan, held: None, .. } => format!("plan-closed {plan}"),
        Record::PlanClosed { plan, held: Some(why), .. } => format!("plan-held {plan}: {why}"),
        Record::DeliveryStarted { notification, attempt, .. } => {
            format!("delivery-started {notification}/{attempt}")
        }
        Record::DeliveryFinished { notification, attempt, failure, .. } => {
            format!("delivery-finished {notification}/{attempt} {failure:?}")
        }
        Record::AutomationHeld { by, .. } => format!("held by {by}"),
        Record::AutomationResumed { by, .. } => format!("resumed by {by}"),
        Record::ReadinessChanged { why, .. } => format!("readiness: {why:?}"),
        Record::StopOrdered { deed, .. } => format!("emergency stop: {deed:?}"),
        Record::HostOrdered { host, deed, .. } => format!("{} ordered for {host}", deed.word()),
        Record::TaskOrdered { host, task, .. } => format!("`{task}` ordered for {host}"),
        Record::TaskEnded { request, exit, .. } => format!("task {request} ended: {exit}"),
        Record::Considered { decision, .. } => format!("considered: {decision:?}"),
        Record::ApprovalAsked { .. } => "approval-asked".into(),
        Record::RpoExceeded { .. } => "rpo-exceeded".into(),
        Record::TokenCreated { .. }
        | Record::TokenRedeemed { .. }
        | Record::CertificateNoted { .. }
        | Record::CertificateRevoked { .. } => "trust".into(),
    }
}
