//! What one voter sees of the hosts with its own ears (C5): the observer that
//! followers and the witness run, and that the leader's engine has built in.
//!
//! Pure: time is an argument. It knows no group and no lease; it says ages, and
//! the leader judges them by each group's own bounds. What it could not hear
//! because it stood still itself counts against nobody.

use crate::policy::OBSERVER_LATE;
use alloc::{collections::BTreeMap, string::String};
use model::{Derived, HostId, HostSilence, Millis, Mono, Observation};

/// Hosts kept in mind, as in the leader's view.
const HOSTS_MAX: usize = 20_000;
/// A host is forgotten after this long in silence.
const SILENT_KEPT: Millis = Millis::from_secs(3600);
/// The lease whose bounds are told, to be compared.
const COMPARED: Millis = Millis(5000);
/// The shortest lease there is. For its suspicion time after a stall this
/// observer abstains whatever the group; for longer ones the leader looks at `watched`.
const LEASE_MIN: Millis = Millis(500);

/// One observer.
#[derive(Debug, Clone)]
pub struct Lookout {
    name: String,
    heard: BTreeMap<HostId, Mono>,
    /// Since when it has been watching without a stall.
    since: Mono,
    stalled: bool,
    last_tick: Mono,
}

impl Lookout {
    /// An observer called `name` that begins to watch at `now`.
    #[must_use]
    pub fn new(name: impl Into<String>, now: Mono) -> Self {
        let (name, heard) = (name.into(), BTreeMap::new());
        Self { name, heard, since: now, stalled: false, last_tick: now }
    }

    /// A heartbeat of `host` came in, from the host itself and not through another voter.
    pub fn heard(&mut self, host: &HostId, now: Mono) {
        if let Some(last) = self.heard.get_mut(host) {
            *last = now;
        } else if self.heard.len() < HOSTS_MAX {
            self.heard.insert(host.clone(), now);
        }
    }

    /// Time passed. To be called at least every 50 ms: a call that is late by
    /// 200 ms or more is a stall, whose length is taken out of every silence.
    pub fn tick(&mut self, now: Mono) {
        let gap = now.since(self.last_tick);
        self.last_tick = now;
        if gap > OBSERVER_LATE {
            (self.since, self.stalled) = (now, true);
            for last in self.heard.values_mut() {
                // What was heard during the stall needs no forgiveness.
                *last = (*last + gap).min(now);
            }
        }
        self.heard.retain(|_, last| now.since(*last) < SILENT_KEPT);
    }

    /// What it sees at `now`.
    #[must_use]
    pub fn report(&self, now: Mono) -> Observation {
        let watched = now.since(self.since);
        let late = now.since(self.last_tick) > OBSERVER_LATE;
        let settling = self.stalled && watched < Derived::of(LEASE_MIN).suspicion;
        let silence = |(host, last): (&HostId, &Mono)| HostSilence {
            host: host.clone(),
            silence: now.since(*last),
        };
        Observation {
            observer: self.name.clone(),
            watched: if late { Millis::ZERO } else { watched },
            abstains: late || settling,
            hosts: self.heard.iter().map(silence).collect(),
            derived: Derived::of(COMPARED),
        }
    }
}
