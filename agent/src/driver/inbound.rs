//! What coordinators say, one kind at a time.

use super::{Driver, now};
use crate::{
    guard::{self, Admission, View},
    keeper::{Waiting, Why},
    lease::Heard as LeaseHeard,
    ledger::{Entry, LedgerError},
    session::Heard,
};
use model::{
    Action, Command, Epoch, GroupAssignment, GroupId, LeaseRefusal, LeaseReply, Mono, Outcome,
    ProbeName, Refusal, Term,
};

impl Driver {
    pub(super) fn on_heard(&mut self, peer: usize, heard: Heard) -> Result<(), LedgerError> {
        if !self.peers.knows(peer) {
            return Ok(());
        }
        match heard {
            Heard::Up(reports) => {
                self.peers.session_up(peer, reports);
                self.send_again(peer);
            }
            Heard::Welcome(addresses) => self.peers.welcomed(addresses),
            Heard::Assignment { groups, term, order, stops } => {
                let current = term >= self.ledger.memory().term();
                if current {
                    self.on_stops(stops);
                }
                self.on_assignment(groups, term)?;
                if let Some(order) = order.filter(|_| current) {
                    self.on_order(peer, order);
                }
            }
            Heard::Command(command) => self.on_command(peer, command)?,
            Heard::Down => self.peers.session_down(peer),
            Heard::LeaseUp(requests) => {
                self.peers.lease_up(peer, requests);
                // Whoever has just come back is asked at once.
                let now = now();
                self.groups.values_mut().for_each(|group| group.ask_at = now);
            }
            Heard::Lease(reply) => self.on_lease(reply)?,
            Heard::LeaseDown => self.peers.lease_down(peer),
        }
        Ok(())
    }

    fn on_assignment(
        &mut self,
        groups: Vec<GroupAssignment>,
        term: Term,
    ) -> Result<(), LedgerError> {
        let stale = term < self.ledger.memory().term();
        self.saw_term(term)?;
        for assigned in groups {
            // Whoever says so: an epoch is spoken of only once it is committed (A1).
            self.saw_epoch(&assigned.group, assigned.epoch)?;
            let Some(group) = self.groups.get_mut(&assigned.group) else {
                tracing::debug!(group = %assigned.group, "agent.toml has nothing of this group");
                continue;
            };
            if stale || assigned.epoch < group.lease.epoch() {
                tracing::debug!(group = %assigned.group, %term, "ignoring what is out of date");
                continue;
            }
            let expected = assigned.active.as_ref() == Some(&assigned.site);
            self.probes.expect(&assigned.group, expected);
            group.barrier.assigned(&assigned);
            let before = group.assignment.take();
            group.assignment = Some(assigned.with_addresses_of(before.as_ref()));
            self.others_changed = true;
        }
        self.beat.every(self.groups.values().filter_map(|group| group.assignment.as_ref()));
        Ok(())
    }

    fn saw_term(&mut self, term: Term) -> Result<(), LedgerError> {
        if term > self.ledger.memory().term() {
            // Nothing is done because of it, so nothing waits for the disk.
            drop(self.ledger.append(vec![Entry::Term(term)])?);
        }
        Ok(())
    }

    /// A1: a higher epoch closes at once; the disk follows.
    fn saw_epoch(&mut self, group: &GroupId, epoch: Epoch) -> Result<(), LedgerError> {
        let Some(known) = self.groups.get_mut(group) else { return Ok(()) };
        if known.adopt(epoch, now(), Why::Over) {
            self.beat.want();
        }
        if epoch > self.ledger.memory().epoch(group) {
            drop(self.ledger.append(vec![Entry::Epoch { group: group.clone(), epoch }])?);
        }
        Ok(())
    }

    fn on_lease(&mut self, reply: LeaseReply) -> Result<(), LedgerError> {
        let name = match &reply {
            LeaseReply::Granted(grant) => {
                let (group, term) = (grant.group.clone(), grant.term);
                self.saw_term(term)?;
                group
            }
            // The term of one that refuses may be a candidate's, and is not adopted.
            LeaseReply::Refused { group, .. } => group.clone(),
        };
        let now = now();
        let Some(group) = self.groups.get_mut(&name) else { return Ok(()) };
        let heard = group.lease.on_reply(reply, now);
        if let Some(sent) = group.lease.granted() {
            group.asker.granted(sent);
        }
        match heard {
            LeaseHeard::Extended { opened, .. } => {
                group.follow_lease(now);
                group.refusal = None;
                if opened {
                    let held = self.ledger.memory().group(&name).and_then(|known| known.active());
                    let started = held.is_some_and(|held| !held.started.is_empty());
                    tracing::info!(group = %name, epoch = %group.lease.epoch(), "the lease is live");
                    group.keeper.opened(now, started);
                    self.beat.want();
                }
            }
            LeaseHeard::NothingNew => {}
            LeaseHeard::Superseded(epoch) => {
                tracing::info!(group = %name, %epoch, "superseded");
                group.shut(now, Why::Over);
                self.beat.want();
                drop(self.ledger.append(vec![Entry::Epoch { group: name, epoch }])?);
            }
            // Two of three coordinators always say so.
            LeaseHeard::NotGranted(LeaseRefusal::NotLeader) => {}
            LeaseHeard::NotGranted(reason) => {
                let reason = reason.to_string();
                if group.refusal.as_ref() != Some(&reason) {
                    tracing::info!(group = %name, reason, "the lease was not granted");
                    group.refusal = Some(reason);
                }
            }
            LeaseHeard::Dropped(reason) => {
                tracing::debug!(group = %name, %reason, "an answer to a lease request is dropped");
            }
        }
        Ok(())
    }

    /// A7: what was done is told again, what is at work goes on, and a fence
    /// does not wait for its turn.
    fn on_command(&mut self, peer: usize, command: Command) -> Result<(), LedgerError> {
        let now = now();
        let until = guard::until(&command, now);
        let waiting = Waiting { until, command, from: peer };
        let known = self.groups.get(&waiting.command.group);
        if known.is_some_and(|group| group.keeper.has(&waiting.command.id)) {
            return self.saw_term(waiting.command.term);
        }
        let at_once = matches!(waiting.command.action, Action::Fence) || known.is_none();
        match self.admit(&waiting, now) {
            Admission::Repeat(outcome) => {
                self.repeat(&waiting.command, outcome);
                Ok(())
            }
            Admission::Run(entries) if at_once => self.fence(waiting, entries, now),
            Admission::Refuse(refusal) if at_once => {
                self.refuse(&waiting, refusal);
                Ok(())
            }
            // Compared again when its turn comes: what goes before may change it.
            Admission::Run(_) | Admission::Refuse(_) => {
                let Some(group) = self.groups.get_mut(&waiting.command.group) else {
                    return Ok(());
                };
                if let Some(waiting) = group.keeper.submit(waiting) {
                    let id = &waiting.command.id;
                    tracing::warn!(%id, "too many commands wait; dropped until it is repeated");
                }
                Ok(())
            }
        }
    }

    pub(super) fn admit(&self, waiting: &Waiting, now: Mono) -> Admission {
        let name = &waiting.command.group;
        let group = self.groups.get(name);
        let feeds: Vec<ProbeName> = self.probes.feeds_of(name).cloned().collect();
        let view = View {
            own: &self.host,
            memory: self.ledger.memory(),
            allowed: &self.allowed,
            feeds: &feeds,
            lease_live: group.is_some_and(|group| group.lease.live(now)),
            promised: group.and_then(|group| group.barrier.left(now)),
            barred: group.map_or("", |group| group.barred.as_str()),
            until: waiting.until,
            now,
        };
        guard::admit(&waiting.command, &view)
    }

    /// A7: an outcome that the disk does not have yet is not told; it is once it does.
    pub(super) fn repeat(&self, command: &Command, outcome: Outcome) {
        if !self.unsettled.contains(&command.id) {
            self.peers.report(&self.report_of(command, outcome));
        }
    }

    pub(super) fn refuse(&mut self, waiting: &Waiting, refusal: Refusal) {
        let command = &waiting.command;
        tracing::warn!(
            id = %command.id, action = command.action.word(), group = %command.group,
            reason = %refusal, "refused a command"
        );
        // Only to the one that sent it: a refusal of a stale leader's command
        // means nothing to the next leader.
        let report = self.report_of(command, Outcome::Refused(refusal));
        self.peers.report_to(waiting.from, &report);
    }
}
