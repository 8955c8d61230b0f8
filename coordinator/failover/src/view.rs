//! What this coordinator thinks of the hosts: opinion, never journaled.
//!
//! Every coordinator keeps one, so that a new leader does not begin blind.

use crate::feed::FeedState;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use model::{Heartbeat, HostId, Millis, Mono, ProbeKind, ProbeName, ServiceName, ServiceState};

/// Hosts that a coordinator keeps in mind: ten times the largest installation
/// that the figures speak of would not fit its memory goal.
const HOSTS_MAX: usize = 20_000;
/// Former starts of an agent that are known to be over. What such a process
/// said may come late, through another voter; it is on its way for seconds at
/// most, and systemd does not start an agent more often in that time.
const FORMER_MAX: usize = 8;

/// One host as last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// When it was last heard, by this coordinator's clock.
    pub heard: Mono,
    /// What it said then.
    pub heartbeat: Heartbeat,
    /// The longest silence of late, and when it ended: what comes first after one
    /// may have waited in the network for as long.
    pub silence: (Millis, Mono),
    /// Earlier starts of its agent, the newest last: what they said is over.
    pub former: Vec<u64>,
    /// Since when each service has been in its present state.
    pub since: BTreeMap<ServiceName, (ServiceState, Mono)>,
    /// Since when each feed has been in its present state.
    pub feeds: BTreeMap<ProbeName, (FeedState, Mono)>,
}

impl HostView {
    /// Whether what it says now may have waited through a silence longer than
    /// `suspicion`: for as long as that after the silence's end.
    #[must_use]
    pub fn catches_up(&self, suspicion: Millis) -> bool {
        let (length, end) = self.silence;
        length > suspicion && self.heard.since(end) < suspicion
    }

    /// The silence to remember once it is heard at `now`: the longer one, until
    /// it is over for as long as it lasted.
    fn silence_at(&self, now: Mono) -> (Millis, Mono) {
        let (length, end) = self.silence;
        let newest = now.since(self.heard);
        if newest > length || now.since(end) > length { (newest, now) } else { self.silence }
    }

    /// The starts that are over once its agent speaks as `boot`.
    fn former_at(&self, boot: u64) -> Vec<u64> {
        let mut former = self.former.clone();
        if self.heartbeat.boot != boot {
            former.push(self.heartbeat.boot);
            former.drain(..former.len().saturating_sub(FORMER_MAX));
        }
        former
    }
}

/// Every host as last heard.
#[derive(Debug, Clone, Default)]
pub struct View {
    hosts: BTreeMap<HostId, HostView>,
}

impl View {
    /// Takes in a heartbeat. An older one of the same start of the agent is
    /// dropped, and so is one of an earlier start; returns whether it was taken.
    pub(crate) fn observe(&mut self, heartbeat: Heartbeat, now: Mono) -> bool {
        let known = self.hosts.get(&heartbeat.host);
        if known.is_none() && self.hosts.len() >= HOSTS_MAX {
            return false;
        }
        let stale = known.is_some_and(|host| {
            let same = host.heartbeat.boot == heartbeat.boot;
            let older = same && host.heartbeat.sequence >= heartbeat.sequence;
            older || host.former.contains(&heartbeat.boot)
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
        let mut feeds = BTreeMap::new();
        for reading in heartbeat.readings.iter().filter(|r| r.kind == ProbeKind::Zeromq) {
            let state = FeedState::of(reading);
            let start = match known.and_then(|host| host.feeds.get(&reading.probe)) {
                Some((before, start)) if *before == state => *start,
                Some(_) | None => now,
            };
            feeds.insert(reading.probe.clone(), (state, start));
        }
        let former = known.map(|host| host.former_at(heartbeat.boot)).unwrap_or_default();
        let silence = known.map_or((Millis::ZERO, now), |host| host.silence_at(now));
        let host = heartbeat.host.clone();
        let view = HostView { heard: now, heartbeat, silence, former, since, feeds };
        self.hosts.insert(host, view);
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
            for (_, since) in host.feeds.values_mut() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::String, vec};
    use model::{Term, WatchdogState};

    fn beat(boot: u64, sequence: u64) -> Heartbeat {
        Heartbeat {
            host: HostId::new("p1").unwrap(),
            boot,
            sequence,
            term: Term(1),
            watchdog: WatchdogState::Absent,
            watchdog_timeout: None,
            peer: String::new(),
            isolation: String::new(),
            order: None,
            groups: vec![],
            services: vec![],
            readings: vec![],
            backups: vec![],
        }
    }

    #[test]
    fn c6_a_late_word_of_an_agent_that_is_dead_does_not_replace_its_successors() {
        let mut view = View::default();
        assert!(view.observe(beat(7, 40), Mono(1000)));
        assert!(view.observe(beat(3, 1), Mono(2000)), "the agent has started again");
        assert!(!view.observe(beat(7, 41), Mono(2100)), "relayed late, by another voter");
        assert!(view.observe(beat(3, 2), Mono(2200)));
        let host = HostId::new("p1").unwrap();
        let known = view.host(&host).unwrap();
        assert_eq!((known.heartbeat.boot, known.heard), (3, Mono(2200)));
        for boot in 100..200 {
            assert!(view.observe(beat(boot, 1), Mono(3000 + boot)));
        }
        assert_eq!(view.host(&host).unwrap().former.len(), FORMER_MAX);
    }

    #[test]
    fn what_waited_in_a_mended_cut_is_known_as_old() {
        let (mut view, host) = (View::default(), HostId::new("p1").unwrap());
        let suspicion = Millis(250);
        let mut hear = |sequence, at| {
            assert!(view.observe(beat(1, sequence), Mono(at)));
            view.host(&host).unwrap().catches_up(suspicion)
        };
        assert!(!hear(1, 1000) && !hear(2, 1050), "steady");
        // Cut for two seconds; then all that waited comes at once.
        assert!(hear(3, 3050) && hear(4, 3051) && hear(5, 3052), "it may be two seconds old");
        assert!(hear(6, 3100), "not certain yet");
        assert!(!hear(7, 3301), "steady for as long as suspicion takes");
        assert!(!hear(8, 3350) && !hear(9, 3550), "a missed heartbeat is no cut");
    }
}
