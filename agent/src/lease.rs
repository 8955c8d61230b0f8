//! The lease of one group (A1, A2): which grant counts, and until when.
//!
//! Pure: time and nonces are arguments. Whether this host may ask at all is the
//! caller's matter (it asks only where the ledger says that it was promoted).
//!
//! Invariants: a deadline belongs to the highest epoch seen and is only ever
//! moved later within it; a grant counts once its nonce is one of ours; nothing
//! that is dropped can come back; promises of other agents (A6) extend a live
//! lease and never begin one; after a stall the gate stays closed until what was
//! sent after it extends the lease (A5).

use crate::failsafe::Extension;
use model::{
    Derived, Epoch, GroupId, HostId, LeaseGrant, LeaseRefusal, LeaseReply, LeaseRequest, Millis,
    Mono, Nonce,
};
use std::collections::VecDeque;

/// Requests remembered at once: with a request every T/10, answers that are up
/// to three leases late still find theirs; older ones could extend nothing.
const OUTSTANDING_MAX: usize = 32;
/// The longest lease of the product (60 s): a longer grant is a mistake, and
/// obeying it would keep a lost site active for that long.
pub const LEASE_MAX: Millis = Millis::from_secs(60);
/// `d_stop` is T/20: never less is taken off, whatever the grant says.
const MARGIN_PART: u64 = 20;

/// What one answer meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The lease is live until then, and so may the gate be.
    Extended {
        /// The end, on this host's own clock.
        deadline: Mono,
        /// Whether there was no live lease before.
        opened: bool,
    },
    /// A good grant that ends no later than what is held already: the same
    /// request is answered by more than one coordinator.
    NothingNew,
    /// A higher epoch is committed: adopt it; the lease is gone already.
    Superseded(Epoch),
    /// Not granted. What is held runs out by itself: a refusal may come from a
    /// coordinator that is behind, and silence would do the same.
    NotGranted(LeaseRefusal),
    /// It counts for nothing.
    Dropped(Dropped),
}

/// Why an answer counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// No request of ours carries this nonce, or it was given up (A2).
    #[error("its nonce is none of this host's outstanding requests")]
    Nonce,
    /// It is for another epoch than the one seen.
    #[error("it is for epoch {given}, this host has seen epoch {seen}")]
    Epoch {
        /// The answer's.
        given: Epoch,
        /// The highest seen.
        seen: Epoch,
    },
    /// It is for another group.
    #[error("it is for another group")]
    Group,
    /// It came when it was over already.
    #[error("it came after its own end")]
    Late,
    /// Promises go on with a lease that is live; they never begin one (A6).
    #[error("no lease is live that promises could extend")]
    NotLive,
    /// What it answers was sent before a stall (A5).
    #[error("it was asked for before a stall")]
    Stalled,
    /// The length is outside the product's range.
    #[error(
        "a lease of {lease} is outside of what is allowed (more than 0 and at most {LEASE_MAX})"
    )]
    Length {
        /// As granted.
        lease: Millis,
    },
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    nonce: Nonce,
    sent: Mono,
}

/// One group's lease on this host.
#[derive(Debug, Clone)]
pub struct Lease {
    group: GroupId,
    host: HostId,
    seen: Epoch,
    asked: VecDeque<Asked>,
    deadline: Option<Mono>,
    /// T and what is taken off its end, as last granted.
    length: Option<(Millis, Millis)>,
    /// When the newest request that was granted was sent.
    granted: Option<Mono>,
    /// A stall that nothing sent after it has made good: the gate stays closed.
    stalled: Option<Mono>,
}

impl Lease {
    /// No lease, for a host that has seen `seen` (A1: closed until granted).
    #[must_use]
    pub const fn new(group: GroupId, host: HostId, seen: Epoch) -> Self {
        Self {
            group,
            host,
            seen,
            asked: VecDeque::new(),
            deadline: None,
            length: None,
            granted: None,
            stalled: None,
        }
    }

    /// The highest epoch seen for the group.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.seen
    }

    /// The length T as last granted.
    #[must_use]
    pub fn length(&self) -> Option<Millis> {
        self.length.map(|(length, _)| length)
    }

    /// When the newest request that a coordinator granted was sent (A6 counts
    /// from there); `None` since the lease was last given up.
    #[must_use]
    pub const fn granted(&self) -> Option<Mono> {
        self.granted
    }

    /// Takes note of an epoch. A higher one ends the lease and every request of
    /// the lower one; returns whether it was higher.
    pub fn adopt(&mut self, epoch: Epoch) -> bool {
        if epoch <= self.seen {
            return false;
        }
        self.seen = epoch;
        self.give_up();
        true
    }

    /// Ends the lease, and makes answers that are under way count for nothing (A3).
    pub fn give_up(&mut self) {
        self.deadline = None;
        self.granted = None;
        self.asked.clear();
    }

    /// A stall ended at `now` (A5): answers that are under way count for nothing,
    /// and the gate stays closed until something sent after it is granted.
    pub fn stall(&mut self, now: Mono) {
        self.stalled = Some(now);
        self.asked.clear();
    }

    /// Until when the gate may be open: while the lease is live, and not before
    /// a stall is made good.
    #[must_use]
    pub fn gate_until(&self, now: Mono) -> Option<Mono> {
        self.deadline.filter(|deadline| now < *deadline && self.stalled.is_none())
    }

    /// The end of the stall that keeps the gate closed.
    #[must_use]
    pub const fn stalled(&self) -> Option<Mono> {
        self.stalled
    }

    /// A request for the epoch seen. `now` must be read before it is sent (A2);
    /// `derived` is what the assigned length leads to here.
    pub fn request(&mut self, now: Mono, nonce: Nonce, derived: Option<Derived>) -> LeaseRequest {
        if self.asked.len() == OUTSTANDING_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { nonce, sent: now });
        LeaseRequest {
            group: self.group.clone(),
            host: self.host.clone(),
            epoch: self.seen,
            nonce,
            derived,
        }
    }

    /// Takes one answer.
    pub fn on_reply(&mut self, reply: LeaseReply, now: Mono) -> Heard {
        match reply {
            LeaseReply::Granted(grant) => self.on_grant(&grant, now),
            LeaseReply::Refused { group, reason, .. } if group == self.group => {
                self.on_refusal(reason)
            }
            LeaseReply::Refused { .. } => Heard::Dropped(Dropped::Group),
        }
    }

    fn on_refusal(&mut self, reason: LeaseRefusal) -> Heard {
        match reason {
            // An epoch is committed before it is spoken of, so it is true
            // whichever request it answers and whoever says it (A1).
            LeaseRefusal::Superseded { epoch } => {
                if self.adopt(epoch) {
                    Heard::Superseded(epoch)
                } else {
                    Heard::NotGranted(LeaseRefusal::Superseded { epoch })
                }
            }
            reason @ (LeaseRefusal::NotLeader
            | LeaseRefusal::NoQuorum
            | LeaseRefusal::NotActive
            | LeaseRefusal::Stopped { .. }
            | LeaseRefusal::TimingDiffers { .. }
            | LeaseRefusal::Unknown { .. }) => Heard::NotGranted(reason),
        }
    }

    fn on_grant(&mut self, grant: &LeaseGrant, now: Mono) -> Heard {
        if grant.group != self.group {
            return Heard::Dropped(Dropped::Group);
        }
        if grant.epoch != self.seen {
            return Heard::Dropped(Dropped::Epoch { given: grant.epoch, seen: self.seen });
        }
        let Some(asked) = self.asked.iter().find(|asked| asked.nonce == grant.nonce) else {
            return Heard::Dropped(Dropped::Nonce);
        };
        if grant.lease == Millis::ZERO || grant.lease > LEASE_MAX {
            return Heard::Dropped(Dropped::Length { lease: grant.lease });
        }
        let sent = asked.sent;
        let margin = grant.gate_margin.max(grant.lease.div_ceil(MARGIN_PART));
        let heard = self.extend(sent, grant.lease, margin, now);
        match heard {
            Heard::Extended { .. } | Heard::NothingNew => {
                self.granted = self.granted.max(Some(sent));
            }
            Heard::Superseded(_) | Heard::NotGranted(_) | Heard::Dropped(_) => {}
        }
        heard
    }

    /// Takes a complete round of promises (A6): the live lease goes on as by a
    /// grant whose request was sent when the round began.
    pub fn extend_by_promises(&mut self, promised: &Extension, now: Mono) -> Heard {
        let given = promised.epoch();
        if given != self.seen {
            return Heard::Dropped(Dropped::Epoch { given, seen: self.seen });
        }
        let Some((lease, margin)) = self.length.filter(|_| self.live(now)) else {
            return Heard::Dropped(Dropped::NotLive);
        };
        if promised.lease() != lease {
            // The coordinators changed T meanwhile: the promises were for another.
            return Heard::Dropped(Dropped::Length { lease: promised.lease() });
        }
        self.extend(promised.sent(), lease, margin, now)
    }

    fn extend(&mut self, sent: Mono, lease: Millis, margin: Millis, now: Mono) -> Heard {
        let deadline = sent + lease.saturating_sub(margin);
        if deadline <= now {
            return Heard::Dropped(Dropped::Late);
        }
        if self.stalled.is_some_and(|stalled| sent < stalled) {
            return Heard::Dropped(Dropped::Stalled);
        }
        self.length = Some((lease, margin));
        let opened = !self.live(now);
        if !opened && self.deadline >= Some(deadline) && self.stalled.is_none() {
            return Heard::NothingNew;
        }
        self.stalled = None;
        // Not earlier, where a shorter lease makes a stall good.
        let deadline =
            if opened { deadline } else { self.deadline.max(Some(deadline)).unwrap_or(deadline) };
        self.deadline = Some(deadline);
        Heard::Extended { deadline, opened }
    }

    /// Whether the lease is live.
    #[must_use]
    pub fn live(&self, now: Mono) -> bool {
        self.deadline.is_some_and(|deadline| now < deadline)
    }

    /// What is left of a live lease.
    #[must_use]
    pub fn left(&self, now: Mono) -> Option<Millis> {
        self.deadline.filter(|deadline| now < *deadline).map(|deadline| deadline.since(now))
    }

    /// When it ends, while there is one.
    #[must_use]
    pub const fn deadline(&self) -> Option<Mono> {
        self.deadline
    }

    /// True once for a lease that has run out (A3); answers under way stay
    /// good, because the outage may be over.
    pub fn expire(&mut self, now: Mono) -> bool {
        let ended = self.deadline.is_some_and(|deadline| deadline <= now);
        if ended {
            self.deadline = None;
        }
        ended
    }
}

#[cfg(test)]
mod tests;
