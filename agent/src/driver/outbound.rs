//! What leaves without being asked: lease requests and heartbeats.

use super::{Driver, group::interval};
use daemon::{clock::boottime_ms, notify_systemd};
use model::{BackupStanding, GroupAssignment, GroupStanding, Heartbeat, Millis, Mono, Nonce};
use proto::v1;
use std::sync::Arc;

/// Between two heartbeats before any assignment has come: T/10 of the default lease.
const EVERY_DEFAULT: Millis = Millis(500);
/// At most one heartbeat out of turn in this time, however much changes.
const EXTRA_EVERY: Millis = Millis(20);

/// Sources told in a heartbeat: half of what a coordinator takes.
const BACKUPS_MAX: usize = 500;

/// When heartbeats are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    every: Millis,
    next: Mono,
    /// Something changed: one is due out of turn.
    wanted: bool,
    last: Mono,
    sequence: u64,
    watchdog: Option<Millis>,
    watchdog_at: Mono,
}

impl Beat {
    pub(super) fn new(now: Mono) -> Self {
        let watchdog = notify_systemd::watchdog_interval()
            .map(|every| Millis(u64::try_from(every.as_millis()).unwrap_or(u64::MAX)));
        Self {
            every: EVERY_DEFAULT,
            next: now,
            wanted: false,
            last: Mono(0),
            sequence: 0,
            watchdog,
            watchdog_at: now,
        }
    }

    /// Something changed that coordinators should know.
    pub(super) const fn want(&mut self) {
        self.wanted = true;
    }

    /// The interval that the assignments ask for.
    pub(super) fn every<'a>(&mut self, assigned: impl Iterator<Item = &'a GroupAssignment>) {
        let shortest = assigned.map(|group| interval(group.lease)).min();
        self.every = shortest.unwrap_or(EVERY_DEFAULT);
        self.next = self.next.min(self.last + self.every);
    }

    /// When the loop must come round: for a heartbeat, or to tell systemd that it
    /// does, which with a long lease is due far more often.
    pub(super) fn due(&self) -> Mono {
        let watchdog = self.watchdog.map(|_| self.watchdog_at);
        watchdog.map_or(self.heartbeat_due(), |at| at.min(self.heartbeat_due()))
    }

    fn heartbeat_due(&self) -> Mono {
        if self.wanted { self.next.min(self.last + EXTRA_EVERY) } else { self.next }
    }

    /// Whether one is due; counts it when it is.
    fn take(&mut self, now: Mono) -> Option<u64> {
        if now < self.heartbeat_due() {
            return None;
        }
        self.next = now + self.every;
        self.last = now;
        self.wanted = false;
        self.sequence += 1;
        Some(self.sequence)
    }

    /// Tells systemd that the loop goes round, where it wants to know. To be
    /// called on every round: `WatchdogSec` knows nothing of the lease's length.
    pub(super) fn watchdog(&mut self, now: Mono) {
        if let Some(every) = self.watchdog
            && self.watchdog_at <= now
        {
            self.watchdog_at = now + every;
            notify_systemd::watchdog();
        }
    }
}

impl Driver {
    /// Renewals, to every coordinator: the one that leads answers, the others
    /// say that they do not lead, and nobody has to know which is which.
    pub(super) fn ask_for_leases(&mut self, now: Mono) {
        for group in self.groups.values_mut() {
            if group.ask_at > now || !group.may_ask(self.ledger.memory()) {
                continue;
            }
            group.ask_at = now + group.ask_every();
            // A2: noted before it is sent. Read anew, for an earlier `now` would
            // only be shorter, and a later one wrong.
            let sent = Mono(boottime_ms());
            let request = group.lease.request(sent, Nonce(self.random.next_u64()), group.derived());
            self.peers.ask(&request);
        }
    }

    /// How the sources of backups stand now.
    fn standings(&self) -> Vec<BackupStanding> {
        let now = jiff::Timestamp::now();
        self.backups.borrow().iter().take(BACKUPS_MAX).map(|told| told.at(now)).collect()
    }

    /// The newest heartbeat, for every session to take when it can.
    pub(super) fn heartbeat(&mut self, now: Mono) {
        let Some(sequence) = self.beat.take(now) else { return };
        self.enforce(now);
        let standing = |group: &super::Group| GroupStanding {
            group: group.name.clone(),
            epoch: group.lease.epoch(),
            lease_left: group.lease.left(now),
            gate: group.gate_state(),
            gate_detail: group.gate_detail(now),
            failsafe: group.asker.engaged() && group.lease.live(now),
            promised: group.barrier.left(now),
            barred: group.barred.clone(),
            stopped: group.stopped,
            stop_order: self.stops.taken_up(&group.name),
        };
        let heartbeat = Heartbeat {
            host: self.host.clone(),
            boot: self.boot,
            sequence,
            term: self.ledger.memory().term(),
            watchdog: self.watchdog.state(),
            watchdog_timeout: self.watchdog.timeout(),
            peer: self.address.clone(),
            isolation: self.isolation.clone(),
            order: self.order.clone(),
            groups: self.groups.values().map(standing).collect(),
            services: self.statuses(),
            readings: self.probes.readings(now),
            backups: self.standings(),
        };
        self.heartbeat.send_replace(Arc::new(v1::Heartbeat::from(heartbeat)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Epoch, GroupId, SiteId};

    fn assigned(lease: u64) -> GroupAssignment {
        GroupAssignment {
            group: GroupId::new("fx").unwrap(),
            site: SiteId::new("primary").unwrap(),
            active: None,
            epoch: Epoch(0),
            lease: Millis(lease),
            fencing: false,
            failsafe: None,
        }
    }

    #[test]
    fn systemd_hears_of_the_loop_however_long_the_lease_is() {
        let mut beat = Beat { watchdog: Some(Millis(1500)), ..Beat::new(Mono(1000)) };
        beat.every([assigned(60_000)].iter());
        assert_eq!(beat.take(Mono(1000)), Some(1));
        for round in 0..4 {
            let now = Mono(1000 + round * 1500);
            assert_eq!(beat.due(), now, "the loop comes round for it");
            beat.watchdog(now);
            assert_eq!(beat.take(now + Millis(1)), None, "no heartbeat because of it");
        }
        assert_eq!(beat.due(), Mono(7000), "then the heartbeat is first");
        assert_eq!(beat.take(Mono(7000)), Some(2));
    }

    #[test]
    fn heartbeats_come_ten_times_a_lease_and_out_of_turn_when_something_changed() {
        let mut beat = Beat::new(Mono(1000));
        assert_eq!((beat.take(Mono(1000)), beat.take(Mono(1001))), (Some(1), None));
        assert_eq!(beat.due(), Mono(1500));
        beat.want();
        assert_eq!(beat.due(), Mono(1020), "at most one extra in 20 ms");
        assert_eq!((beat.take(Mono(1019)), beat.take(Mono(1020))), (None, Some(2)));
        assert_eq!(beat.due(), Mono(1520));
        beat.every([assigned(5000), assigned(1000), assigned(100)].iter());
        assert_eq!(beat.due(), Mono(1070), "never more often than every 50 ms");
        assert_eq!(beat.take(Mono(1070)), Some(3));
        beat.every([].iter());
        assert_eq!(beat.take(Mono(1120)), Some(4));
        assert_eq!(beat.due(), Mono(1620));
    }
}
