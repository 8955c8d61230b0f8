//! What agents of this small world promise each other (A6): just enough of it
//! that a coordinator which counts wrongly brings two sites to life.

use crate::world::{World, group, spec};
use failover::GroupSpec;
use model::{HostId, Mono};

/// The policy of most scenarios, with failsafe.
pub(crate) fn failsafe_spec() -> GroupSpec {
    GroupSpec { failsafe: true, ..spec() }
}

impl World {
    /// Every active host without a fresh grant asks every other site's hosts.
    pub(crate) fn ask_for_promises(&mut self) {
        let now = self.mono;
        let names: Vec<HostId> = self.agents.keys().cloned().collect();
        for name in names {
            let agent = &self.agents[&name];
            let half = failsafe_spec().timing().failsafe_ask();
            let live = agent.alive && agent.promoted && agent.lease_until.is_some_and(|l| l > now);
            if !live || agent.failsafe_over || agent.granted + half > now || self.apart {
                continue;
            }
            let Some(peers) = agent.peers.clone().filter(|peers| !peers.is_empty()) else {
                continue;
            };
            let epoch = agent.epoch;
            let mut all = true;
            for peer in peers {
                let other = self.agents.get_mut(&peer.host).unwrap();
                if !other.alive || peer.address.is_empty() {
                    all = false;
                    continue;
                }
                let refuses = other.epoch > epoch
                    || other.fencing
                    || other.promoted
                    || other.lease_until.is_some();
                if refuses {
                    all = false;
                    self.agents.get_mut(&name).unwrap().failsafe_over = true;
                    continue;
                }
                let until = now + spec().timing().lapse();
                other.promised_until = other.promised_until.max(Some(until));
            }
            if all {
                let timing = spec().timing();
                let agent = self.agents.get_mut(&name).unwrap();
                agent.lease_until = Some(Mono(now.0 + timing.lease.0 - timing.gate_margin.0));
                agent.failsafe = true;
            }
        }
    }

    /// The agent's process starts again: it may have forgotten a promise.
    pub(crate) fn restart(&mut self, name: &str) {
        let now = self.mono;
        let agent = self.agent(name);
        if !agent.alive {
            agent.boot += 1;
            agent.alive = true;
            if agent.peers.is_some() && !agent.promoted {
                agent.promised_until = Some(now + spec().timing().lapse());
            }
        }
        agent.cut = false;
        self.step(failover::Event::SessionOpened { host: crate::world::host(name) });
    }

    /// Whose promises the committed epoch may live by.
    pub(crate) fn frozen(&self) -> Option<Vec<HostId>> {
        self.state().groups[&group()].failsafe.clone()
    }
}
