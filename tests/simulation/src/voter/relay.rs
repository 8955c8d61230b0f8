//! Agents' sessions at a voter, its own eyes (C5), and relaying (C6), as
//! coordinator/src/{inbound,outbound}/agents.rs and coordinator/src/relay do it.
//!
//! A voter that does not lead holds one stream to the leader. What agents say
//! goes to its own engine and up; a renewal goes up only. What comes down goes
//! to an agent's own session here or nowhere. Streams are numbered: what comes
//! by one that is over is dropped, and told to whoever sent it.

use super::Voter;
use crate::{
    message::{Down, Message, Up},
    scene::{GIVE_UP, Scene},
    stage::{NODES, Node, VOTERS, W},
};
use failover::{Asker, Event};
use model::{Command, GroupAssignment, Heartbeat, LeaseReply, LeaseRequest, Millis, Mono};
use model::{StepReport, Term};
use std::rc::Rc;

/// As `TELL_EVERY` in coordinator/src/relay/sight.rs.
const LOOK_EVERY: Millis = Millis(50);
/// As in coordinator/src/relay/up.rs: first wait after a break, and the longest.
const RETRY: (Millis, Millis) = (Millis(50), Millis(1000));
/// As there: a silent cut ends the stream after this.
const LINK_GIVE_UP: u64 = 2_000_000;

/// An agent's session here; number 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seat {
    pub(super) number: u64,
    incarnation: u32,
}

/// The stream to the leader.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    to: Option<Node>,
    number: u64,
    up: bool,
    incarnation: u32,
    retry_at: Mono,
    wait: Millis,
    /// The newest assignment that came down for each host.
    assigned: [u64; NODES],
}

impl Uplink {
    /// When it is to be called again.
    pub(super) fn due(&self) -> Option<Mono> {
        (self.to.is_some() && !self.up).then_some(self.retry_at)
    }

    fn is(&self, to: Node, number: u64) -> bool {
        self.to == Some(to) && self.number == number
    }

    fn lose(&mut self, now: Mono) {
        (self.up, self.wait, self.retry_at) = (false, RETRY.0, now + RETRY.0);
    }
}

/// Another voter's stream to this leader.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relay {
    number: u64,
    incarnation: u32,
    sessions: [bool; NODES],
}

impl Voter {
    /// Looks at the hosts and at every connection.
    pub(super) fn look(&mut self, now: Mono, scene: &mut Scene) {
        self.check(scene);
        self.follow_leader(now, scene);
        if self.next_look <= now {
            self.next_look = now + LOOK_EVERY;
            self.lookout.tick(now);
            if self.uplink.up {
                let seen = self.lookout.report(now);
                self.up(Up::Observation(Rc::new(seen)), scene);
            }
        }
    }

    /// What the transport would notice: a cut after a while, a dead process at once.
    fn check(&mut self, scene: &mut Scene) {
        let node = self.node;
        let gone = |other: Node, incarnation: u32, limit: u64, scene: &Scene| {
            let peer = &scene.lives[other];
            let other_one = !peer.up || peer.incarnation != incarnation;
            other_one || scene.network.broken_for(node, other, scene.now) >= limit
        };
        for other in 0..VOTERS {
            if self.relays[other].is_some_and(|r| gone(other, r.incarnation, GIVE_UP, scene)) {
                self.relays[other] = None;
            }
        }
        for host in VOTERS..NODES {
            let seat = self.seats[host];
            if seat.number > 0 && gone(host, seat.incarnation, GIVE_UP, scene) {
                self.seats[host].number = 0;
                // It may have missed the last word, and can be told another way.
                if self.relays.iter().flatten().any(|relay| relay.sessions[host]) {
                    self.opened(host, scene);
                }
            }
        }
    }

    fn follow_leader(&mut self, now: Mono, scene: &mut Scene) {
        let leader = self.raft.leader().filter(|leader| *leader != self.node);
        let link = &mut self.uplink;
        if link.to != leader {
            *link = Uplink { to: leader, wait: RETRY.0, retry_at: now, ..Uplink::default() };
        }
        let Some(to) = leader else { return };
        if link.up {
            let peer = &scene.lives[to];
            let cut = scene.network.broken_for(self.node, to, scene.now) >= LINK_GIVE_UP;
            if cut || !peer.up || peer.incarnation != link.incarnation {
                link.lose(now);
            }
        } else if link.retry_at <= now {
            (link.number, link.assigned) = (scene.rng.draw() | 1, [0; NODES]);
            link.retry_at = now + link.wait;
            link.wait = link.wait.times(2).min(RETRY.1);
            scene.send(self.node, to, Message::Link(link.number), 0);
        }
    }

    fn up(&self, up: Up, scene: &mut Scene) {
        if let Some(to) = self.uplink.to.filter(|_| self.uplink.up) {
            scene.send(self.node, to, Message::Up(self.uplink.number, up), 0);
        }
    }

    fn opened(&mut self, host: Node, scene: &mut Scene) {
        // A witness has no engine but for what is committed.
        if self.node != W
            && let Some(host) = self.host_of(host, scene)
        {
            self.step(Event::SessionOpened { host }, scene);
        }
    }

    pub(super) fn greet(&mut self, from: Node, number: u64, scene: &mut Scene) {
        if from < VOTERS {
            return;
        }
        scene.send(self.node, from, Message::Welcome(number), 0);
        if self.seats[from].number != number {
            let incarnation = scene.lives[from].incarnation;
            self.seats[from] = Seat { number, incarnation };
            self.opened(from, scene);
            self.up(Up::Session(from), scene);
        }
    }

    pub(super) fn heartbeat(&mut self, from: Node, said: &Rc<Heartbeat>, scene: &mut Scene) {
        if !self.serves(from) {
            return scene.send(self.node, from, Message::Bye, 0);
        }
        let now = scene.mono(self.node);
        self.lookout.heard(&said.host, now);
        self.up(Up::Heartbeat(Rc::clone(said)), scene);
        if self.node != W {
            self.step(Event::Heartbeat(Box::new(said.as_ref().clone())), scene);
        }
    }

    pub(super) fn report(&mut self, said: &Rc<StepReport>, scene: &mut Scene) {
        self.up(Up::Report(Rc::clone(said)), scene);
        if self.node != W {
            self.step(Event::Report(Box::new(said.as_ref().clone())), scene);
        }
    }

    pub(super) fn renewal(&mut self, from: Node, request: &LeaseRequest, scene: &mut Scene) {
        if self.uplink.up {
            return self.up(Up::Renewal(from, request.clone()), scene);
        }
        let asker = Asker(from as u64);
        self.step(Event::Renewal { asker, request: request.clone() }, scene);
    }

    /// Another voter wants to relay: the leader alone takes it.
    pub(super) fn link(&mut self, from: Node, number: u64, scene: &mut Scene) {
        if self.leading.is_none() {
            return;
        }
        if self.relays[from].is_none_or(|relay| relay.number != number) {
            let incarnation = scene.lives[from].incarnation;
            self.relays[from] = Some(Relay { number, incarnation, sessions: [false; NODES] });
        }
        scene.send(self.node, from, Message::Linked(number), 0);
    }

    pub(super) fn linked(&mut self, from: Node, number: u64, scene: &mut Scene) {
        if !self.uplink.is(from, number) || self.uplink.up {
            return;
        }
        (self.uplink.up, self.uplink.wait) = (true, RETRY.0);
        self.uplink.incarnation = scene.lives[from].incarnation;
        for host in (VOTERS..NODES).filter(|host| self.serves(*host)) {
            self.up(Up::Session(host), scene);
        }
    }

    pub(super) fn unlinked(&mut self, from: Node, number: u64, scene: &Scene) {
        if self.uplink.is(from, number) && self.uplink.up {
            self.uplink.lose(scene.mono(self.node));
        }
    }

    /// The leader's side.
    pub(super) fn on_up(&mut self, from: Node, number: u64, up: &Up, scene: &mut Scene) {
        let Some(relay) = self.relays[from].as_mut().filter(|relay| relay.number == number) else {
            return scene.send(self.node, from, Message::Unlinked(number), 0);
        };
        let event = match up {
            Up::Session(host) => {
                relay.sessions[*host] = true;
                return self.opened(*host, scene);
            }
            Up::Observation(seen) => Event::Observed(seen.as_ref().clone()),
            Up::Renewal(host, request) => {
                // Which host, by which voter: see `answer`.
                let asker = Asker((NODES * (from + 1) + host) as u64);
                Event::Renewal { asker, request: request.clone() }
            }
            Up::Report(report) => Event::Report(Box::new(report.as_ref().clone())),
            Up::Heartbeat(heartbeat) => Event::Heartbeat(Box::new(heartbeat.as_ref().clone())),
        };
        self.step(event, scene);
    }

    /// What the leader sends goes to a session here, or nowhere.
    pub(super) fn on_down(&mut self, from: Node, number: u64, down: &Down, scene: &mut Scene) {
        if !self.uplink.is(from, number) || !self.uplink.up {
            return;
        }
        match down {
            Down::Lease(host, reply) => {
                scene.send(self.node, *host, Message::Answer(reply.clone(), true), 0);
            }
            Down::Command(host, command) => {
                if self.serves(*host) {
                    scene.send(self.node, *host, Message::Command(Rc::clone(command)), 0);
                }
            }
            Down::Assign(host, place, term, groups) => {
                // A stream keeps the order.
                if *place > self.uplink.assigned[*host] {
                    self.uplink.assigned[*host] = *place;
                    self.seat_assign(*host, *term, Rc::clone(groups), scene);
                }
            }
        }
    }

    fn seat_assign(
        &mut self,
        to: Node,
        term: Term,
        groups: Rc<Vec<GroupAssignment>>,
        scene: &mut Scene,
    ) {
        if self.serves(to) {
            self.assigned += 1;
            let message = Message::Assign(self.seats[to].number, self.assigned, term, groups);
            scene.send(self.node, to, message, 0);
        }
    }

    fn reaching(&self, host: Node) -> impl Iterator<Item = (Node, u64)> + use<> {
        let reaching = |relay: Option<Relay>| relay.filter(|relay| relay.sessions[host]);
        let streams = self.relays.map(|relay| reaching(relay).map(|relay| relay.number));
        streams.into_iter().enumerate().filter_map(|(via, number)| Some((via, number?)))
    }

    /// Directly, or else through every voter that can reach it.
    pub(super) fn assign(
        &mut self,
        to: Node,
        term: Term,
        groups: Rc<Vec<GroupAssignment>>,
        scene: &mut Scene,
    ) {
        if self.serves(to) {
            return self.seat_assign(to, term, groups, scene);
        }
        self.assigned += 1;
        for (via, number) in self.reaching(to) {
            let down = Down::Assign(to, self.assigned, term, Rc::clone(&groups));
            scene.send(self.node, via, Message::Down(number, down), 0);
        }
    }

    /// Every way there is.
    pub(super) fn command(&self, to: Node, command: Rc<Command>, scene: &mut Scene) {
        for (via, number) in self.reaching(to) {
            let down = Down::Command(to, Rc::clone(&command));
            scene.send(self.node, via, Message::Down(number, down), 0);
        }
        if self.serves(to) {
            scene.send(self.node, to, Message::Command(command), 0);
        }
    }

    /// The way that the renewal came.
    pub(super) fn answer(&self, asker: Asker, reply: LeaseReply, scene: &mut Scene) {
        let asker = usize::try_from(asker.0).unwrap_or(NODES);
        let (host, via) = (asker % NODES, asker / NODES);
        match via.checked_sub(1) {
            None => scene.send(self.node, host, Message::Answer(reply, false), 0),
            Some(via) => {
                if let Some(relay) = self.relays.get(via).copied().flatten() {
                    let down = Message::Down(relay.number, Down::Lease(host, reply));
                    scene.send(self.node, via, down, 0);
                }
            }
        }
    }
}
