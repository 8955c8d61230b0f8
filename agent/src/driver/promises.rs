//! Promises between agents, as the loop keeps them (A6): when to ask, what an
//! answer leads to, and what is answered to others.

use super::{Driver, now, work::Done};
use crate::{
    failsafe::{Answer, Ask, Standing},
    lease::Heard,
    ledger::LedgerError,
    peer::{ANSWER_LIMIT, Answered, Asked},
};
use daemon::clock::boottime_ms;
use model::{GroupId, HostId, Mono, Nonce, PromiseRefusal, PromiseReply};
use std::collections::BTreeMap;
use tokio::{sync::oneshot, time::timeout};

/// Promises that may wait for the disk at once: a few rounds of a site's hosts.
/// The ledger ends the agent at 256 waiting writes, which questions of others
/// must never bring about.
const UNTOLD_MAX: usize = 16;

impl Driver {
    /// Connections to every agent whose promise may be needed, kept while this
    /// host is active: when the coordinators are gone they are there.
    pub(super) fn call_others(&mut self) {
        if !std::mem::take(&mut self.others_changed) {
            return;
        }
        let memory = self.ledger.memory();
        let mut wanted: BTreeMap<HostId, String> = BTreeMap::new();
        for group in self.groups.values().filter(|group| group.is_active(memory)) {
            let assigned = group.assignment.as_ref().and_then(|of| of.failsafe.as_deref());
            let known = assigned.unwrap_or_default().iter().filter(|at| !at.address.is_empty());
            wanted.extend(known.map(|at| (at.host.clone(), at.address.clone())));
        }
        self.others.call(&wanted);
    }

    /// Questions that are due, each group's to every host of every other site.
    pub(super) fn ask_for_promises(&mut self, now: Mono) {
        let memory = self.ledger.memory();
        for group in self.groups.values_mut() {
            let Some((peers, lease)) = group.failsafe(memory, now) else { continue };
            if group.asker.due(lease).is_none_or(|due| due > now) {
                continue;
            }
            let (own, epoch) = (&self.host, group.lease.epoch());
            let ask = Ask { group: &group.name, own, epoch, lease, peers };
            let mut asker = group.asker.clone();
            // A2: noted before it is sent.
            let sent = Mono(boottime_ms());
            let requests = asker.begin(sent, &ask, || Nonce(self.random.next_u64()));
            for (host, request) in requests {
                self.others.ask(&host, request);
            }
            group.asker = asker;
        }
    }

    /// A promise, or a refusal.
    pub(super) fn on_answered(&mut self, answered: &Answered) {
        let now = now();
        let (PromiseReply::Promised { group, .. } | PromiseReply::Refused { group, .. }) =
            &answered.reply;
        let Some(group) = self.groups.get_mut(group) else { return };
        let engaged = group.asker.engaged();
        match group.asker.on_reply(&answered.from, &answered.reply) {
            Answer::Complete(extension) => {
                let heard = group.lease.extend_by_promises(&extension, now);
                if !matches!(heard, Heard::Extended { .. }) {
                    tracing::debug!(group = %group.name, ?heard, "a round of promises is dropped");
                    return;
                }
                group.follow_lease(now);
                if !engaged {
                    tracing::warn!(
                        group = %group.name, epoch = %extension.epoch(),
                        "no coordinator grants the lease; it goes on by the promises of every \
                         other site's agents (failsafe)"
                    );
                    self.beat.want();
                }
            }
            Answer::Over { by, reason } => {
                tracing::warn!(
                    group = %group.name, %by, %reason,
                    "failsafe is over: another agent does not promise; without a grant the \
                     lease runs out"
                );
                self.beat.want();
            }
            Answer::Waiting | Answer::Dropped => {}
        }
    }

    /// Another agent asks for a promise. It is told of one once the ledger is
    /// durable as far as the promise rests on it (A6, see [`crate::failsafe`]).
    pub(super) fn on_asked(&mut self, asked: Asked) -> Result<(), LedgerError> {
        let (now, memory) = (now(), self.ledger.memory());
        let Asked { request, answer } = asked;
        let Some(group) = self.groups.get_mut(&request.group) else {
            let detail = format!("agent.toml has nothing of group `{}`", request.group);
            let reason = PromiseRefusal::Unknown { detail };
            let (host, nonce) = (self.host.clone(), request.nonce);
            let group: GroupId = request.group;
            // One that no longer waits takes silence for the same.
            let _ = answer.send(PromiseReply::Refused { group, host, nonce, reason });
            return Ok(());
        };
        let standing = Standing {
            own: &self.host,
            seen: group.lease.epoch().max(memory.epoch(&group.name)),
            assignment: group.assignment.as_ref(),
            active: group.is_active(memory) || group.lease.deadline().is_some(),
        };
        let free = group.barrier.left(now).is_none();
        let reply = group.barrier.consider(&request, &standing, now);
        match &reply {
            PromiseReply::Promised { .. } => {
                if free {
                    tracing::warn!(
                        group = %group.name, asker = %request.host, epoch = %request.epoch,
                        "promised not to become active for a while: the asker reaches no quorum"
                    );
                    self.beat.want();
                }
                self.tell_when_durable(reply, answer)
            }
            PromiseReply::Refused { reason, .. } => {
                tracing::info!(
                    group = %group.name, asker = %request.host, epoch = %request.epoch, %reason,
                    "refused to promise"
                );
                // As above.
                let _ = answer.send(reply);
                Ok(())
            }
        }
    }

    /// Silence where the disk does not follow: the asker then does not go on,
    /// and this host keeps out all the same.
    fn tell_when_durable(
        &mut self,
        reply: PromiseReply,
        answer: oneshot::Sender<PromiseReply>,
    ) -> Result<(), LedgerError> {
        if self.untold == UNTOLD_MAX {
            tracing::warn!("the disk is behind: a promise that was asked for is not given");
            return Ok(());
        }
        let durable = self.ledger.settled()?.settled();
        self.untold += 1;
        self.tasks.spawn(async {
            // Later than this nobody waits for it.
            let durable = timeout(ANSWER_LIMIT, durable).await.unwrap_or(false);
            Done::Promise { reply, answer, durable }
        });
        Ok(())
    }

    /// A promise that may be told, or that the disk was too slow for.
    pub(super) fn promised(
        &mut self,
        reply: PromiseReply,
        answer: oneshot::Sender<PromiseReply>,
        durable: bool,
    ) {
        self.untold = self.untold.saturating_sub(1);
        if durable {
            // One that no longer waits takes silence for the same.
            let _ = answer.send(reply);
        } else {
            tracing::warn!("the disk was too slow for a promise: the asker hears nothing");
        }
    }
}
