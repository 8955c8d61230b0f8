//! What coordinators say, as agent/src/driver/inbound.rs takes it.

use super::{Host, ledger::Done, outbound::interval};
use crate::{
    message::Message,
    scene::Scene,
    stage::{Node, place},
};
use agent::{
    guard::{self, Admission, View},
    keeper::{Waiting, Why},
    lease::Heard,
    ledger::Entry,
};
use model::{
    Action, Command, Epoch, GroupAssignment, LeaseReply, Mono, Outcome, Refusal, StepReport, Term,
};

impl Host {
    pub(super) fn hear(&mut self, from: Node, message: &Message, scene: &mut Scene) {
        match message {
            Message::Welcome(number) => self.welcomed(from, *number, scene),
            Message::Assign(session, number, term, groups) => {
                let line = self.agent.sessions.iter_mut().find(|line| line.is(from, *session));
                if line.is_some_and(|line| line.newer(*number)) {
                    self.on_assignment(groups, *term, scene);
                }
            }
            Message::Command(command) => self.on_command(from, command.as_ref().clone(), scene),
            Message::Answer(reply, relayed) => self.on_lease(reply.clone(), *relayed, scene),
            Message::Bye => self.dismissed(from, self.now(scene)),
            Message::Promise(request) => self.on_asked(from, request, scene),
            Message::Promised(reply) => self.on_answered(from, reply, scene),
            Message::Raft(_)
            | Message::Hello(_)
            | Message::Heartbeat(_)
            | Message::Report(_)
            | Message::Ask(_)
            | Message::Link(_)
            | Message::Linked(_)
            | Message::Unlinked(_)
            | Message::Up(..)
            | Message::Down(..) => {}
        }
    }

    fn on_assignment(&mut self, groups: &[GroupAssignment], term: Term, scene: &mut Scene) {
        let stale = term < self.agent.ledger.memory().term();
        self.saw_term(term, scene);
        for assigned in groups {
            self.saw_epoch(assigned.epoch, scene);
            if stale || assigned.epoch < self.agent.lease.epoch() {
                continue;
            }
            self.agent.beat.every(interval(assigned.lease));
            self.agent.barrier.assigned(assigned);
            self.agent.assignment = Some(assigned.clone());
        }
    }

    fn saw_term(&mut self, term: Term, scene: &mut Scene) {
        if term > self.agent.ledger.memory().term() {
            self.agent.ledger.append(self.node, vec![Entry::Term(term)], None, scene);
        }
    }

    /// A1: a higher epoch closes at once; the disk follows.
    fn saw_epoch(&mut self, epoch: Epoch, scene: &mut Scene) {
        let now = self.now(scene);
        if self.adopt(epoch, now, Why::Over, scene) {
            self.agent.beat.want();
        }
        let group = scene.names.group.clone();
        if epoch > self.agent.ledger.memory().epoch(&group) {
            let entries = vec![Entry::Epoch { group, epoch }];
            self.agent.ledger.append(self.node, entries, None, scene);
        }
    }

    /// The lease is over, and what is under way with it.
    pub(super) fn shut(&mut self, now: Mono, why: Why, scene: &mut Scene) {
        self.agent.lease.give_up();
        self.agent.asker.shut();
        self.follow_lease(now, scene);
        self.agent.keeper.close(now, why);
    }

    pub(super) fn adopt(&mut self, epoch: Epoch, now: Mono, why: Why, scene: &mut Scene) -> bool {
        let higher = self.agent.lease.adopt(epoch);
        if higher {
            scene.say(self.node, || format!("has seen epoch {epoch}"));
            self.agent.asker.shut();
            self.follow_lease(now, scene);
            // What stands behind the closed gate never ran under any epoch.
            self.agent.keeper.overtake(now, why);
        }
        higher
    }

    fn on_lease(&mut self, reply: LeaseReply, relayed: bool, scene: &mut Scene) {
        if let LeaseReply::Granted(grant) = &reply {
            self.saw_term(grant.term, scene);
        }
        let now = self.now(scene);
        let heard = self.agent.lease.on_reply(reply, now);
        if let Some(sent) = self.agent.lease.granted() {
            self.agent.asker.granted(sent);
        }
        match heard {
            Heard::Extended { opened, .. } => {
                scene.history.counts.relayed += u64::from(relayed);
                let epoch = self.agent.lease.epoch();
                self.follow_lease(now, scene);
                if opened {
                    scene.say(self.node, || format!("the lease is live under epoch {epoch}"));
                    let memory = self.agent.ledger.memory();
                    let held = memory.group(&scene.names.group).and_then(|known| known.active());
                    let started = held.is_some_and(|held| !held.started.is_empty());
                    self.agent.keeper.opened(now, started);
                    self.agent.beat.want();
                }
            }
            Heard::Superseded(epoch) => {
                scene.say(self.node, || format!("superseded by epoch {epoch}"));
                self.shut(now, Why::Over, scene);
                self.agent.beat.want();
                let entries = vec![Entry::Epoch { group: scene.names.group.clone(), epoch }];
                self.agent.ledger.append(self.node, entries, None, scene);
            }
            Heard::NothingNew | Heard::NotGranted(_) | Heard::Dropped(_) => {}
        }
    }

    fn on_command(&mut self, from: Node, command: Command, scene: &mut Scene) {
        let now = self.now(scene);
        let until = guard::until(&command, now);
        let waiting = Waiting { until, command, from };
        if self.agent.keeper.has(&waiting.command.id) {
            return self.saw_term(waiting.command.term, scene);
        }
        let at_once = matches!(waiting.command.action, Action::Fence);
        match self.admit(&waiting, now, scene) {
            Admission::Repeat(outcome) => self.repeat(&waiting.command, outcome, scene),
            Admission::Run(entries) if at_once => self.fence(waiting, entries, now, scene),
            Admission::Refuse(refusal) if at_once => self.refuse(&waiting, refusal, scene),
            // Compared again when its turn comes.
            Admission::Run(_) | Admission::Refuse(_) => {
                let _crowded = self.agent.keeper.submit(waiting);
            }
        }
    }

    pub(super) fn admit(&self, waiting: &Waiting, now: Mono, scene: &Scene) -> Admission {
        let view = View {
            own: &scene.names.hosts[place(self.node)],
            memory: self.agent.ledger.memory(),
            allowed: &self.allowed,
            feeds: &[],
            lease_live: self.agent.lease.live(now),
            promised: self.agent.barrier.left(now),
            barred: "",
            until: waiting.until,
            now,
        };
        guard::admit(&waiting.command, &view)
    }

    /// A7: an outcome that the disk does not have yet is not told.
    pub(super) fn repeat(&self, command: &Command, outcome: Outcome, scene: &mut Scene) {
        if !self.agent.unsettled.contains(&command.id) {
            let report = self.report_of(command, outcome, scene);
            self.report(&report, scene);
        }
    }

    pub(super) fn refuse(&self, waiting: &Waiting, refusal: Refusal, scene: &mut Scene) {
        scene.say(self.node, || format!("refuses {}: {refusal}", waiting.command.id));
        let report = self.report_of(&waiting.command, Outcome::Refused(refusal), scene);
        self.report_to(waiting.from, report.into(), scene);
    }

    pub(super) fn report_of(
        &self,
        command: &Command,
        outcome: Outcome,
        scene: &Scene,
    ) -> StepReport {
        StepReport {
            host: scene.names.hosts[place(self.node)].clone(),
            id: command.id.clone(),
            group: command.group.clone(),
            epoch: command.epoch,
            outcome,
        }
    }

    pub(super) fn on_durable(&mut self, done: Done, scene: &mut Scene) {
        match done {
            Done::Intent(waiting) => self.carry_out(waiting, scene),
            Done::Outcome(report) => {
                self.agent.unsettled.remove(&report.id);
                self.tell(report, scene);
            }
        }
    }
}
