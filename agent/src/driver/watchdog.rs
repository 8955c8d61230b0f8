//! The machine's watchdog: armed before a site is activated, fed by a healthy
//! lease loop alone, stopped when no group is active here any more.

use super::Driver;
use crate::watchdog::Watchdog;
use model::{GateState, Millis, Mono, WatchdogState};

/// Between two feeds: an eighth of the shortest time that a device may have
/// (2 s), in which the loop comes round twice.
const FEED_EVERY: Millis = Millis(250);

/// The device and when it was fed.
pub(super) struct Fed {
    device: Watchdog,
    armed: bool,
    next: Mono,
}

impl Fed {
    pub(super) fn new(device: Watchdog) -> Self {
        // One that an earlier agent left running has to be fed or stopped.
        let armed = device.state() == WatchdogState::Armed;
        Self { device, armed, next: Mono(0) }
    }

    /// As the heartbeat says it.
    pub(super) fn state(&self) -> WatchdogState {
        self.device.state()
    }

    /// The device's own time.
    pub(super) fn timeout(&self) -> Option<Millis> {
        let timeout = self.device.timeout()?;
        Some(Millis(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)))
    }

    pub(super) fn device(&self) -> Watchdog {
        self.device.clone()
    }

    /// A wanted stop, with nothing exclusive running any more.
    pub(super) fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.device.disarm();
        }
    }
}

#[cfg(test)]
impl Driver {
    /// When the next feed is due.
    pub(super) fn watchdog_due(&self) -> Mono {
        self.watchdog.next
    }
}

impl Driver {
    /// To be called on every round.
    pub(super) fn feed(&mut self, now: Mono) {
        let memory = self.ledger.memory();
        let wanted = self.groups.values().any(|group| group.is_active(memory));
        let closed =
            self.groups.values().all(|group| !group.lease.live(now) && group.keeper.is_closed());
        // With a promotion, or a lease: a host that was reset comes up without
        // one, and must not be reset again for what it cannot stop.
        let activates = self
            .groups
            .values()
            .any(|group| group.is_active(memory) && (group.settling || group.lease.live(now)));
        if activates && !self.watchdog.armed {
            self.watchdog.armed = true;
            self.watchdog.device.arm();
            self.beat.want();
        }
        if !wanted && closed {
            self.watchdog.disarm();
        }
        // The loop came round. Every group holds its lease, or nothing of it
        // acts: stopped, or held back by the kernel.
        let healthy = self.groups.values().all(|group| {
            group.lease.live(now)
                || group.keeper.is_closed()
                || group.gate_state() == GateState::Closed
        });
        if self.watchdog.armed && healthy && self.watchdog.next <= now {
            self.watchdog.next = now + FEED_EVERY;
            self.watchdog.device.feed();
        }
    }
}
