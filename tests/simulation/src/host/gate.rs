//! The kernel gate of a host: open until its element times out, whatever has
//! become of the agent. Its own clock is the host's.

use crate::{clock::Us, history::Open, scene::Scene, stage::Node};
use model::{Epoch, GateState, Mono};

/// The gate of the group on one host.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    host: Node,
    open: Option<Open>,
}

impl Gate {
    pub(crate) const fn new(host: Node) -> Self {
        Self { host, open: None }
    }

    /// The element is put in, or its timeout renewed.
    pub(crate) fn open(&mut self, epoch: Epoch, deadline: Mono, scene: &mut Scene) {
        let until = scene.clocks[self.host].when(deadline + scene.setting.late_gate);
        match &mut self.open {
            Some(open) if open.epoch == epoch && scene.now < open.until => open.until = until,
            Some(_) | None => {
                self.close(scene);
                self.open = Some(Open { host: self.host, epoch, from: scene.now, until });
            }
        }
    }

    /// The element is taken out, if it has not timed out before.
    pub(crate) fn close(&mut self, scene: &mut Scene) {
        if let Some(mut open) = self.open.take() {
            open.until = open.until.min(scene.now);
            if open.from < open.until {
                scene.history.gates.push(open);
            }
        }
    }

    pub(crate) fn is_open(&self, now: Us) -> bool {
        self.open.is_some_and(|open| now < open.until)
    }

    pub(crate) fn state(&self, now: Us) -> GateState {
        if self.is_open(now) { GateState::Open } else { GateState::Closed }
    }
}
