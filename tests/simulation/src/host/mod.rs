//! A host: its machine (gate, service, disk) and its agent, which is the real
//! agent's pure parts in the order in which agent/src/driver uses them.
//!
//! The machine goes on when the agent is paused or dead. Invariants as there:
//! what opens waits until the ledger is durable, what closes does not; at a
//! wake-up the timers come first.

mod gate;
mod inbound;
mod job;
mod ledger;
mod outbound;
mod promises;
mod service;
mod work;

use crate::{
    history::Seen,
    message::Message,
    rng::Rng,
    scene::Scene,
    stage::{Node, place},
};
use agent::{
    failsafe::{Asker, Barrier},
    guard::Allowed,
    keeper::{Keeper, Why},
    lease::Lease,
    ledger::Memory,
    stall::Stall,
};
use gate::Gate;
use job::Job;
use ledger::Ledger;
use model::{CommandId, GroupAssignment, Millis, Mono, ServiceState, StepReport};
use outbound::{Beat, Session};
use service::Service;
use std::collections::{BTreeSet, VecDeque};

/// The agent's process: everything that a crash takes.
#[derive(Debug)]
struct Agent {
    boot: u64,
    rng: Rng,
    ledger: Ledger,
    lease: Lease,
    keeper: Keeper,
    asker: Asker,
    barrier: Barrier,
    stall: Stall,
    assignment: Option<GroupAssignment>,
    settling: bool,
    ask_at: Mono,
    cancel: bool,
    beat: Beat,
    sessions: Vec<Session>,
    reports: VecDeque<StepReport>,
    unsettled: BTreeSet<CommandId>,
    job: Option<Job>,
    passing: bool,
    known: Option<Seen>,
    state: ServiceState,
}

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    node: Node,
    gate: Gate,
    /// Its service, which a fault may touch.
    pub(crate) service: Service,
    disk: Memory,
    agent: Agent,
    allowed: Vec<Allowed>,
    settled: Option<Seen>,
}

impl Host {
    pub(crate) fn new(node: Node, scene: &mut Scene) -> Self {
        let disk = Memory::default();
        let allowed = Allowed {
            service: scene.names.service.clone(),
            group: scene.names.group.clone(),
            exclusive: true,
        };
        Self {
            node,
            gate: Gate::new(node),
            service: Service::new(node),
            agent: Agent::start(node, &disk, scene),
            disk,
            allowed: vec![allowed],
            settled: None,
        }
    }

    /// The agent starts, or starts again.
    pub(crate) fn start(&mut self, scene: &mut Scene) {
        // The gate's unit loads it closed.
        self.gate.close(scene);
        self.agent = Agent::start(self.node, &self.disk, scene);
        self.go_on(scene);
    }

    /// The machine itself dies: gate and service with it.
    pub(crate) fn power_off(&mut self, scene: &mut Scene) {
        self.gate.close(scene);
        self.service.die(true, scene);
    }

    /// The run is over: what is open is written down.
    pub(crate) fn end(&mut self, scene: &mut Scene) {
        self.gate.close(scene);
        self.service.seal(scene);
    }

    /// The timer rings.
    pub(crate) fn wake(&mut self, scene: &mut Scene) {
        self.come_round(scene);
        self.go_on(scene);
    }

    /// A message arrives.
    pub(crate) fn take(&mut self, from: Node, message: &Message, scene: &mut Scene) {
        self.come_round(scene);
        self.hear(from, message, scene);
        self.go_on(scene);
    }

    /// A durable write has ended.
    pub(crate) fn written(&mut self, scene: &mut Scene) {
        let ended = self.agent.ledger.written(self.node, &mut self.disk, scene);
        self.note_durable(scene);
        if scene.lives[self.node].dying {
            return;
        }
        self.come_round(scene);
        for done in ended {
            self.on_durable(done, scene);
        }
        self.go_on(scene);
    }

    /// The service's state changes by itself, the agent lives or not.
    pub(crate) fn service_changed(&mut self, number: u64, awake: bool, scene: &mut Scene) {
        self.service.changed(number, scene);
        if awake {
            self.come_round(scene);
            self.go_on(scene);
        }
    }

    /// Whether the site serves here.
    pub(crate) fn serves(&self, scene: &Scene) -> bool {
        self.gate.is_open(scene.now) && self.service.state() == ServiceState::Running
    }

    fn now(&self, scene: &Scene) -> Mono {
        scene.mono(self.node)
    }

    /// What is due now, the closing first.
    fn go_on(&mut self, scene: &mut Scene) {
        let now = self.now(scene);
        if self.agent.lease.expire(now) {
            scene.say(self.node, || "the lease has run out".into());
            self.agent.asker.shut();
            self.follow_lease(now, scene);
            self.agent.keeper.close(now, Why::Lapse);
            self.agent.beat.want();
        }
        self.watch_service(now, scene);
        self.stand_by(now, scene);
        self.work(now, scene);
        self.ask_for_lease(now, scene);
        self.ask_for_promises(now, scene);
        self.sessions(now, scene);
        self.heartbeat(now, scene);
        self.rest();
        self.note(scene);
        let wake = self.next_wake(now);
        scene.wake(self.node, wake);
    }

    /// `ServicesChanged` of the real loop.
    fn watch_service(&mut self, now: Mono, scene: &Scene) {
        let state = self.service.state();
        if state != self.agent.state {
            self.agent.state = state;
            self.enforce(now, scene);
            self.agent.beat.want();
        }
    }

    fn next_wake(&self, now: Mono) -> Mono {
        let agent = &self.agent;
        let ask = self.may_ask().then_some(agent.ask_at);
        let job = agent.job.as_ref().map(Job::until);
        let sessions = agent.sessions.iter().filter_map(Session::due).min();
        let promises = self.failsafe(now).and_then(|(_, lease)| agent.asker.due(lease));
        let stall = agent.stall.due();
        [agent.lease.deadline(), agent.keeper.wake(), ask, job, sessions, promises, stall]
            .into_iter()
            .flatten()
            .chain([agent.beat.due()])
            .min()
            .unwrap_or_default()
    }

    /// Writes down what the agent knows, when it has changed.
    fn note(&mut self, scene: &mut Scene) {
        let memory = self.agent.ledger.memory();
        let seen = Seen {
            at: scene.now,
            host: self.node,
            boot: self.agent.boot,
            term: memory.term(),
            epoch: memory.epoch(&scene.names.group),
            durable: false,
        };
        let same = |known: Seen| (known.term, known.epoch) == (seen.term, seen.epoch);
        if !self.agent.known.is_some_and(same) {
            self.agent.known = Some(seen);
            scene.history.seen.push(seen);
        }
    }

    fn note_durable(&mut self, scene: &mut Scene) {
        let seen = Seen {
            at: scene.now,
            host: self.node,
            boot: self.agent.boot,
            term: self.disk.term(),
            epoch: self.disk.epoch(&scene.names.group),
            durable: true,
        };
        let same = |known: Seen| (known.term, known.epoch) == (seen.term, seen.epoch);
        if !self.settled.is_some_and(same) {
            self.settled = Some(seen);
            scene.history.seen.push(seen);
        }
    }
}

impl Agent {
    fn start(node: Node, disk: &Memory, scene: &mut Scene) -> Self {
        let now = scene.mono(node);
        let ledger = Ledger::open(disk);
        let (group, host) = (scene.names.group.clone(), scene.names.hosts[place(node)].clone());
        let seen = ledger.memory().epoch(&group);
        let mut keeper = Keeper::default();
        // A1: closed until a lease is live, whatever was running.
        keeper.close(now, Why::Over);
        let promoted = ledger.memory().group(&group).is_some_and(|known| known.active().is_some());
        let mut rng = scene.rng.fork();
        Self {
            boot: rng.draw(),
            rng,
            ledger,
            lease: Lease::new(group, host, seen),
            keeper,
            asker: Asker::default(),
            barrier: Barrier::at_start(now, promoted),
            stall: Stall::default(),
            assignment: None,
            settling: false,
            ask_at: now,
            cancel: false,
            beat: Beat::new(now),
            sessions: Session::all(now),
            reports: VecDeque::new(),
            unsettled: BTreeSet::new(),
            job: None,
            passing: false,
            known: None,
            state: ServiceState::Unknown,
        }
    }

    /// The lease's length, from who knows it best.
    fn length(&self) -> Millis {
        let assigned = self.assignment.as_ref().map(|assigned| assigned.lease);
        self.lease
            .length()
            .or(assigned.filter(|lease| *lease > Millis::ZERO))
            .unwrap_or(Millis::from_secs(5))
    }
}
