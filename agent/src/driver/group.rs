//! One group as the loop keeps it: its lease, its keeper, and what the
//! coordinators say of it.

use crate::{
    command::Marks,
    keeper::{Keeper, Why},
    lease::{LEASE_MAX, Lease},
    ledger::Memory,
};
use daemon::shutdown::Shutdown;
use model::{Epoch, GroupAssignment, GroupId, HostId, Millis, Mono};
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
    deadline: watch::Sender<Option<Mono>>,
}

impl Group {
    pub(super) fn new(name: GroupId, host: HostId, seen: Epoch, now: Mono) -> Self {
        Self {
            lease: Lease::new(name.clone(), host, seen),
            name,
            keeper: Keeper::default(),
            assignment: None,
            settling: false,
            marks: Marks::from([]),
            ask_at: now,
            cancel: Shutdown::new(),
            refusal: None,
            fault: None,
            deadline: watch::Sender::new(None),
        }
    }

    /// The lease's end as services follow it.
    pub(super) fn deadline(&self) -> watch::Receiver<Option<Mono>> {
        self.deadline.subscribe()
    }

    /// Tells services of a changed lease.
    pub(super) fn tell_deadline(&self) {
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
        self.tell_deadline();
        self.keeper.close(now, why);
    }

    /// Takes note of an epoch; a higher one closes (A1).
    pub(super) fn adopt(&mut self, epoch: Epoch, now: Mono, why: Why) -> bool {
        let higher = self.lease.adopt(epoch);
        if higher {
            tracing::info!(group = %self.name, %epoch, "a higher epoch: what ran under a lower one is over");
            self.refusal = None;
            self.shut(now, why);
        }
        higher
    }

    /// A3: the lease has run out.
    pub(super) fn lapse(&mut self, now: Mono) -> bool {
        let lapsed = self.lease.expire(now);
        if lapsed {
            tracing::warn!(
                group = %self.name, epoch = %self.lease.epoch(),
                reason = self.refusal.as_deref().unwrap_or("no coordinator answered"),
                "the lease has run out: stopping the exclusive services"
            );
            self.tell_deadline();
            self.keeper.close(now, Why::Lapse);
        }
        lapsed
    }

    /// The lease's length, from who knows it best.
    fn length(&self) -> Millis {
        let assigned = self.assignment.as_ref().map(|assigned| assigned.lease);
        self.lease
            .length()
            .or(assigned.filter(|lease| *lease > Millis::ZERO))
            .unwrap_or(LEASE_DEFAULT)
    }

    /// Between two renewals.
    pub(super) fn ask_every(&self) -> Millis {
        interval(self.length())
    }

    /// Whether the lease may be asked for.
    pub(super) fn may_ask(&self, memory: &Memory) -> bool {
        !self.settling && memory.group(&self.name).is_some_and(|known| known.active().is_some())
    }

    pub(super) fn wake(&self, memory: &Memory) -> Option<Mono> {
        let ask = self.may_ask(memory).then_some(self.ask_at);
        [self.lease.deadline(), self.keeper.wake(), ask].into_iter().flatten().min()
    }
}
