//! Faults as they begin and end: deaths, starts, pauses, cuts, wishes.

use super::World;
use crate::{
    clock::{MS, Us},
    fault::{Fault, Wish},
    network::Network,
    raft::Disk,
    scene::Coming,
    stage::{NAMES, NODES, Node, VOTERS, place},
    voter::Voter,
};
use failover::{PlanKind, PlanRequest, Record, Request};

/// A process that died at a write is started again by systemd after this.
const RESTART: (Us, Us) = (100 * MS, 1500 * MS);

impl World {
    /// Puts the plan's faults into the queue, from now on.
    pub fn arm(&mut self) {
        self.begun = self.scene.now;
        for (at, planned) in self.plan.faults.iter().enumerate() {
            self.scene.at(self.begun + planned.at, Coming::Fault(at));
            self.scene.at(self.begun + planned.until, Coming::Over(at));
        }
    }

    pub(super) fn begin(&mut self, at: usize) {
        let Some(planned) = self.plan.faults.get(at).copied() else { return };
        self.scene.tell(|| format!("FAULT {}", planned.fault));
        let until = self.begun + planned.until;
        let now = self.scene.now;
        match planned.fault {
            Fault::Cut(from, to) => self.scene.network.cut(from, to, now),
            Fault::Isolate(node) => {
                for other in (0..NODES).filter(|other| *other != node) {
                    self.scene.network.cut(node, other, now);
                    self.scene.network.cut(other, node, now);
                }
            }
            Fault::Loss(from, to, n) => self.scene.network.link_mut(from, to).loss = n,
            Fault::Twice(from, to, n) => self.scene.network.link_mut(from, to).twice = n,
            Fault::Slow(from, to, us) => self.scene.network.link_mut(from, to).slow = us,
            Fault::Crash(node) => self.kill(node, until),
            Fault::PowerOff(node) => {
                self.kill(node, until);
                if node >= VOTERS {
                    self.hosts[place(node)].power_off(&mut self.scene);
                }
                self.scene.clocks[node].reboot(now);
            }
            Fault::DiesAtWrite(node, n, kept) => self.scene.lives[node].dies_in = Some((n, kept)),
            Fault::Pause(node) => {
                if self.scene.lives[node].up {
                    self.scene.lives[node].paused += 1;
                }
            }
            Fault::SlowDisk(node, us) => self.scene.lives[node].slow_disk = us,
            Fault::Step(node, ms) => self.scene.clocks[node].step(ms),
            Fault::ServiceDies(node) => {
                self.hosts[place(node)].service.die(false, &mut self.scene);
                self.poke(node);
            }
            Fault::StartsFail(node, n) => self.hosts[place(node)].service.bad_starts = n,
            Fault::Ask(node, wish) => self.ask(node, wish),
        }
    }

    pub(super) fn over(&mut self, at: usize) {
        let Some(planned) = self.plan.faults.get(at).copied() else { return };
        if planned.until > planned.at {
            self.scene.tell(|| format!("OVER  {}", planned.fault));
        }
        match planned.fault {
            Fault::Cut(from, to) => self.scene.network.heal(from, to),
            Fault::Isolate(node) => {
                for other in (0..NODES).filter(|other| *other != node) {
                    self.scene.network.heal(node, other);
                    self.scene.network.heal(other, node);
                }
            }
            Fault::Loss(from, to, _) => self.scene.network.link_mut(from, to).loss = 0,
            Fault::Twice(from, to, _) => self.scene.network.link_mut(from, to).twice = 0,
            Fault::Slow(from, to, _) => self.scene.network.link_mut(from, to).slow = 0,
            Fault::Pause(node) => self.resume(node),
            Fault::SlowDisk(node, _) => self.scene.lives[node].slow_disk = 0,
            Fault::DiesAtWrite(node, ..) => self.scene.lives[node].dies_in = None,
            Fault::PowerOff(node) => {
                if node >= VOTERS && self.scene.lives[node].up {
                    // `restart: always`, whatever the agent thinks of it.
                    self.hosts[place(node)].service.start(&mut self.scene);
                }
            }
            Fault::Crash(_)
            | Fault::Step(..)
            | Fault::ServiceDies(_)
            | Fault::StartsFail(..)
            | Fault::Ask(..) => {}
        }
    }

    /// Cuts these directions, until [`Self::mend`] or the end of all faults.
    pub fn cut(&mut self, pairs: impl Iterator<Item = (Node, Node)>) {
        for (from, to) in pairs {
            self.scene.tell(|| format!("FAULT cut {} -> {}", NAMES[from], NAMES[to]));
            self.scene.network.cut(from, to, self.scene.now);
        }
    }

    /// The network is whole.
    pub fn mend(&mut self) {
        self.scene.tell(|| "the network is whole".into());
        self.scene.network = Network::new(self.scene.setting.delay);
    }

    /// Somebody asks this coordinator for something.
    pub fn wish(&mut self, node: Node, wish: Wish) {
        self.ask(node, wish);
    }

    /// The process is gone; it starts again at `until`.
    fn kill(&mut self, node: Node, until: Us) {
        if !self.scene.lives[node].up {
            return;
        }
        self.scene.say(node, || "is dead".into());
        if let Some(slot) = self.voters.get_mut(node)
            && let Some(voter) = slot.take()
        {
            self.disks[node] = voter.disk().clone();
        }
        let life = &mut self.scene.lives[node];
        (life.up, life.dying, life.paused, life.dies_in) = (false, false, 0, None);
        life.incarnation += 1;
        self.held[node].clear();
        self.scene.at(until.max(self.scene.now), Coming::Start(node));
    }

    /// Whoever has just died at a write.
    pub(super) fn bury(&mut self, node: Node) {
        if self.scene.lives[node].dying {
            let after = self.scene.rng.between(RESTART.0, RESTART.1);
            self.kill(node, self.scene.now + after);
        }
    }

    pub(super) fn start(&mut self, node: Node) {
        let fresh = node < VOTERS && self.voters[node].is_none();
        if self.scene.lives[node].up && !fresh && self.steps > 0 {
            return;
        }
        self.scene.lives[node].up = true;
        self.scene.say(node, || format!("{} starts", NAMES[node]));
        match self.voters.get_mut(node) {
            Some(slot) => {
                let disk: &Disk = &self.disks[node];
                *slot = Some(Voter::start(node, disk, &mut self.scene));
            }
            None => self.hosts[place(node)].start(&mut self.scene),
        }
        self.bury(node);
    }

    /// A node that stood still goes on: its timers first, then what has gathered.
    pub(super) fn resume(&mut self, node: Node) {
        let life = &mut self.scene.lives[node];
        if life.paused == 0 {
            return;
        }
        life.paused -= 1;
        if life.paused > 0 || !life.up {
            return;
        }
        self.poke(node);
        for coming in std::mem::take(&mut self.held[node]) {
            if self.scene.lives[node].up {
                self.give(node, coming);
                self.bury(node);
            }
        }
    }

    /// The node looks at everything once.
    fn poke(&mut self, node: Node) {
        let life = &self.scene.lives[node];
        if life.up && life.paused == 0 {
            self.wake(node);
            self.bury(node);
        }
    }

    /// Somebody asks this coordinator, if it is there to answer.
    pub(super) fn ask(&mut self, node: Node, wish: Wish) {
        let (names, at) = (self.scene.names.clone(), self.scene.clocks[node].wall(self.scene.now));
        let plan = |kind, to| {
            Request::Plan(PlanRequest {
                group: names.group.clone(),
                kind,
                to,
                accept_proof: None,
                reason: String::new(),
                by: "ann".into(),
                request: format!("r{}", self.scene.now),
            })
        };
        let group = Some(names.group.clone());
        let request = match wish {
            Wish::Switchover => plan(PlanKind::Switchover, Some(names.sites[1].clone())),
            Wish::Failback => plan(PlanKind::Failback, None),
            Wish::Failover(host) => {
                plan(PlanKind::Failover, Some(names.sites[place(host)].clone()))
            }
            Wish::Hold => Request::Write(Box::new(Record::AutomationHeld {
                group,
                by: "ann".into(),
                reason: "she wants to look".into(),
                at,
            })),
            Wish::Resume => {
                Request::Write(Box::new(Record::AutomationResumed { group, by: "ann".into(), at }))
            }
        };
        self.request(node, request);
    }

    pub(super) fn request(&mut self, node: Node, request: Request) {
        let life = &self.scene.lives[node];
        if life.up
            && life.paused == 0
            && let Some(Some(voter)) = self.voters.get_mut(node)
        {
            voter.ask(request, &mut self.scene);
            self.bury(node);
        }
    }
}
