//! Lease renewals (C2) and what is known of leases that may live (C4).
//!
//! A renewal waits for a quorum round begun after it arrived; one round serves
//! all that came before it. `last_grant` is therefore the latest moment at which
//! a lease can have begun, by this leader's clock.

use crate::{
    effect::{Effect, Round},
    event::Asker,
    policy::Timing,
    state::State,
};
use alloc::{collections::BTreeMap, format, vec::Vec};
use model::{GroupId, HostId, LeaseGrant, LeaseRefusal, LeaseReply, LeaseRequest, Mono, Term};

/// Renewals waiting at most: two for each of the ten thousand agents of the scale figure.
const WAITING_MAX: usize = 20_000;
/// Rounds under way at most: a round that takes longer than a few ticks is a lost quorum.
const ROUNDS_MAX: usize = 4;

#[derive(Debug, Clone)]
struct Ask {
    asker: Asker,
    request: LeaseRequest,
}

/// The renewals of one leadership.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renewals {
    waiting: Vec<Ask>,
    rounds: BTreeMap<Round, Vec<Ask>>,
    last_round: Round,
    last_grant: BTreeMap<(GroupId, HostId), Mono>,
}

impl Renewals {
    /// Forgets everything: a new leadership has granted nothing yet.
    pub(crate) fn reset(&mut self) {
        // Rounds keep counting up, so a late answer of an old one meets no new one.
        *self = Self { last_round: self.last_round, ..Self::default() };
    }

    /// Takes in a request; refuses at once what a full queue cannot hold.
    pub(crate) fn ask(
        &mut self,
        asker: Asker,
        request: LeaseRequest,
        term: Term,
    ) -> Option<Effect> {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(Ask { asker, request });
            return None;
        }
        Some(refuse(asker, &request, term, LeaseRefusal::NoQuorum))
    }

    /// Begins a round for everything that waits.
    pub(crate) fn begin(&mut self, term: Term) -> Option<Effect> {
        if self.waiting.is_empty() || self.rounds.len() >= ROUNDS_MAX {
            return None;
        }
        self.last_round = Round(self.last_round.0 + 1);
        self.rounds.insert(self.last_round, core::mem::take(&mut self.waiting));
        Some(Effect::ConfirmQuorum { round: self.last_round, term })
    }

    /// Whether no round is under way, so that a request need not wait for a tick.
    pub(crate) fn idle(&self) -> bool {
        self.rounds.is_empty()
    }

    /// Answers everything that waited for `round`.
    pub(crate) fn end(
        &mut self,
        round: Round,
        confirmed: bool,
        state: &State,
        (term, now): (Term, Mono),
    ) -> Vec<Effect> {
        let asks = self.rounds.remove(&round).unwrap_or_default();
        let mut effects = Vec::with_capacity(asks.len());
        for ask in asks {
            let verdict =
                if confirmed { judge(state, &ask.request) } else { Err(LeaseRefusal::NoQuorum) };
            effects.push(match verdict {
                Err(reason) => refuse(ask.asker, &ask.request, term, reason),
                Ok(timing) => {
                    let key = (ask.request.group.clone(), ask.request.host.clone());
                    self.last_grant.insert(key, now);
                    let grant = LeaseGrant {
                        group: ask.request.group,
                        epoch: ask.request.epoch,
                        nonce: ask.request.nonce,
                        term,
                        lease: timing.lease,
                        gate_margin: timing.gate_margin,
                    };
                    Effect::Lease { asker: ask.asker, reply: LeaseReply::Granted(grant) }
                }
            });
        }
        effects
    }

    /// When the lease of `host` has certainly lapsed (C4): counted from this
    /// leader's last grant, and never from before its own election, because the
    /// leader before it may have granted until then.
    pub(crate) fn lapses_at(
        &self,
        group: &GroupId,
        host: &HostId,
        elected: Mono,
        timing: &Timing,
    ) -> Mono {
        let granted = self.last_grant.get(&(group.clone(), host.clone()));
        granted.copied().unwrap_or(elected).max(elected) + timing.lapse()
    }
}

/// Whether the committed state allows this host a lease.
fn judge(state: &State, request: &LeaseRequest) -> Result<Timing, LeaseRefusal> {
    let Some(group) = state.groups.get(&request.group) else {
        return Err(LeaseRefusal::Unknown {
            detail: format!("no group is called {}", request.group),
        });
    };
    let Some(site) = group.spec.site_of(&request.host) else {
        let detail = format!("{} is in no site of {}", request.host, request.group);
        return Err(LeaseRefusal::Unknown { detail });
    };
    if request.epoch != group.epoch {
        return Err(LeaseRefusal::Superseded { epoch: group.epoch });
    }
    // What was ordered needs no messenger: the lease runs out (A4).
    if let Some(why) = state.stop_words(&request.group, &request.host) {
        return Err(LeaseRefusal::Stopped { why });
    }
    if group.active.as_ref() != Some(&site.name) || state.fencing(group) {
        return Err(LeaseRefusal::NotActive);
    }
    let timing = group.spec.timing();
    // Nodes that disagree about a bound must not trust each other's leases.
    match request.derived {
        Some(host) if host != timing.derived() => {
            Err(LeaseRefusal::TimingDiffers { leader: timing.derived(), host })
        }
        Some(_) | None => Ok(timing),
    }
}

/// A refusal of one renewal.
pub(crate) fn refuse(
    asker: Asker,
    request: &LeaseRequest,
    term: Term,
    reason: LeaseRefusal,
) -> Effect {
    let reply =
        LeaseReply::Refused { group: request.group.clone(), nonce: request.nonce, term, reason };
    Effect::Lease { asker, reply }
}
