//! What leaves an agent without being asked: renewals, heartbeats, sessions.

use super::Host;
use crate::{
    message::Message,
    rng::Rng,
    scene::{GIVE_UP, Scene},
    stage::{C1, C2, Node, W, place},
};
use agent::lease::LEASE_MAX;
use model::{
    Derived, GroupStanding, Heartbeat, Millis, Mono, Nonce, ServiceStatus, StandbyMode, StepReport,
    WatchdogState,
};
use std::rc::Rc;

/// As in agent/src/driver: before an assignment, and out of turn.
const EVERY_DEFAULT: Millis = Millis(500);
const EXTRA_EVERY: Millis = Millis(20);
const INTERVAL_MIN: Millis = Millis(50);
/// As in agent/src/session: first wait after a lost connection, and the longest.
const RETRY: (Millis, Millis) = (Millis(100), Millis(1000));

/// T/10, at least 50 ms.
pub(super) fn interval(lease: Millis) -> Millis {
    lease.min(LEASE_MAX).div_ceil(10).max(INTERVAL_MIN)
}

/// When heartbeats are due.
#[derive(Debug, Clone)]
pub(super) struct Beat {
    every: Millis,
    next: Mono,
    wanted: bool,
    last: Mono,
    sequence: u64,
}

impl Beat {
    pub(super) const fn new(now: Mono) -> Self {
        Self { every: EVERY_DEFAULT, next: now, wanted: false, last: Mono(0), sequence: 0 }
    }

    pub(super) const fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn every(&mut self, every: Millis) {
        self.every = every;
        self.next = self.next.min(self.last + every);
    }

    pub(super) fn due(&self) -> Mono {
        if self.wanted { self.next.min(self.last + EXTRA_EVERY) } else { self.next }
    }

    fn take(&mut self, now: Mono) -> Option<u64> {
        if now < self.due() {
            return None;
        }
        (self.next, self.last, self.wanted) = (now + self.every, now, false);
        self.sequence += 1;
        Some(self.sequence)
    }
}

/// The line to one coordinator.
#[derive(Debug, Clone)]
pub(super) struct Session {
    to: Node,
    number: u64,
    up: bool,
    incarnation: u32,
    retry_at: Mono,
    wait: Millis,
    assigned: u64,
}

impl Session {
    pub(super) fn all(now: Mono) -> Vec<Self> {
        let line = |to| Self {
            to,
            number: 0,
            up: false,
            incarnation: 0,
            retry_at: now,
            wait: RETRY.0,
            assigned: 0,
        };
        [C1, C2, W].map(line).into()
    }

    pub(super) fn is(&self, to: Node, number: u64) -> bool {
        self.to == to && self.number == number
    }

    /// Assignments of one connection come in order.
    pub(super) fn newer(&mut self, number: u64) -> bool {
        let newer = number > self.assigned;
        self.assigned = self.assigned.max(number);
        newer
    }

    pub(super) fn due(&self) -> Option<Mono> {
        (!self.up).then_some(self.retry_at)
    }

    /// What the transport would notice: a cut after a while, a dead process at once.
    fn check(&mut self, from: Node, now: Mono, scene: &Scene) {
        let peer = &scene.lives[self.to];
        let gone = !peer.up || peer.incarnation != self.incarnation;
        if self.up && (gone || scene.network.broken_for(from, self.to, scene.now) >= GIVE_UP) {
            (self.up, self.wait) = (false, RETRY.0);
            self.retry_at = now + self.wait;
        }
    }

    /// Calls again, where it is time to.
    fn call(&mut self, now: Mono, rng: &mut Rng) -> Option<u64> {
        if self.up || self.retry_at > now {
            return None;
        }
        (self.number, self.assigned) = (rng.draw() | 1, 0);
        self.retry_at = now + self.wait;
        self.wait = self.wait.times(2).min(RETRY.1);
        Some(self.number)
    }
}

impl Host {
    pub(super) fn may_ask(&self) -> bool {
        let agent = &self.agent;
        let mut groups = agent.ledger.memory().groups();
        !agent.settling && groups.any(|(_, known)| known.active().is_some())
    }

    /// Renewals, to every voter (A2: the time is noted before).
    pub(super) fn ask_for_lease(&mut self, now: Mono, scene: &mut Scene) {
        if self.agent.ask_at > now || !self.may_ask() {
            return;
        }
        self.agent.ask_at = now + interval(self.agent.length());
        let nonce = Nonce(self.agent.rng.draw());
        let assigned = self.agent.assignment.as_ref().map(|assigned| assigned.lease);
        let derived = assigned.filter(|lease| *lease > Millis::ZERO).map(Derived::of);
        let request = self.agent.lease.request(now, nonce, derived);
        for to in [C1, C2, W] {
            scene.send(self.node, to, Message::Ask(request.clone()), 0);
        }
    }

    pub(super) fn sessions(&mut self, now: Mono, scene: &mut Scene) {
        for line in &mut self.agent.sessions {
            line.check(self.node, now, scene);
            if let Some(number) = line.call(now, &mut self.agent.rng) {
                scene.send(self.node, line.to, Message::Hello(number), 0);
            }
        }
    }

    /// The voter has given the session up.
    pub(super) fn dismissed(&mut self, from: Node, now: Mono) {
        for line in self.agent.sessions.iter_mut().filter(|line| line.to == from && line.up) {
            (line.up, line.wait) = (false, RETRY.0);
            line.retry_at = now + line.wait;
        }
    }

    pub(super) fn welcomed(&mut self, from: Node, number: u64, scene: &mut Scene) {
        let found = self.agent.sessions.iter_mut().find(|line| line.is(from, number) && !line.up);
        let Some(line) = found else { return };
        (line.up, line.wait) = (true, RETRY.0);
        line.incarnation = scene.lives[from].incarnation;
        let reports: Vec<_> = self.agent.reports.iter().cloned().map(Rc::new).collect();
        for report in reports {
            self.report_to(from, report, scene);
        }
        // Whoever has just come back is asked at once, and told.
        self.agent.ask_at = self.now(scene);
        self.agent.beat.want();
    }

    /// To every coordinator with a session; the others get it when they come back.
    pub(super) fn report(&self, report: &StepReport, scene: &mut Scene) {
        let report = Rc::new(report.clone());
        for line in self.agent.sessions.iter().filter(|line| line.up) {
            self.report_to(line.to, Rc::clone(&report), scene);
        }
    }

    pub(super) fn report_to(&self, to: Node, report: Rc<StepReport>, scene: &mut Scene) {
        scene.send(self.node, to, Message::Report(report), 0);
    }

    pub(super) fn heartbeat(&mut self, now: Mono, scene: &mut Scene) {
        let Some(sequence) = self.agent.beat.take(now) else { return };
        self.enforce(now, scene);
        let agent = &self.agent;
        let standing = GroupStanding {
            group: scene.names.group.clone(),
            epoch: agent.lease.epoch(),
            lease_left: agent.lease.left(now),
            gate: self.gate.state(scene.now),
            gate_detail: String::new(),
            failsafe: agent.asker.engaged() && agent.lease.live(now),
            promised: agent.barrier.left(now),
            barred: String::new(),
            stopped: false,
            stop_order: None,
        };
        let status = ServiceStatus {
            service: scene.names.service.clone(),
            group: scene.names.group.clone(),
            exclusive: true,
            standby: if scene.setting.gated { StandbyMode::Gated } else { StandbyMode::Stopped },
            state: self.service.state(),
            detail: String::new(),
        };
        let heartbeat = Rc::new(Heartbeat {
            host: scene.names.hosts[place(self.node)].clone(),
            boot: agent.boot,
            sequence,
            term: agent.ledger.memory().term(),
            watchdog: WatchdogState::Absent,
            watchdog_timeout: None,
            peer: "192.0.2.9:7443".into(),
            isolation: String::new(),
            order: None,
            groups: vec![standing],
            services: vec![status],
            readings: vec![],
            backups: vec![],
        });
        for line in agent.sessions.iter().filter(|line| line.up) {
            scene.send(self.node, line.to, Message::Heartbeat(Rc::clone(&heartbeat)), 0);
        }
    }
}
