//! The other two voters of the tests' world, with real lookouts: they hear what
//! the hosts say unless a test stops their ears, and tell the leader.

use crate::world::{World, host};
use failover::{Event, Lookout};
use model::{HostId, Mono};
use std::collections::{BTreeMap, BTreeSet};

/// One of them.
#[derive(Debug)]
pub(crate) struct Fellow {
    lookout: Lookout,
    /// Hosts that it does not hear.
    deaf_to: BTreeSet<HostId>,
    /// Hosts that it hears although the leader does not.
    hears: BTreeSet<HostId>,
    /// Nothing of it reaches the leader.
    pub(crate) mute: bool,
    /// It stands still: neither hears nor ticks.
    pub(crate) frozen: bool,
}

/// The second coordinator and the witness.
#[derive(Debug)]
pub(crate) struct Fellows(pub(crate) BTreeMap<&'static str, Fellow>);

/// Who votes, told to the first of them.
pub(crate) fn voters(names: &[&str]) -> Event {
    let own = names[0].to_owned();
    Event::Voters { own, voters: names.iter().map(ToString::to_string).collect() }
}

impl Fellows {
    pub(crate) fn new(now: Mono) -> Self {
        let fellow = |name: &str| Fellow {
            lookout: Lookout::new(name, now),
            deaf_to: BTreeSet::new(),
            hears: BTreeSet::new(),
            mute: false,
            frozen: false,
        };
        Self([("c2", fellow("c2")), ("w", fellow("w"))].into())
    }

    /// A host spoke, to the leader and to everybody.
    pub(crate) fn heard(&mut self, host: &HostId, now: Mono) {
        for fellow in self.0.values_mut().filter(|f| !f.frozen && !f.deaf_to.contains(host)) {
            fellow.lookout.heard(host, now);
        }
    }

    /// The wind has dropped: everybody hears and is heard.
    pub(crate) fn recover(&mut self) {
        for fellow in self.0.values_mut() {
            (fellow.mute, fellow.frozen) = (false, false);
            fellow.deaf_to.clear();
            fellow.hears.clear();
        }
    }
}

impl World {
    pub(crate) fn fellow(&mut self, name: &str) -> &mut Fellow {
        self.fellows.0.get_mut(name).unwrap()
    }

    /// The other voters hear a host that the leader may not hear.
    pub(crate) fn followers_see(&mut self, name: &str) {
        for fellow in ["c2", "w"] {
            self.fellow_sees(fellow, name);
        }
    }

    pub(crate) fn fellow_sees(&mut self, fellow: &str, name: &str) {
        let fellow = self.fellow(fellow);
        fellow.deaf_to.remove(&host(name));
        fellow.hears.insert(host(name));
    }

    /// The other voters do not hear a host that the leader may hear.
    pub(crate) fn followers_lose(&mut self, name: &str) {
        for fellow in ["c2", "w"] {
            let fellow = self.fellow(fellow);
            fellow.hears.remove(&host(name));
            fellow.deaf_to.insert(host(name));
        }
    }

    /// The other voters tick and tell the leader what they see.
    pub(crate) fn observe(&mut self) {
        let now = self.mono;
        let mut told = Vec::new();
        for fellow in self.fellows.0.values_mut().filter(|fellow| !fellow.frozen) {
            for host in &fellow.hears {
                fellow.lookout.heard(host, now);
            }
            fellow.lookout.tick(now);
            if !fellow.mute {
                told.push(fellow.lookout.report(now));
            }
        }
        for observation in told {
            self.step(Event::Observed(observation));
        }
    }

    /// The leader alone stands still: everybody else goes on without it.
    pub(crate) fn stall(&mut self, ms: u64) {
        let end = self.mono.0 + ms;
        while self.mono.0 < end {
            self.mono.0 = (self.mono.0 + 50).min(end);
            let speaking: Vec<HostId> = self
                .agents
                .iter()
                .filter(|(_, agent)| agent.alive && !agent.cut)
                .map(|(name, _)| name.clone())
                .collect();
            for name in &speaking {
                self.fellows.heard(name, self.mono);
            }
            for fellow in self.fellows.0.values_mut().filter(|fellow| !fellow.frozen) {
                fellow.lookout.tick(self.mono);
            }
        }
    }
}
