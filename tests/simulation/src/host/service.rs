//! The exclusive service of a host: a container that lives on without the
//! agent, and trades from its start until it is stopped.

use crate::{
    clock::{MS, Us},
    history::Served,
    scene::{Coming, Scene},
    stage::Node,
};
use model::ServiceState;

/// A kill takes so long at most.
const STOP_MAX: Us = 30 * MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Stopped,
    Starting { well: bool },
    Running,
    Stopping,
    Failed,
}

/// The service on one host.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    host: Node,
    phase: Phase,
    since: Option<Us>,
    number: u64,
    /// How many of the next starts fail.
    pub(crate) bad_starts: u32,
}

impl Service {
    pub(crate) const fn new(host: Node) -> Self {
        Self { host, phase: Phase::Stopped, since: None, number: 0, bad_starts: 0 }
    }

    /// Starts it; one that runs is left alone.
    pub(crate) fn start(&mut self, scene: &mut Scene) {
        match self.phase {
            Phase::Starting { .. } | Phase::Running => {}
            Phase::Stopped | Phase::Stopping | Phase::Failed => {
                self.seal(scene);
                let well = self.bad_starts == 0;
                self.bad_starts = self.bad_starts.saturating_sub(1);
                self.phase = Phase::Starting { well };
                self.since = Some(scene.now);
                let (low, high) = scene.setting.start;
                let took = scene.rng.between(low, high) * MS;
                self.in_a_while(took, scene);
            }
        }
    }

    /// Kills it; it is gone a little later.
    pub(crate) fn stop(&mut self, scene: &mut Scene) {
        match self.phase {
            Phase::Stopped | Phase::Failed | Phase::Stopping => {}
            Phase::Starting { .. } | Phase::Running => {
                self.phase = Phase::Stopping;
                let took = scene.rng.between(MS, STOP_MAX);
                self.in_a_while(took, scene);
            }
        }
    }

    /// It ends by itself, or with its machine.
    pub(crate) fn die(&mut self, with_machine: bool, scene: &mut Scene) {
        let ran = self.runs();
        self.seal(scene);
        self.number += 1;
        if with_machine {
            self.phase = Phase::Stopped;
        } else if ran {
            self.phase = Phase::Failed;
        }
    }

    fn in_a_while(&mut self, took: Us, scene: &mut Scene) {
        self.number += 1;
        let (node, number) = (self.host, self.number);
        scene.at(scene.now + took, Coming::Service { node, number });
    }

    /// What was begun is over.
    pub(crate) fn changed(&mut self, number: u64, scene: &mut Scene) {
        if number != self.number {
            return;
        }
        self.phase = match self.phase {
            Phase::Starting { well: true } => Phase::Running,
            Phase::Starting { well: false } => {
                self.seal(scene);
                Phase::Failed
            }
            Phase::Stopping => {
                self.seal(scene);
                Phase::Stopped
            }
            same @ (Phase::Stopped | Phase::Running | Phase::Failed) => same,
        };
    }

    /// Writes down until when it traded.
    pub(crate) fn seal(&mut self, scene: &mut Scene) {
        if let Some(from) = self.since.take() {
            scene.history.served.push(Served { host: self.host, from, until: scene.now });
        }
    }

    pub(crate) const fn runs(&self) -> bool {
        match self.phase {
            Phase::Starting { .. } | Phase::Running | Phase::Stopping => true,
            Phase::Stopped | Phase::Failed => false,
        }
    }

    pub(crate) const fn state(&self) -> ServiceState {
        match self.phase {
            Phase::Stopped => ServiceState::Stopped,
            Phase::Starting { .. } => ServiceState::Starting,
            Phase::Running | Phase::Stopping => ServiceState::Running,
            Phase::Failed => ServiceState::Failed,
        }
    }
}
