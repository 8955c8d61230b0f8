//! Promises between agents (A6) and stalls (A5), as agent/src/driver keeps them.

use super::Host;
use crate::{
    message::Message,
    scene::Scene,
    stage::{Node, P1, S1, place},
};
use agent::{
    failsafe::{Answer, Ask, Standing},
    lease::Heard,
};
use model::{Millis, Mono, Nonce, PeerAddress, PromiseReply, PromiseRequest};

impl Host {
    /// The loop has come round: a stall ends before anything that waited
    /// meanwhile is looked at.
    pub(super) fn come_round(&mut self, scene: &mut Scene) {
        let now = self.now(scene);
        if let Some(stalled) = self.agent.stall.round(now)
            && self.is_at_stake()
        {
            scene.say(self.node, || format!("a stall: {stalled}"));
            self.agent.lease.stall(now);
            self.agent.asker.stalled();
            self.follow_lease(now, scene);
            self.agent.ask_at = now;
            self.agent.beat.want();
        }
    }

    /// Where nothing is at stake the loop may sleep for long.
    pub(super) fn rest(&mut self) {
        if !self.is_at_stake() {
            self.agent.stall.rest();
        }
    }

    fn is_at_stake(&self) -> bool {
        self.agent.lease.deadline().is_some() || self.may_ask()
    }

    /// Has the gate follow a changed lease. A6: also a granted lease opens
    /// nothing while a promise binds.
    pub(super) fn follow_lease(&mut self, now: Mono, scene: &mut Scene) {
        let free = self.agent.barrier.left(now).is_none();
        match self.agent.lease.gate_until(now).filter(|_| free) {
            Some(deadline) => self.gate.open(self.agent.lease.epoch(), deadline, scene),
            None => self.gate.close(scene),
        }
    }

    /// The agents whose promises can carry the lease on, and its length.
    pub(super) fn failsafe(&self, now: Mono) -> Option<(&[PeerAddress], Millis)> {
        let agent = &self.agent;
        let assigned = agent.assignment.as_ref()?;
        let may = assigned.epoch == agent.lease.epoch() && self.may_ask();
        let lease = agent.lease.length().filter(|_| may && agent.lease.live(now))?;
        Some((assigned.failsafe.as_deref()?, lease))
    }

    pub(super) fn ask_for_promises(&mut self, now: Mono, scene: &mut Scene) {
        let Some((peers, lease)) = self.failsafe(now) else { return };
        if self.agent.asker.due(lease).is_none_or(|due| due > now) {
            return;
        }
        let names = &scene.names;
        let (own, epoch) = (&names.hosts[place(self.node)], self.agent.lease.epoch());
        let ask = Ask { group: &names.group, own, epoch, lease, peers };
        let mut asker = self.agent.asker.clone();
        let mut rng = self.agent.rng.clone();
        let requests = asker.begin(now, &ask, || Nonce(rng.draw()));
        (self.agent.asker, self.agent.rng) = (asker, rng);
        for (host, request) in requests {
            if let Some(to) = scene.names.node(&host) {
                scene.send(self.node, to, Message::Promise(request), 0);
            }
        }
    }

    /// A promise, or a refusal.
    pub(super) fn on_answered(&mut self, from: Node, reply: &PromiseReply, scene: &mut Scene) {
        let now = self.now(scene);
        let peer = scene.names.hosts[place(from)].clone();
        match self.agent.asker.on_reply(&peer, reply) {
            Answer::Complete(extension) => {
                let heard = self.agent.lease.extend_by_promises(&extension, now);
                if matches!(heard, Heard::Extended { .. }) {
                    scene.say(self.node, || "goes on by promises".into());
                    scene.history.counts.promised += 1;
                    self.follow_lease(now, scene);
                    self.agent.beat.want();
                }
            }
            Answer::Over { reason, .. } => {
                scene.say(self.node, || format!("failsafe is over: {reason}"));
                self.agent.beat.want();
            }
            Answer::Waiting | Answer::Dropped => {}
        }
    }

    /// Another agent asks for a promise.
    pub(super) fn on_asked(&mut self, from: Node, request: &PromiseRequest, scene: &mut Scene) {
        debug_assert!(from == P1 || from == S1);
        let now = self.now(scene);
        let memory = self.agent.ledger.memory();
        let known = memory.group(&request.group);
        let promoted = known.is_some_and(|known| known.active().is_some());
        let standing = Standing {
            own: &scene.names.hosts[place(self.node)],
            seen: self.agent.lease.epoch().max(memory.epoch(&request.group)),
            assignment: self.agent.assignment.as_ref(),
            active: promoted || self.agent.lease.deadline().is_some(),
        };
        let reply = self.agent.barrier.consider(request, &standing, now);
        // A restart must find what the promise rests on, or it would not bind there.
        let durable = self.disk.epoch(&request.group) >= standing.seen;
        let bound = matches!(reply, PromiseReply::Promised { .. });
        if bound && !durable && !scene.setting.hasty_promises {
            scene.say(self.node, || "does not promise before its epoch is durable".into());
            return;
        }
        scene.say(self.node, || match &reply {
            PromiseReply::Promised { .. } => "promises not to become active".into(),
            PromiseReply::Refused { reason, .. } => format!("refuses to promise: {reason}"),
        });
        self.agent.beat.want();
        scene.send(self.node, from, Message::Promised(reply), 0);
    }
}
