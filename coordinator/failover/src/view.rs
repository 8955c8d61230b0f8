//! What this coordinator thinks of the hosts: opinion, never journaled.
//!
//! Every coordinator keeps one, so that a new leader does not begin blind.

use alloc::collections::{BTreeMap, BTreeSet};
use model::{Heartbeat, HostId, Millis, Mono, ServiceName, ServiceState};

/// Hosts that a coordinator keeps in mind: ten times the largest installation
/// that the figures speak of would not fit its memory goal.
const HOSTS_MAX: usize = 20_000;

/// One host as last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// When it was last heard, by this coordinator's clock.
    pub heard: Mono,
    /// What it said then.
    pub heartbeat: Heartbeat,
    /// Since when each service has been in its present state.
    pub since: BTreeMap<ServiceName, (ServiceState, Mono)>,
}

/// Every host as last heard.
#[derive(Debug, Clone, Default)]
pub struct View {
    hosts: BTreeMap<HostId, HostView>,
}

impl View {
    /// Takes in a heartbeat. An older one of the same start of the agent is
    /// dropped; returns whether it was taken.
    pub(crate) fn observe(&mut self, heartbeat: Heartbeat, now: Mono) -> bool {
        let known = self.hosts.get(&heartbeat.host);
        if known.is_none() && self.hosts.len() >= HOSTS_MAX {
            return false;
        }
        let stale = known.is_some_and(|host| {
            host.heartbeat.boot == heartbeat.boot && host.heartbeat.sequence >= heartbeat.sequence
        });
        if stale {
            return false;
        }
        let mut since = BTreeMap::new();
        for service in &heartbeat.services {
            let before = known.and_then(|host| host.since.get(&service.service));
            let start = match before {
                Some((state, start)) if *state == service.state => *start,
                Some(_) | None => now,
            };
            since.insert(service.service.clone(), (service.state, start));
        }
        self.hosts.insert(heartbeat.host.clone(), HostView { heard: now, heartbeat, since });
        true
    }

    /// Takes a stall of our own out of every silence: what we could not hear
    /// is no evidence against anybody (C5: a late observer abstains).
    pub(crate) fn forgive(&mut self, stall: Millis, now: Mono) {
        for host in self.hosts.values_mut() {
            // What was heard during the stall needs no forgiveness.
            host.heard = (host.heard + stall).min(now);
            for (_, since) in host.since.values_mut() {
                *since = (*since + stall).min(now);
            }
        }
    }

    /// Forgets hosts that no group names and that are long silent.
    pub(crate) fn prune(&mut self, named: &BTreeSet<&HostId>, now: Mono, after: Millis) {
        self.hosts.retain(|host, view| named.contains(host) || now.since(view.heard) < after);
    }

    /// One host, when it has been heard.
    #[must_use]
    pub fn host(&self, host: &HostId) -> Option<&HostView> {
        self.hosts.get(host)
    }

    /// Every host that has been heard.
    pub fn hosts(&self) -> impl Iterator<Item = (&HostId, &HostView)> {
        self.hosts.iter()
    }
}
