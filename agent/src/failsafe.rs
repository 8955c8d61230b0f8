//! Failsafe (A6): how an active site goes on while no quorum of coordinators is
//! reachable, and what a host that helped it may not do meanwhile.
//!
//! Pure: time and nonces are arguments; who sends and receives is `peer`'s
//! matter. [`Asker`] is the active host's side, [`Barrier`] the other one's.
//!
//! The argument. A round counts only when *every* host of *every* other site
//! promised in it, each bound to a nonce of that round. Each of them then keeps
//! out for `T(1+rho)+m` from its receipt, which is after the round began, so
//! until the asker's deadline (`t_send + T - d_stop`, as for a grant) nobody
//! else can become active, whatever the coordinators commit meanwhile. A host
//! that is active itself, or knows a higher epoch, refuses.
//!
//! A host that forgot its promise in a restart keeps out for as long from its
//! start, unless its ledger says that it is promoted under the highest epoch it
//! knows of: such a host would have refused. For that to be true of the ledger
//! *on disk*, a promise is told to the asker only when everything that this host
//! knew as it promised is durable: the epoch it is for (whose assignment it
//! needs), and every fence before. A crash earlier leaves an asker that heard
//! nothing; a crash later finds a ledger whose newest promotion is below its
//! highest epoch, or fenced, and no exemption. A slow disk is silence.
//!
//! `fencing` is not durable and need not be: it spares a plan the wait for
//! promises that would only be given in vain, and what keeps two sites apart is
//! the barrier alone. A host that forgot it refuses until it hears an assignment
//! of that epoch again; should that one come from a deposed leader without the
//! flag, the host may promise, and then its own barrier refuses the promotion.
//!
//! Invariants: silence extends nothing; after one refusal no round counts until
//! a real grant; a barrier only ever moves later; what was sent before a stall
//! or for another epoch counts for nothing.

use crate::lease::LEASE_MAX;
use model::{
    Derived, Epoch, GroupAssignment, GroupId, HostId, Millis, Mono, Nonce, PeerAddress,
    PromiseRefusal, PromiseReply, PromiseRequest,
};
use std::collections::{BTreeMap, VecDeque};

/// Rounds whose refusals are still heard: with a round each heartbeat these are
/// half a lease. A promise counts in its own round only.
const ROUNDS_KEPT: usize = 5;
/// A round that is not complete after this part of T gives way to the next one:
/// two fit between the first question (T/2 after the last grant) and the
/// deadline (T - T/20).
const ROUND_PART: u64 = 5;

/// What the asking host knows when it asks.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The group.
    pub group: &'a GroupId,
    /// This host.
    pub own: &'a HostId,
    /// The epoch of its live lease.
    pub epoch: Epoch,
    /// T as last granted.
    pub lease: Millis,
    /// Every host of every other site, as the assignment for that epoch says.
    pub peers: &'a [PeerAddress],
}

/// A complete round: what [`crate::lease::Lease::extend_by_promises`] takes.
/// Only [`Asker`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    epoch: Epoch,
    sent: Mono,
    lease: Millis,
}

impl Extension {
    /// The epoch it was asked for.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The earliest moment at which a question of the round was sent (A2).
    #[must_use]
    pub const fn sent(&self) -> Mono {
        self.sent
    }

    /// T as it was asked for.
    #[must_use]
    pub const fn lease(&self) -> Millis {
        self.lease
    }
}

/// What one answer meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Everybody promised.
    Complete(Extension),
    /// Somebody is still to answer.
    Waiting,
    /// It is over until the next real grant.
    Over {
        /// Who refused.
        by: HostId,
        /// Why.
        reason: PromiseRefusal,
    },
    /// It belongs to no question of ours, or came when it was over.
    Dropped,
}

#[derive(Debug, Clone)]
struct Round {
    sent: Mono,
    epoch: Epoch,
    lease: Millis,
    /// What each was asked with, and whether it has promised.
    asked: BTreeMap<HostId, (Nonce, bool)>,
}

/// The active host's side, for one group.
#[derive(Debug, Clone, Default)]
pub struct Asker {
    /// When the request of the last real grant was sent.
    granted: Option<Mono>,
    round: Option<Round>,
    /// Questions of rounds given up: their refusals still count.
    old: VecDeque<BTreeMap<HostId, Nonce>>,
    /// Who ended it.
    over: Option<(HostId, PromiseRefusal)>,
    /// A round extended the lease since the last grant.
    engaged: bool,
    next: Mono,
}

impl Asker {
    /// A grant of the coordinators, for a request sent at `sent`: it counts from
    /// anew, and what was asked of peers is not needed any more.
    /// One that is known already changes nothing.
    pub fn granted(&mut self, sent: Mono) {
        if self.granted < Some(sent) {
            *self = Self { granted: Some(sent), ..Self::default() };
        }
    }

    /// The lease is over, or of another epoch: nothing counts until a grant.
    pub fn shut(&mut self) {
        *self = Self::default();
    }

    /// A stall (A5): nothing that was asked before it counts.
    pub fn stalled(&mut self) {
        self.round = None;
        self.old.clear();
    }

    /// Whether the host goes on by promises now.
    #[must_use]
    pub const fn engaged(&self) -> bool {
        self.engaged
    }

    /// Who ended it and why, until the next grant.
    #[must_use]
    pub const fn over(&self) -> Option<&(HostId, PromiseRefusal)> {
        self.over.as_ref()
    }

    /// When to ask: half a lease after the last grant's request, and then each
    /// heartbeat interval; a round that is under way gets its time. `None` while
    /// there is nothing to ask for.
    #[must_use]
    pub fn due(&self, lease: Millis) -> Option<Mono> {
        let since = self.granted.filter(|_| self.over.is_none())?;
        let first = since + lease.div_ceil(2);
        let under_way = self.round.as_ref().filter(|round| !round.is_complete());
        let given_up = under_way.map(|round| round.sent + round.lease.div_ceil(ROUND_PART));
        Some(first.max(self.next).max(given_up.unwrap_or_default()))
    }

    /// Begins a round when one is due; gives what is to be sent now. `now` must
    /// be read before it is sent (A2). Nothing where somebody cannot be asked at
    /// all: then no round can be complete.
    pub fn begin(
        &mut self,
        now: Mono,
        ask: &Ask<'_>,
        mut nonce: impl FnMut() -> Nonce,
    ) -> Vec<(HostId, PromiseRequest)> {
        if self.due(ask.lease).is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.keep_old();
        self.next = now + Derived::of(ask.lease).heartbeat;
        if ask.peers.is_empty() || ask.peers.iter().any(|peer| peer.address.is_empty()) {
            return Vec::new();
        }
        let asked: BTreeMap<_, _> =
            ask.peers.iter().map(|peer| (peer.host.clone(), (nonce(), false))).collect();
        let request = |nonce| PromiseRequest {
            group: ask.group.clone(),
            host: ask.own.clone(),
            epoch: ask.epoch,
            nonce,
            lease: ask.lease,
        };
        let requests =
            asked.iter().map(|(host, (nonce, _))| (host.clone(), request(*nonce))).collect();
        self.round = Some(Round { sent: now, epoch: ask.epoch, lease: ask.lease, asked });
        requests
    }

    fn keep_old(&mut self) {
        let Some(round) = self.round.take() else { return };
        let asked = round.asked.into_iter().filter(|(_, (_, promised))| !promised);
        self.old.push_back(asked.map(|(host, (nonce, _))| (host, nonce)).collect());
        while self.old.len() > ROUNDS_KEPT {
            self.old.pop_front();
        }
    }

    /// Takes the answer that came from `from`.
    pub fn on_reply(&mut self, from: &HostId, reply: &PromiseReply) -> Answer {
        let (host, nonce) = match reply {
            PromiseReply::Promised { host, nonce, .. }
            | PromiseReply::Refused { host, nonce, .. } => (host, *nonce),
        };
        if host != from || self.over.is_some() {
            return Answer::Dropped;
        }
        match reply {
            PromiseReply::Promised { .. } => self.on_promise(from, nonce),
            PromiseReply::Refused { reason, .. } => self.on_refusal(from, nonce, reason),
        }
    }

    fn on_promise(&mut self, from: &HostId, nonce: Nonce) -> Answer {
        let Some(round) = &mut self.round else { return Answer::Dropped };
        match round.asked.get_mut(from) {
            Some((asked, promised)) if *asked == nonce && !*promised => *promised = true,
            Some(_) | None => return Answer::Dropped,
        }
        if !round.is_complete() {
            return Answer::Waiting;
        }
        self.engaged = true;
        let Round { epoch, sent, lease, .. } = *round;
        Answer::Complete(Extension { epoch, sent, lease })
    }

    fn on_refusal(&mut self, from: &HostId, nonce: Nonce, reason: &PromiseRefusal) -> Answer {
        let of_round = |round: &Round| round.asked.get(from).is_some_and(|(at, _)| *at == nonce);
        let of_old = self.old.iter().any(|asked| asked.get(from) == Some(&nonce));
        if !of_old && !self.round.as_ref().is_some_and(of_round) {
            return Answer::Dropped;
        }
        self.round = None;
        self.old.clear();
        self.engaged = false;
        self.over = Some((from.clone(), reason.clone()));
        Answer::Over { by: from.clone(), reason: reason.clone() }
    }
}

impl Round {
    fn is_complete(&self) -> bool {
        self.asked.values().all(|(_, promised)| *promised)
    }
}

/// What the promising host knows when it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// This host.
    pub own: &'a HostId,
    /// The highest epoch it has seen for the group.
    pub seen: Epoch,
    /// The newest assignment for the group.
    pub assignment: Option<&'a GroupAssignment>,
    /// Whether it is promoted under the highest epoch, or holds a lease.
    pub active: bool,
}

/// What a promise forbids (A6), for one group: until then this host neither
/// becomes active nor opens its gate, under any epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    /// The end of what was promised.
    promised: Option<Mono>,
    /// When the agent started, where it may have forgotten a promise.
    started: Option<Mono>,
    /// The end of what it may have forgotten.
    forgotten: Option<Mono>,
}

impl Barrier {
    /// At the agent's start. A host whose ledger says that it is promoted under
    /// the highest epoch promised nothing since: it would have refused. Another
    /// one may have, for the longest lease there is until an assignment says more.
    #[must_use]
    pub fn at_start(now: Mono, promoted: bool) -> Self {
        let started = (!promoted).then_some(now);
        let forgotten = started.map(|now| now + Derived::of(LEASE_MAX).lapse());
        Self { promised: None, started, forgotten }
    }

    /// Nothing promised and nothing to have been forgotten: for tests of others.
    #[must_use]
    pub const fn none() -> Self {
        Self { promised: None, started: None, forgotten: None }
    }

    /// An assignment came, under the highest epoch seen: without failsafe nobody
    /// can have been promised anything that still counts.
    pub fn assigned(&mut self, assignment: &GroupAssignment) {
        let lapse = Derived::of(assignment.lease.min(LEASE_MAX)).lapse();
        let allowed = assignment.failsafe.is_some();
        self.forgotten = self.started.filter(|_| allowed).map(|started| started + lapse);
    }

    /// What is left of it; `None` when this host is free.
    #[must_use]
    pub fn left(&self, now: Mono) -> Option<Millis> {
        let until = self.promised.max(self.forgotten)?;
        (now < until).then(|| until.since(now))
    }

    /// Answers a question that came at `now`.
    pub fn consider(
        &mut self,
        request: &PromiseRequest,
        standing: &Standing<'_>,
        now: Mono,
    ) -> PromiseReply {
        let (group, nonce) = (request.group.clone(), request.nonce);
        let host = standing.own.clone();
        match refusal(request, standing) {
            Some(reason) => PromiseReply::Refused { group, host, nonce, reason },
            None => {
                let until = now + Derived::of(request.lease).lapse();
                self.promised = self.promised.max(Some(until));
                PromiseReply::Promised { group, host, nonce }
            }
        }
    }
}

fn refusal(request: &PromiseRequest, standing: &Standing<'_>) -> Option<PromiseRefusal> {
    let unknown = |detail: String| Some(PromiseRefusal::Unknown { detail });
    if standing.seen > request.epoch {
        return Some(PromiseRefusal::HigherEpoch { epoch: standing.seen });
    }
    if standing.active {
        return Some(PromiseRefusal::Active);
    }
    if request.lease == Millis::ZERO || request.lease > LEASE_MAX {
        return unknown(format!("a lease of {} is outside of what is allowed", request.lease));
    }
    // Who stands to whom, and what the coordinators are about to do, is known
    // from an assignment of that very epoch alone.
    let assigned = standing.assignment.filter(|assigned| assigned.epoch == request.epoch);
    let Some(assigned) = assigned else {
        return unknown(format!("this host was not told of epoch {}", request.epoch));
    };
    if assigned.fencing {
        return Some(PromiseRefusal::Fencing);
    }
    match &assigned.failsafe {
        None => unknown(format!("epoch {} is without failsafe", request.epoch)),
        Some(others) if !others.iter().any(|other| other.host == request.host) => {
            unknown(format!("`{}` is of no other site of the group", request.host))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
