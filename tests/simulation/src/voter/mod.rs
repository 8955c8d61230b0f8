//! A voter's process: the consensus and the real engine, tied together as the
//! coordinator's driver does it.
//!
//! What is applied goes in before anything else; an election is told to the
//! engine only when everything before it is applied and a quorum has confirmed
//! it; a result of an effect comes back as an event.

mod effects;
mod relay;

use crate::{
    clock::Us,
    message::Message,
    raft::{Disk, HEARTBEAT, Raft},
    scene::{Fate, Scene},
    stage::{NAMES, NODES, Node, VOTERS, W},
};
use failover::{
    Engine, Event, Lookout, Position, Request, RequestId, Round, Settings, State, Ticket,
};
use model::{HostId, Millis, Mono, Term};
use relay::{Relay, Seat, Uplink};
use std::collections::VecDeque;

/// How long an append or a round may take, as in coordinator/src/consensus.
const DEADLINE: Millis = Millis(2000);

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    place: (u64, u64),
    until: Mono,
}

#[derive(Debug)]
struct Asked {
    round: Round,
    number: u64,
    term: Term,
    applied: u64,
    until: Mono,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmed {
    No,
    Asked(Term, u64),
    Yes(Term),
}

/// One voter.
#[derive(Debug)]
pub(crate) struct Voter {
    node: Node,
    raft: Raft,
    engine: Engine,
    leading: Option<Term>,
    confirmed: Confirmed,
    applied: u64,
    waiting: Vec<Waiting>,
    rounds: Vec<Asked>,
    results: VecDeque<Event>,
    next_tick: Mono,
    seats: [Seat; NODES],
    uplink: Uplink,
    relays: [Option<Relay>; VOTERS],
    lookout: Lookout,
    next_look: Mono,
    assigned: u64,
    hooks: u64,
    requests: u64,
}

impl Voter {
    /// Starts with what the disk holds.
    pub(crate) fn start(node: Node, disk: &Disk, scene: &mut Scene) -> Self {
        let now = scene.clock(node);
        let settings =
            Settings { dns_hook: true, channels: vec!["log".into()], fence_hooks: vec![] };
        let raft = Raft::start(node, disk.clone(), now.mono, &mut scene.rng);
        let mut voter = Self {
            node,
            raft,
            engine: Engine::new(settings, now),
            leading: None,
            confirmed: Confirmed::No,
            applied: 0,
            waiting: Vec::new(),
            rounds: Vec::new(),
            results: VecDeque::new(),
            next_tick: now.mono,
            seats: [Seat::default(); NODES],
            uplink: Uplink::default(),
            relays: [None; VOTERS],
            lookout: Lookout::new(NAMES[node], now.mono),
            next_look: now.mono,
            assigned: 0,
            hooks: 0,
            requests: 0,
        };
        let names = NAMES[..VOTERS].iter().map(ToString::to_string).collect();
        voter.step(Event::Voters { own: NAMES[node].to_owned(), voters: names }, scene);
        if disk.commit > 0 {
            // As after a start of the real thing: one snapshot of all that is
            // known to be committed, then records.
            let mut state = State::default();
            for index in 1..=disk.commit {
                if let Some((position, Some(record))) = voter.raft.entry(index) {
                    state.apply(position, record);
                }
            }
            voter.applied = disk.commit;
            voter.step(Event::Restored { state: Box::new(state) }, scene);
        }
        voter.settle(scene);
        voter
    }

    /// What survives it.
    pub(crate) const fn disk(&self) -> &Disk {
        self.raft.disk()
    }

    /// The live state.
    pub(crate) const fn state(&self) -> &State {
        self.engine.state()
    }

    /// The term in which its engine leads.
    pub(crate) const fn leads(&self) -> Option<Term> {
        self.leading
    }

    /// Whether an agent's session is open here.
    pub(crate) const fn serves(&self, host: Node) -> bool {
        self.seats[host].number > 0
    }

    /// The node's timer rings, or it was woken up.
    pub(crate) fn wake(&mut self, scene: &mut Scene) {
        let now = scene.mono(self.node);
        self.raft.tick(now, &mut scene.rng);
        if self.next_tick <= now {
            self.next_tick = now + self.engine.tick_every();
            self.step(Event::Tick, scene);
        }
        self.expire(now);
        self.look(now, scene);
        self.settle(scene);
    }

    /// A message arrives.
    pub(crate) fn take(&mut self, from: Node, message: &Message, scene: &mut Scene) {
        match message {
            Message::Raft(talk) => {
                let now = scene.mono(self.node);
                self.raft.take(from, talk.clone(), now, &mut scene.rng);
            }
            Message::Hello(number) => self.greet(from, *number, scene),
            Message::Heartbeat(heartbeat) => self.heartbeat(from, heartbeat, scene),
            Message::Report(report) => self.report(report, scene),
            Message::Ask(request) => self.renewal(from, request, scene),
            Message::Link(number) => self.link(from, *number, scene),
            Message::Linked(number) => self.linked(from, *number, scene),
            Message::Unlinked(number) => self.unlinked(from, *number, scene),
            Message::Up(number, up) => self.on_up(from, *number, up, scene),
            Message::Down(number, down) => self.on_down(from, *number, down, scene),
            Message::Welcome(_)
            | Message::Answer(..)
            | Message::Assign(..)
            | Message::Command(_)
            | Message::Bye
            | Message::Promise(_)
            | Message::Promised(_) => {}
        }
        self.settle(scene);
    }

    fn host_of(&self, node: Node, scene: &Scene) -> Option<HostId> {
        scene.names.hosts.get(node.checked_sub(VOTERS)?).cloned()
    }

    /// An effect's result.
    pub(crate) fn result(&mut self, event: Event, scene: &mut Scene) {
        self.step(event, scene);
        self.settle(scene);
    }

    /// An operator asks for something.
    pub(crate) fn ask(&mut self, request: Request, scene: &mut Scene) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.step(Event::Request { id, request: Box::new(request) }, scene);
        self.settle(scene);
    }

    /// Appends and rounds that take too long end without an answer.
    fn expire(&mut self, now: Mono) {
        for late in self.waiting.extract_if(.., |waiting| waiting.until <= now) {
            let result = Err(failover::AppendFailure::Unknown("no answer in time".into()));
            self.results.push_back(Event::Appended { ticket: late.ticket, result });
        }
        for late in self.rounds.extract_if(.., |asked| asked.until <= now) {
            self.confirmed = Confirmed::No;
            self.results.push_back(Event::RoundEnded { round: late.round, confirmed: false });
        }
    }

    /// Carries everything through until nothing is left: the disk, what is
    /// committed, the leadership, and results.
    fn settle(&mut self, scene: &mut Scene) {
        loop {
            self.flush(scene);
            if scene.lives[self.node].dying {
                return;
            }
            if self.apply_next(scene) {
                continue;
            }
            self.rounds_ended();
            if self.follow_leadership(scene) {
                continue;
            }
            match self.results.pop_front() {
                Some(event) => self.step(event, scene),
                None if self.raft.unsynced() || self.raft.talks() => {}
                None => break,
            }
        }
        self.set_timer(scene);
    }

    fn set_timer(&self, scene: &mut Scene) {
        let silence = self.leading.map(|_| scene.mono(self.node) + HEARTBEAT);
        let waiting = self.waiting.iter().map(|waiting| waiting.until).min();
        let rounds = self.rounds.iter().map(|asked| asked.until).min();
        let others = [silence, waiting, rounds, self.uplink.due()].into_iter().flatten();
        let first = others.chain([self.raft.wake(), self.next_tick, self.next_look]).min();
        scene.wake(self.node, first.unwrap_or_default());
    }

    /// What waits for the disk goes there; then what was to be said is said.
    fn flush(&mut self, scene: &mut Scene) {
        let mut after: Us = 0;
        if self.raft.unsynced() {
            after = scene.disk(self.node);
            match scene.fate(self.node) {
                Fate::Well => self.raft.sync(),
                Fate::KeptWithoutNode => {
                    self.raft.sync();
                    return;
                }
                Fate::LostWithNode => return,
            }
        }
        for (to, talk) in self.raft.take_out() {
            scene.send(self.node, to, Message::Raft(talk), after);
        }
    }

    fn apply_next(&mut self, scene: &mut Scene) -> bool {
        if self.applied >= self.raft.committed() {
            return false;
        }
        self.applied += 1;
        let Some((position, record)) = self.raft.entry(self.applied) else { return true };
        let record = record.clone();
        scene.history.commit(scene.now, position, record.as_ref());
        if let Some(record) = record {
            let record = Box::new(record.as_ref().clone());
            self.step(Event::Committed { position, record }, scene);
        }
        self.answered(position);
        true
    }

    /// Appends that end with this place's commit.
    fn answered(&mut self, position: Position) {
        let here = |waiting: &mut Waiting| waiting.place.0 == position.index;
        for done in self.waiting.extract_if(.., here) {
            let result = if done.place.1 == position.term.0 {
                Ok(position)
            } else {
                Err(failover::AppendFailure::Unknown("leadership changed meanwhile".into()))
            };
            self.results.push_back(Event::Appended { ticket: done.ticket, result });
        }
    }

    fn rounds_ended(&mut self) {
        let (raft, applied) = (&self.raft, self.applied);
        let ended = |asked: &mut Asked| {
            let over = raft.term() != asked.term || !raft.leads();
            over || (raft.confirmed(asked.number)
                && applied >= asked.applied
                && applied >= raft.first_own())
        };
        for asked in self.rounds.extract_if(.., ended) {
            let confirmed = raft.term() == asked.term && raft.leads();
            if !confirmed {
                self.confirmed = Confirmed::No;
            }
            self.results.push_back(Event::RoundEnded { round: asked.round, confirmed });
        }
    }

    /// As `consensus/leadership.rs` and the driver's `follow_leadership`: may
    /// act, once a quorum has confirmed it since it may.
    fn follow_leadership(&mut self, scene: &mut Scene) -> bool {
        let now = scene.mono(self.node);
        let term = self.raft.term();
        let may = self.raft.leads() && self.node != W && self.raft.heard_quorum(now);
        self.confirmed = match self.confirmed {
            Confirmed::Asked(of, number) if may && of == term => {
                if self.raft.confirmed(number) && self.applied >= self.raft.first_own() {
                    Confirmed::Yes(of)
                } else {
                    Confirmed::Asked(of, number)
                }
            }
            Confirmed::Yes(of) if may && of == term => Confirmed::Yes(of),
            Confirmed::No | Confirmed::Asked(..) | Confirmed::Yes(_) if may => {
                Confirmed::Asked(term, self.raft.begin_round(now))
            }
            Confirmed::No | Confirmed::Asked(..) | Confirmed::Yes(_) => Confirmed::No,
        };
        let leads = matches!(self.confirmed, Confirmed::Yes(_)).then_some(term);
        if leads == self.leading {
            return false;
        }
        if self.leading.take().is_some() {
            self.hooks += 1;
            self.relays = [None; VOTERS];
            scene.say(self.node, || "no longer leading".into());
            self.step(Event::Deposed { term }, scene);
        }
        if let Some(term) = leads {
            self.leading = Some(term);
            scene.say(self.node, || format!("leading in term {term}"));
            self.step(Event::Elected { term }, scene);
        }
        true
    }
}
