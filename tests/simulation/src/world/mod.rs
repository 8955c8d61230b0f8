//! The world: nodes, and the loop that gives each its events in the order of
//! true time.

mod harm;
mod phases;

pub use phases::Stats;

use crate::{clock::Us, history::History};
use crate::{
    draw::Plan,
    host::Host,
    message::Message,
    raft::Disk,
    rng::Rng,
    scene::{Coming, Line, Scene},
    stage::{NODES, Names, Node, VOTERS, place},
    voter::Voter,
};
use model::NameError;

/// What may wait for a node that stands still: its sockets' buffers; the rest is lost.
const HELD_MAX: usize = 256;
/// So many events in one microsecond are a node that never comes to rest.
const RESTLESS: u64 = 10_000;

/// Five nodes and what is between them.
#[derive(Debug)]
pub struct World {
    scene: Scene,
    plan: Plan,
    begun: Us,
    voters: [Option<Voter>; VOTERS],
    disks: [Disk; VOTERS],
    hosts: [Host; 2],
    held: [Vec<Coming>; NODES],
    steps: u64,
}

impl World {
    /// Everybody starts at once, with empty disks.
    ///
    /// # Errors
    /// None with the names that the simulation has.
    pub fn new(plan: Plan, told: bool) -> Result<Self, NameError> {
        let names = Names::new()?;
        let rng = Rng::new(plan.seed ^ 0x5EED);
        let mut scene = Scene::new(names, plan.setting.clone(), rng, told);
        for life in &mut scene.lives {
            life.up = true;
        }
        let hosts = [Host::new(VOTERS, &mut scene), Host::new(VOTERS + 1, &mut scene)];
        let mut world = Self {
            scene,
            plan,
            begun: 0,
            voters: [None, None, None],
            disks: Default::default(),
            hosts,
            held: Default::default(),
            steps: 0,
        };
        for node in 0..NODES {
            world.start(node);
        }
        Ok(world)
    }

    /// What happened, once the run is over.
    #[must_use]
    pub fn into_history(self) -> (History, Vec<Line>) {
        (self.scene.history, self.scene.lines.unwrap_or_default())
    }

    /// True time.
    #[must_use]
    pub const fn now(&self) -> Us {
        self.scene.now
    }

    /// Runs until this true time.
    pub fn run_until(&mut self, until: Us) {
        let (mut since, mut count) = (self.scene.now, 0);
        while let Some(coming) = self.scene.next(until) {
            self.steps += 1;
            // Time that does not go on would be a run without an end.
            count = if self.scene.now == since { count + 1 } else { 0 };
            since = self.scene.now;
            if count > RESTLESS {
                let what = format!("time stands still at {coming:?}");
                self.scene.history.forks.push(what);
                self.scene.now = until;
                return;
            }
            self.handle(coming);
        }
    }

    /// Who it is for, where it is for a process.
    const fn process(coming: &Coming) -> Option<Node> {
        match coming {
            Coming::Arrive { to, .. } => Some(*to),
            Coming::Result { node, .. } | Coming::Durable { node, .. } => Some(*node),
            Coming::Wake(node) => Some(*node),
            Coming::Again { .. }
            | Coming::Accept(_)
            | Coming::Service { .. }
            | Coming::Fault(_)
            | Coming::Over(_)
            | Coming::Start(_) => None,
        }
    }

    fn handle(&mut self, coming: Coming) {
        if let Some(node) = Self::process(&coming) {
            if let Coming::Wake(_) = coming
                && !self.scene.rings(node)
            {
                return;
            }
            let life = &self.scene.lives[node];
            if !life.up {
                return;
            }
            if life.paused > 0 {
                // A timer is looked at anyway when it goes on.
                if !matches!(coming, Coming::Wake(_)) && self.held[node].len() < HELD_MAX {
                    self.held[node].push(coming);
                }
                return;
            }
            self.give(node, coming);
            self.bury(node);
            return;
        }
        match coming {
            Coming::Again { from, to, message, since } => {
                self.scene.again(from, to, *message, since);
            }
            Coming::Accept(number) => {
                self.scene.history.accepted.insert(number);
            }
            Coming::Service { node, number } => {
                let life = &self.scene.lives[node];
                let awake = life.up && life.paused == 0;
                self.hosts[place(node)].service_changed(number, awake, &mut self.scene);
                self.bury(node);
            }
            Coming::Fault(at) => self.begin(at),
            Coming::Over(at) => self.over(at),
            Coming::Start(node) => self.start(node),
            Coming::Arrive { .. }
            | Coming::Result { .. }
            | Coming::Durable { .. }
            | Coming::Wake(_) => {}
        }
    }

    /// Gives a running process what is for it.
    fn give(&mut self, node: Node, coming: Coming) {
        match coming {
            Coming::Wake(_) => self.wake(node),
            Coming::Arrive { from, message, .. } => self.deliver(from, node, &message),
            Coming::Result { incarnation, event, .. } => {
                if incarnation == self.scene.lives[node].incarnation
                    && let Some(voter) = &mut self.voters[node]
                {
                    voter.result(*event, &mut self.scene);
                }
            }
            Coming::Durable { incarnation, .. } => {
                if incarnation == self.scene.lives[node].incarnation {
                    self.hosts[place(node)].written(&mut self.scene);
                }
            }
            Coming::Again { .. }
            | Coming::Accept(_)
            | Coming::Service { .. }
            | Coming::Fault(_)
            | Coming::Over(_)
            | Coming::Start(_) => {}
        }
    }

    fn wake(&mut self, node: Node) {
        match self.voters.get_mut(node) {
            Some(Some(voter)) => voter.wake(&mut self.scene),
            Some(None) => {}
            None => self.hosts[place(node)].wake(&mut self.scene),
        }
    }

    fn deliver(&mut self, from: Node, to: Node, message: &Message) {
        match self.voters.get_mut(to) {
            Some(Some(voter)) => voter.take(from, message, &mut self.scene),
            Some(None) => {}
            None => self.hosts[place(to)].take(from, message, &mut self.scene),
        }
    }
}
