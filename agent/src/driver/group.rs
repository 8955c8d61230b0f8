//! One group as the loop keeps it: its lease, its gate, its keeper, its
//! promises, and what the coordinators say of it.
//!
//! Invariant: whatever ends or suspends a lease orders the gate closed before
//! anything else is done about it (A3).

use crate::{
    command::Marks,
    failsafe::{Asker, Barrier},
    gate::Gate,
    keeper::{Keeper, Why},
    lease::{LEASE_MAX, Lease},
    ledger::Memory,
    stall::Stalled,
};
use daemon::shutdown::Shutdown;
use model::{
    Derived, Epoch, GateState, GroupAssignment, GroupId, HostId, Millis, Mono, PeerAddress,
};
use tokio::sync::watch;

/// The lease's length before anybody has said one: the product's default.
const LEASE_DEFAULT: Millis = Millis::from_secs(5);
/// Heartbeats and renewals come ten times a lease, but never more often than
/// every 50 ms.
const PART: u64 = 10;
const INTERVAL_MIN: Millis = Millis(50);

/// T/10, at least 50 ms; a T beyond the longest lease counts as that one.
pub(super) fn interval(lease: Millis) -> Millis {
    lease.min(LEASE_MAX).div_ceil(PART).max(INTERVAL_MIN)
}

pub(super) struct Group {
    pub(super) name: GroupId,
    pub(super) lease: Lease,
    pub(super) keeper: Keeper,
    pub(super) assignment: Option<GroupAssignment>,
    /// A promotion that is not durable yet: the lease is not asked for.
    pub(super) settling: bool,
    /// What the group's feeds brought since the promotion, or since this
    /// agent's start.
    pub(super) marks: Marks,
    /// When the lease is asked for next.
    pub(super) ask_at: Mono,
    /// Tells what is at work to give up.
    pub(super) cancel: Shutdown,
    /// Why the lease was last not granted.
    pub(super) refusal: Option<String>,
    /// What the last failing pass said, so that it is logged once.
    pub(super) fault: Option<String>,
    /// Asks other sites' agents for promises (A6).
    pub(super) asker: Asker,
    /// What this host promised, or may have forgotten (A6).
    pub(super) barrier: Barrier,
    /// Why somebody on this host decided that it must not be active; empty when
    /// nobody did.
    pub(super) barred: String,
    /// Whether that is an emergency stop: no other site shall be started for it.
    pub(super) stopped: bool,
    /// The stall that keeps the gate closed, in words (A5).
    stalled: String,
    gate: Gate,
    deadline: watch::Sender<Option<Mono>>,
}

impl Group {
    pub(super) fn new(name: GroupId, host: HostId, memory: &Memory, gate: Gate, now: Mono) -> Self {
        let promoted = memory.group(&name).is_some_and(|known| known.active().is_some());
        // A1: closed until a lease is live, whatever was running.
        gate.close(&name);
        let mut keeper = Keeper::default();
        keeper.close(now, Why::Over);
        Self {
            lease: Lease::new(name.clone(), host, memory.epoch(&name)),
            name,
            keeper,
            assignment: None,
            settling: false,
            marks: Marks::from([]),
            ask_at: now,
            cancel: Shutdown::new(),
            refusal: None,
            fault: None,
            asker: Asker::default(),
            barrier: Barrier::at_start(now, promoted),
            barred: String::new(),
            stopped: false,
            stalled: String::new(),
            gate,
            deadline: watch::Sender::new(None),
        }
    }

    /// The lease's end as services follow it.
    pub(super) fn deadline(&self) -> watch::Receiver<Option<Mono>> {
        self.deadline.subscribe()
    }

    /// Has the gate and the services follow a changed lease, the gate first.
    pub(super) fn follow_lease(&self, now: Mono) {
        // A6: also a granted lease opens nothing while a promise binds.
        let free = self.barrier.left(now).is_none();
        match self.lease.gate_until(now).filter(|_| free) {
            Some(deadline) => self.gate.renew(&self.name, deadline),
            None => self.gate.close(&self.name),
        }
        let newest = self.lease.deadline();
        self.deadline.send_if_modified(|told| {
            let changed = *told != newest;
            *told = newest;
            changed
        });
    }

    /// The lease is over, and what is under way with it.
    pub(super) fn shut(&mut self, now: Mono, why: Why) {
        self.lease.give_up();
        self.asker.shut();
        self.follow_lease(now);
        self.keeper.close(now, why);
    }

    /// Takes note of an epoch; a higher one closes (A1).
    pub(super) fn adopt(&mut self, epoch: Epoch, now: Mono, why: Why) -> bool {
        let higher = self.lease.adopt(epoch);
        if higher {
            tracing::info!(group = %self.name, %epoch, "a higher epoch: what ran under a lower one is over");
            self.refusal = None;
            self.asker.shut();
            self.follow_lease(now);
            // What stands behind the closed gate never ran under any epoch.
            self.keeper.overtake(now, why);
        }
        higher
    }

    /// A3: the lease has run out.
    pub(super) fn lapse(&mut self, now: Mono) -> bool {
        let lapsed = self.lease.expire(now);
        if lapsed {
            self.asker.shut();
            self.follow_lease(now);
            self.keeper.close(now, Why::Lapse);
            tracing::warn!(
                group = %self.name, epoch = %self.lease.epoch(),
                reason = self.refusal.as_deref().unwrap_or("no coordinator answered"),
                "the lease has run out: stopping the exclusive services"
            );
        }
        lapsed
    }

    /// A5: closes the gate until something that is sent from now on is granted,
    /// and asks for it at once.
    pub(super) fn stall(&mut self, stalled: Stalled, now: Mono) {
        self.lease.stall(now);
        self.asker.stalled();
        self.follow_lease(now);
        self.ask_at = now;
        self.stalled = stalled.to_string();
        tracing::warn!(
            group = %self.name, reason = self.stalled, gate = %self.gate_state(),
            lease_left = ?self.lease.left(now),
            "a stall: the gate is closed until a renewal sent after it is granted"
        );
    }

    /// Somebody on this host decided that it must not be active, or, with no
    /// words, that it may be again. The lease is given up, and what is exclusive
    /// is stopped as at its end (A3).
    pub(super) fn bar(&mut self, why: String, now: Mono) -> bool {
        if self.barred == why {
            return false;
        }
        if self.barred.is_empty() {
            tracing::warn!(group = %self.name, why, "must not be active here: stopping");
            self.shut(now, Why::Over);
        } else if why.is_empty() {
            tracing::warn!(group = %self.name, was = self.barred, "may be active here again");
            self.ask_at = now;
        }
        self.barred = why;
        true
    }

    /// The kernel gate as it stands.
    pub(super) fn gate_state(&self) -> GateState {
        self.gate.state(&self.name)
    }

    /// Why there is no gate, or why it is closed in spite of the lease.
    pub(super) fn gate_detail(&self, now: Mono) -> String {
        let mut words = self.gate.why(&self.name);
        if self.lease.stalled().is_some() && self.lease.live(now) {
            let more = format!("{}; waiting for a renewal sent after that", self.stalled);
            words = if words.is_empty() { more } else { format!("{words}; {more}") };
        }
        words
    }

    /// The lease's length, from who knows it best.
    fn length(&self) -> Millis {
        let assigned = self.assignment.as_ref().map(|assigned| assigned.lease);
        self.lease
            .length()
            .or(assigned.filter(|lease| *lease > Millis::ZERO))
            .unwrap_or(LEASE_DEFAULT)
    }

    /// What the assigned length leads to on this host, for the leader to compare.
    pub(super) fn derived(&self) -> Option<Derived> {
        let assigned = self.assignment.as_ref()?.lease;
        (assigned > Millis::ZERO).then(|| Derived::of(assigned))
    }

    /// Between two renewals.
    pub(super) fn ask_every(&self) -> Millis {
        interval(self.length())
    }

    /// Whether this host is promoted under the highest epoch.
    pub(super) fn is_active(&self, memory: &Memory) -> bool {
        memory.group(&self.name).is_some_and(|known| known.active().is_some())
    }

    /// Whether the lease may be asked for.
    pub(super) fn may_ask(&self, memory: &Memory) -> bool {
        !self.settling && self.barred.is_empty() && self.is_active(memory)
    }

    /// The agents whose promises can carry the lease on, and its length; `None`
    /// where the epoch is without failsafe or no lease is live (A6).
    pub(super) fn failsafe(&self, memory: &Memory, now: Mono) -> Option<(&[PeerAddress], Millis)> {
        let assigned = self.assignment.as_ref()?;
        let may = assigned.epoch == self.lease.epoch() && self.may_ask(memory);
        let lease = self.lease.length().filter(|_| may && self.lease.live(now))?;
        Some((assigned.failsafe.as_deref()?, lease))
    }

    /// Whether a stall would matter: a lease is live or asked for (A5).
    pub(super) fn is_at_stake(&self, memory: &Memory) -> bool {
        self.lease.deadline().is_some() || self.may_ask(memory)
    }

    pub(super) fn wake(&self, memory: &Memory, now: Mono) -> Option<Mono> {
        let ask = self.may_ask(memory).then_some(self.ask_at);
        let promises = self.failsafe(memory, now).and_then(|(_, lease)| self.asker.due(lease));
        [self.lease.deadline(), self.keeper.wake(), ask, promises].into_iter().flatten().min()
    }
}
