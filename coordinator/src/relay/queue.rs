//! What waits to go up to the leader. Bounded: of heartbeats and observations
//! only the newest waits, the rest has a limit and is dropped beyond it.

use model::HostId;
use proto::v1::{self, relay_up::Body};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Hosts whose words may wait: the scale figure's ten thousand agents.
const HOSTS_MAX: usize = 10_000;
/// Renewals and reports that may wait: one of each for every host. More would
/// be older than the next heartbeat, with which the agent asks again.
const WORDS_MAX: usize = HOSTS_MAX;

#[derive(Default)]
struct Waiting {
    /// A leader takes what goes up.
    open: bool,
    sessions: VecDeque<HostId>,
    observation: Option<v1::Observation>,
    renewals: VecDeque<v1::RelayedRenewal>,
    reports: VecDeque<v1::StepReport>,
    heartbeats: BTreeMap<HostId, v1::Heartbeat>,
    /// Whose heartbeat went last, so that no host waits behind a crowd for ever.
    turn: Option<HostId>,
}

/// The queue of one uplink. What is put in while no leader takes it is dropped.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in when a leader takes it and `put` finds room.
    fn put(&self, put: impl FnOnce(&mut Waiting) -> bool) -> bool {
        let mut waiting = self.lock();
        let taken = waiting.open && put(&mut waiting);
        drop(waiting);
        if taken {
            self.wake.notify_one();
        }
        taken
    }

    /// A leader takes things now; these hosts have sessions here.
    pub(super) fn open(&self, hosts: impl IntoIterator<Item = HostId>) {
        let sessions = hosts.into_iter().take(HOSTS_MAX).collect();
        *self.lock() = Waiting { open: true, sessions, ..Waiting::default() };
        self.wake.notify_one();
    }

    /// The stream is gone, and with it whatever waited.
    pub(super) fn close(&self) {
        *self.lock() = Waiting::default();
    }

    pub(super) fn session(&self, host: &HostId) -> bool {
        self.put(|waiting| {
            let room = waiting.sessions.len() < HOSTS_MAX;
            if room {
                waiting.sessions.push_back(host.clone());
            }
            room
        })
    }

    pub(super) fn observation(&self, observation: v1::Observation) -> bool {
        self.put(|waiting| {
            waiting.observation = Some(observation);
            true
        })
    }

    pub(super) fn renewal(&self, renewal: v1::RelayedRenewal) -> bool {
        self.put(|waiting| {
            let room = waiting.renewals.len() < WORDS_MAX;
            if room {
                waiting.renewals.push_back(renewal);
            }
            room
        })
    }

    pub(super) fn report(&self, report: v1::StepReport) -> bool {
        self.put(|waiting| {
            let room = waiting.reports.len() < WORDS_MAX;
            if room {
                waiting.reports.push_back(report);
            }
            room
        })
    }

    pub(super) fn heartbeat(&self, host: &HostId, heartbeat: v1::Heartbeat) -> bool {
        self.put(|waiting| {
            let known = waiting.heartbeats.contains_key(host);
            let room = known || waiting.heartbeats.len() < HOSTS_MAX;
            if room {
                waiting.heartbeats.insert(host.clone(), heartbeat);
            }
            room
        })
    }

    /// The next thing to go up, when there is one.
    pub(super) async fn next(&self) -> v1::RelayUp {
        loop {
            // Made before the look: what is put in meanwhile wakes it.
            let woken = self.wake.notified();
            let body = self.lock().pop();
            if let Some(body) = body {
                return v1::RelayUp { body: Some(body) };
            }
            woken.await;
        }
    }
}

impl Waiting {
    /// Sessions and sight first, which are few; then leases, which end by the
    /// clock; then reports; heartbeats, of which another will come, last.
    fn pop(&mut self) -> Option<Body> {
        if let Some(host) = self.sessions.pop_front() {
            return Some(Body::SessionHost(host.into()));
        }
        if let Some(observation) = self.observation.take() {
            return Some(Body::Observation(observation));
        }
        if let Some(renewal) = self.renewals.pop_front() {
            return Some(Body::Renewal(renewal));
        }
        if let Some(report) = self.reports.pop_front() {
            return Some(Body::Report(report));
        }
        let after = self.turn.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.heartbeats.range((after, Bound::Unbounded)).next();
        let next = next.or_else(|| self.heartbeats.iter().next()).map(|(host, _)| host.clone())?;
        let heartbeat = self.heartbeats.remove(&next);
        self.turn = Some(next);
        heartbeat.map(Body::Heartbeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostId {
        HostId::new(name).unwrap()
    }

    fn beat(sequence: u64) -> v1::Heartbeat {
        v1::Heartbeat { sequence, ..v1::Heartbeat::default() }
    }

    fn all(queue: &Queue) -> Vec<Body> {
        std::iter::from_fn(|| queue.lock().pop()).collect()
    }

    #[test]
    fn what_nobody_takes_is_dropped_and_a_break_loses_what_waited() {
        let queue = Queue::default();
        assert!(!queue.heartbeat(&host("p1"), beat(1)) && !queue.renewal(Default::default()));
        queue.open([host("p1")]);
        assert!(queue.heartbeat(&host("p1"), beat(2)));
        assert_eq!(all(&queue).len(), 2);
        assert!(queue.report(v1::StepReport::default()));
        queue.close();
        assert_eq!(all(&queue), []);
        assert!(!queue.report(v1::StepReport::default()));
    }

    #[test]
    fn only_the_newest_heartbeat_of_a_host_waits_and_leases_go_first() {
        let queue = Queue::default();
        queue.open([]);
        for sequence in 1..=3 {
            assert!(queue.heartbeat(&host("p1"), beat(sequence)));
        }
        assert!(queue.heartbeat(&host("s1"), beat(9)));
        assert!(queue.renewal(v1::RelayedRenewal { asker: 7, request: None }));
        let order = all(&queue);
        assert!(matches!(&order[0], Body::Renewal(renewal) if renewal.asker == 7), "{order:?}");
        assert_eq!(order[1..], [Body::Heartbeat(beat(3)), Body::Heartbeat(beat(9))]);
    }

    #[test]
    fn every_queue_has_an_end() {
        let queue = Queue::default();
        queue.open([]);
        let renewals = (0..WORDS_MAX + 5).filter(|_| queue.renewal(Default::default())).count();
        let reports = (0..WORDS_MAX + 5).filter(|_| queue.report(Default::default())).count();
        let beats = (0..HOSTS_MAX + 5)
            .filter(|n| queue.heartbeat(&host(&format!("h{n}")), beat(1)))
            .count();
        assert_eq!((renewals, reports, beats), (WORDS_MAX, WORDS_MAX, HOSTS_MAX));
        assert!(queue.heartbeat(&host("h0"), beat(2)), "a known host's newest replaces its last");
    }

    #[test]
    fn no_host_waits_behind_one_that_speaks_all_the_time() {
        let queue = Queue::default();
        queue.open([]);
        for name in ["a", "b", "c"] {
            assert!(queue.heartbeat(&host(name), beat(1)));
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            assert!(queue.heartbeat(&host("a"), beat(2)));
            let Some(Body::Heartbeat(_)) = queue.lock().pop() else { panic!("no heartbeat") };
            seen.push(queue.lock().turn.clone().unwrap().to_string());
        }
        assert_eq!(seen, ["a", "b", "c"]);
    }
}
