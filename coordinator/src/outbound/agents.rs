//! The agents' open sessions and lease streams, and the other voters' relays:
//! where commands, assignments and lease answers go out. Bounded everywhere:
//! what does not fit is dropped, and the core asks again.
//!
//! An agent may be reached directly, through other voters (C6), or both. An
//! assignment goes one way only, so that an older one cannot overtake a newer
//! one; a command goes every way, since agents do each command once (A5) and a
//! direct session may be dead for seconds before anybody knows.

use super::tasks::Tasks;
use failover::Asker;
use model::{Command, GroupAssignment, HostId, HostOrder, LeaseReply, StopOrder, Term};
use proto::v1::{self, coordinator_message::Body, relay_down::Body as Down};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::mpsc;

/// Messages that may wait for one agent: a plan's commands, several times over.
pub const QUEUE: usize = 64;
/// Messages that may wait for one relaying voter: a lease's answer for each of
/// a thousand agents, which a voter that reads at all takes at once.
pub const RELAY_QUEUE: usize = 1024;
/// Hosts that one voter may relay for: the scale figure's ten thousand agents.
const RELAYED_MAX: usize = 10_000;

type Out = mpsc::Sender<Result<v1::CoordinatorMessage, tonic::Status>>;
type LeaseOut = mpsc::Sender<Result<v1::LeaseReply, tonic::Status>>;
type RelayOut = mpsc::Sender<Result<v1::RelayDown, tonic::Status>>;

/// Where a lease's answer goes.
enum Back {
    /// To the agent's own stream.
    Direct(LeaseOut),
    /// To a voter, with its number for whoever asked.
    Relayed(RelayOut, u64),
}

/// One voter's relay.
struct Relay {
    number: u64,
    out: RelayOut,
    /// Hosts with a session at that voter.
    sessions: BTreeSet<HostId>,
    /// Our number for each host that asked for a lease there.
    askers: BTreeMap<HostId, Asker>,
}

#[derive(Default)]
struct Inner {
    sessions: BTreeMap<HostId, (u64, Out)>,
    leases: BTreeMap<Asker, Back>,
    relays: BTreeMap<String, Relay>,
    last: u64,
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The relay of this voter, unless a newer one took its place.
    fn relay(&mut self, voter: &str, number: u64) -> Option<&mut Relay> {
        self.relays.get_mut(voter).filter(|relay| relay.number == number)
    }

    fn end_relay(&mut self, voter: &str) {
        for asker in self.relays.remove(voter).into_iter().flat_map(|relay| relay.askers) {
            self.leases.remove(&asker.1);
        }
    }
}

/// Who is connected. Cheap to clone.
#[derive(Clone, Default)]
pub struct Agents(Arc<Mutex<Inner>>, Tasks);

impl Agents {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session is open; it replaces an older one of the same host.
    #[must_use]
    pub fn enter(&self, host: &HostId, out: Out) -> u64 {
        let mut inner = self.lock();
        let number = inner.number();
        inner.sessions.insert(host.clone(), (number, out));
        number
    }

    /// A session has ended, unless a newer one took its place. True when the
    /// host can still be reached, through another voter: it must be told then
    /// where its groups stand, since it may have missed the last word.
    #[must_use]
    pub fn leave(&self, host: &HostId, number: u64) -> bool {
        let mut inner = self.lock();
        if inner.sessions.get(host).is_some_and(|(current, _)| *current == number) {
            inner.sessions.remove(host);
        }
        inner.relays.values().any(|relay| relay.sessions.contains(host))
    }

    /// The hosts with a session here.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostId> {
        self.lock().sessions.keys().cloned().collect()
    }

    /// Whether a host has a session here.
    #[must_use]
    pub fn reaches(&self, host: &HostId) -> bool {
        self.lock().sessions.contains_key(host)
    }

    /// Tasks under way.
    #[must_use]
    pub const fn tasks(&self) -> &Tasks {
        &self.1
    }

    /// Hands a task to an agent with a session here; false when that cannot be.
    #[must_use]
    pub fn task(&self, host: &HostId, task: v1::HostTask) -> bool {
        self.send(host, Body::Task(task))
    }

    /// A lease stream is open.
    pub fn enter_lease(&self, asker: Asker, out: LeaseOut) {
        self.lock().leases.insert(asker, Back::Direct(out));
    }

    /// A lease stream has ended.
    pub fn leave_lease(&self, asker: Asker) {
        self.lock().leases.remove(&asker);
    }

    /// A voter's relay is open; it replaces an older one of the same voter.
    #[must_use]
    pub fn enter_relay(&self, voter: &str, out: RelayOut) -> u64 {
        let mut inner = self.lock();
        let number = inner.number();
        inner.end_relay(voter);
        let (sessions, askers) = (BTreeSet::new(), BTreeMap::new());
        inner.relays.insert(voter.to_owned(), Relay { number, out, sessions, askers });
        number
    }

    /// A voter's relay has ended, unless a newer one took its place.
    pub fn leave_relay(&self, voter: &str, number: u64) {
        let mut inner = self.lock();
        if inner.relay(voter, number).is_some() {
            inner.end_relay(voter);
        }
    }

    /// A host has a session at that voter; false when the relay is over or has
    /// too many of them.
    #[must_use]
    pub fn relays(&self, voter: &str, number: u64, host: &HostId) -> bool {
        let mut inner = self.lock();
        let Some(relay) = inner.relay(voter, number) else { return false };
        let room = relay.sessions.len() < RELAYED_MAX || relay.sessions.contains(host);
        if room {
            relay.sessions.insert(host.clone());
        }
        room
    }

    /// Our number for a host that asks for leases through that voter, where its
    /// answers go to `back`; `fresh` makes a new number.
    #[must_use]
    pub fn relayed_asker(
        &self,
        voter: &str,
        number: u64,
        host: &HostId,
        back: u64,
        fresh: impl FnOnce() -> Asker,
    ) -> Option<Asker> {
        let mut inner = self.lock();
        let relay = inner.relay(voter, number)?;
        let known = relay.askers.get(host).copied();
        if known.is_none() && relay.askers.len() >= RELAYED_MAX {
            return None;
        }
        let asker = known.unwrap_or_else(fresh);
        relay.askers.insert(host.clone(), asker);
        let out = relay.out.clone();
        inner.leases.insert(asker, Back::Relayed(out, back));
        Some(asker)
    }

    /// Sends the answer to a renewal; a full stream drops it, the agent asks again.
    pub fn answer(&self, asker: Asker, reply: LeaseReply) {
        match self.lock().leases.get(&asker) {
            Some(Back::Direct(out)) => {
                let _dropped_when_full = out.try_send(Ok(reply.into()));
            }
            Some(Back::Relayed(out, back)) => {
                let lease = v1::RelayedLease { asker: *back, reply: Some(reply.into()) };
                let _dropped_when_full = out.try_send(Ok(down(Down::Lease(lease))));
            }
            None => {}
        }
    }

    /// Sends a command, every way there is; false when there is none.
    #[must_use]
    pub fn command(&self, command: Command) -> bool {
        let host = command.host.clone();
        let command = v1::Command::from(command);
        let relayed = self.relay(&host, &Down::Command(command.clone()));
        self.send(&host, Body::Command(command)) || relayed
    }

    /// Tells an agent where its groups stand: directly, or else through every
    /// voter that can reach it. Without either it is told at its next session.
    pub fn assign(
        &self,
        host: &HostId,
        term: Term,
        groups: Vec<GroupAssignment>,
        order: Option<HostOrder>,
        stops: Vec<StopOrder>,
    ) {
        let groups = groups.into_iter().map(Into::into).collect();
        let order = order.map(Into::into);
        let stops = stops.into_iter().map(Into::into).collect();
        let assignment = v1::Assignment { groups, term: term.0, order, stops };
        if !self.send(host, Body::Assignment(assignment.clone())) {
            let relayed =
                v1::RelayedAssignment { host: host.to_string(), assignment: Some(assignment) };
            let _told_later = self.relay(host, &Down::Assignment(relayed));
        }
    }

    /// A leader's answer that came for a lease stream here.
    pub(crate) fn hand_lease(&self, asker: Asker, reply: v1::LeaseReply) {
        if let Some(Back::Direct(out)) = self.lock().leases.get(&asker) {
            let _dropped_when_full = out.try_send(Ok(reply));
        }
    }

    /// A leader's command that came for an agent here. It goes to a session or
    /// nowhere: what was relayed is not relayed again.
    pub(crate) fn hand_command(&self, command: v1::Command) {
        if let Ok(host) = HostId::new(command.host.clone()) {
            let _sent_again = self.send(&host, Body::Command(command));
        }
    }

    /// A leader's assignment that came for an agent here.
    pub(crate) fn hand_assignment(&self, host: &str, assignment: v1::Assignment) {
        if let Ok(host) = HostId::new(host) {
            let _told_later = self.send(&host, Body::Assignment(assignment));
        }
    }

    /// Through every voter that has a session with the host.
    fn relay(&self, host: &HostId, body: &Down) -> bool {
        let inner = self.lock();
        let reaching = inner.relays.values().filter(|relay| relay.sessions.contains(host));
        let sent = reaching.filter(|relay| relay.out.try_send(Ok(down(body.clone()))).is_ok());
        sent.count() > 0
    }

    /// Tells every agent which certificates are revoked.
    pub fn trust(&self, revoked: &BTreeMap<String, String>) {
        let revoked = revoked.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        self.broadcast(&Body::Trust(v1::TrustUpdate { revoked }));
    }

    /// Tells every agent who the coordinators are.
    pub fn welcome(&self, welcome: &v1::Welcome) {
        self.broadcast(&Body::Welcome(welcome.clone()));
    }

    fn broadcast(&self, body: &Body) {
        let hosts: Vec<HostId> = self.lock().sessions.keys().cloned().collect();
        for host in hosts {
            let _told_later = self.send(&host, body.clone());
        }
    }

    fn send(&self, host: &HostId, body: Body) -> bool {
        let message = v1::CoordinatorMessage { body: Some(body) };
        match self.lock().sessions.get(host) {
            Some((_, out)) => out.try_send(Ok(message)).is_ok(),
            None => false,
        }
    }
}

fn down(body: Down) -> v1::RelayDown {
    v1::RelayDown { body: Some(body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Action, AttemptId, CommandId, Epoch, GroupId, Millis, PlanId, StepId};

    fn host(name: &str) -> HostId {
        HostId::new(name).unwrap()
    }

    fn command(name: &str) -> Command {
        let (plan, step, attempt) = (PlanId(1), StepId(1), AttemptId(1));
        Command {
            id: CommandId { plan, step, attempt, part: 0 },
            term: Term(1),
            host: host(name),
            group: GroupId::new("fx").unwrap(),
            epoch: Epoch(1),
            deadline: Millis(1000),
            action: Action::Fence,
        }
    }

    #[test]
    fn c6_a_command_goes_every_way_and_an_assignment_one_way() {
        let agents = Agents::default();
        let (out, mut direct) = mpsc::channel(8);
        let (relay_out, mut relayed) = mpsc::channel(8);
        assert!(!agents.command(command("p1")), "nobody reaches it");
        let link = agents.enter_relay("w1", relay_out);
        assert!(agents.relays("w1", link, &host("p1")));
        assert!(agents.command(command("p1")) && !agents.command(command("s1")));
        agents.assign(&host("p1"), Term(1), vec![], None, vec![]);
        let number = agents.enter(&host("p1"), out);
        assert!(agents.command(command("p1")));
        agents.assign(&host("p1"), Term(1), vec![], None, vec![]);
        let bodies = std::iter::from_fn(|| relayed.try_recv().ok()).map(|m| m.unwrap().body);
        let kinds: Vec<bool> =
            bodies.map(|body| matches!(body, Some(Down::Assignment(_)))).collect();
        assert_eq!(kinds, [false, true, false], "one assignment by the relay: while it was needed");
        let direct: Vec<_> = std::iter::from_fn(|| direct.try_recv().ok()).collect();
        assert_eq!(direct.len(), 2);
        assert!(agents.leave(&host("p1"), number), "it is still reached, and must be told again");
        agents.leave_relay("w1", link);
        assert!(!agents.command(command("p1")));
    }

    #[test]
    fn a_newer_relay_of_a_voter_replaces_the_older_one() {
        let agents = Agents::default();
        let (out, mut relayed) = mpsc::channel(8);
        let old = agents.enter_relay("c2", out.clone());
        let asker = agents.relayed_asker("c2", old, &host("p1"), 5, || Asker(77)).unwrap();
        let new = agents.enter_relay("c2", out);
        assert!(agents.relayed_asker("c2", old, &host("p1"), 5, || Asker(78)).is_none());
        let refused = LeaseReply::Refused {
            group: GroupId::new("fx").unwrap(),
            nonce: model::Nonce(1),
            term: Term(1),
            reason: model::LeaseRefusal::NoQuorum,
        };
        agents.answer(asker, refused.clone());
        assert!(relayed.try_recv().is_err(), "who asked by the old one has nobody to answer to");
        agents.leave_relay("c2", old);
        let again = agents.relayed_asker("c2", new, &host("p1"), 6, || Asker(79)).unwrap();
        agents.answer(again, refused);
        let Down::Lease(lease) = relayed.try_recv().unwrap().unwrap().body.unwrap() else {
            panic!("no lease")
        };
        assert_eq!(lease.asker, 6);
    }
}
