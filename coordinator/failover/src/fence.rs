//! The proof that an old site can do no harm (C3, C4), and its levels.
//!
//! A [`FenceProof`] is made only here: from acknowledgements, from lapsed
//! leases, from confirmations of fence hooks, or from the fact that no site was ever active. The record that
//! activates a site takes one by value, so code that skips fencing does not compile.

use crate::hook::FenceHook;
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use core::fmt;
use model::{Epoch, GateState, GroupId, HostId, Millis, Mono};
use serde::{Deserialize, Serialize};

/// Why we believe that the old site is fenced; a higher level says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum ProofLevel {
    /// 1: the lease lapsed (C4).
    Lapsed,
    /// 2: the lease lapsed, and the kernel gate was armed when last heard, or a watchdog
    /// was and has had its time since.
    LapsedBehindGate,
    /// 3: the old site acknowledged that its services are stopped and its gate, where it has one, is closed.
    Acknowledged,
    /// 4: the provider confirmed power-off or detachment.
    Provider,
    /// 5: the venue confirmed.
    Venue,
}

impl ProofLevel {
    const ALL: [Self; 5] =
        [Self::Lapsed, Self::LapsedBehindGate, Self::Acknowledged, Self::Provider, Self::Venue];

    /// The level's number, 1 to 5.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Lapsed => 1,
            Self::LapsedBehindGate => 2,
            Self::Acknowledged => 3,
            Self::Provider => 4,
            Self::Venue => 5,
        }
    }

    /// The level in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Lapsed => "the lease lapsed",
            Self::LapsedBehindGate => "the lease lapsed behind an armed gate",
            Self::Acknowledged => "the old site acknowledged",
            Self::Provider => "the provider confirmed",
            Self::Venue => "the venue confirmed",
        }
    }
}

impl TryFrom<u8> for ProofLevel {
    type Error = String;
    fn try_from(number: u8) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|level| level.number() == number)
            .ok_or_else(|| format!("a proof level is 1 to 5, not {number}"))
    }
}

impl From<ProofLevel> for u8 {
    fn from(level: ProofLevel) -> Self {
        level.number()
    }
}

impl fmt::Display for ProofLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number(), self.words())
    }
}

/// Why one host is believed harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofHow {
    /// Its lease cannot live any more.
    Lapsed {
        /// Whether its kernel gate was armed when it was last heard.
        gate_armed: bool,
        /// Whether its watchdog was armed when it was last heard, and has had its
        /// time since the lapse.
        #[serde(default)]
        watchdog_armed: bool,
    },
    /// It reported its exclusive services stopped.
    Acknowledged {
        /// Whether it also reported a closed kernel gate.
        gate_closed: bool,
    },
    /// A fence hook confirmed it.
    Confirmed {
        /// The hook's name.
        hook: String,
        /// What its word is worth.
        level: ProofLevel,
        /// In its own words.
        detail: String,
    },
}

impl ProofHow {
    pub(crate) fn level(&self) -> ProofLevel {
        match self {
            Self::Lapsed { gate_armed, watchdog_armed } => {
                lapse_level(*gate_armed, *watchdog_armed)
            }
            Self::Acknowledged { .. } => ProofLevel::Acknowledged,
            Self::Confirmed { level, .. } => *level,
        }
    }

    fn words(&self) -> String {
        let fixed = match self {
            Self::Lapsed { gate_armed: false, watchdog_armed: false } => "its lease lapsed",
            Self::Lapsed { gate_armed: true, watchdog_armed: false } => {
                "its lease lapsed behind an armed gate"
            }
            Self::Lapsed { gate_armed: false, watchdog_armed: true } => {
                "its lease lapsed, and so did the time of its armed watchdog"
            }
            Self::Lapsed { gate_armed: true, watchdog_armed: true } => {
                "its lease lapsed behind an armed gate, and so did the time of its armed watchdog"
            }
            Self::Acknowledged { gate_closed: false } => "it acknowledged, services stopped",
            Self::Acknowledged { gate_closed: true } => {
                "it acknowledged, gate closed and services stopped"
            }
            Self::Confirmed { hook, level, detail } => {
                let gap = if detail.is_empty() { "" } else { ": " };
                return format!("hook {hook} confirmed at level {}{gap}{detail}", level.number());
            }
        };
        fixed.into()
    }
}

/// One host's part of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProof {
    /// The host.
    pub host: HostId,
    /// Why it is believed harmless.
    pub how: ProofHow,
}

/// The proof that no host of a group can act under `epoch` or a lower one.
#[derive(Debug, PartialEq, Eq, Clone, Serialize, Deserialize)]
pub struct FenceProof {
    group: GroupId,
    epoch: Epoch,
    hosts: Vec<HostProof>,
}

impl FenceProof {
    /// No site of this group was ever active: there is nothing to fence.
    /// `None` when one was.
    #[must_use]
    pub fn never_active(group: &crate::state::Group) -> Option<Self> {
        let never = group.epoch == Epoch(0) && group.active.is_none();
        never.then(|| Self { group: group.spec.name.clone(), epoch: Epoch(0), hosts: Vec::new() })
    }

    /// The group.
    #[must_use]
    pub const fn group(&self) -> &GroupId {
        &self.group
    }

    /// The epoch that is fenced.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Host by host; empty when no site was ever active.
    #[must_use]
    pub fn hosts(&self) -> &[HostProof] {
        &self.hosts
    }

    /// The weakest host's level; with nothing to fence, the highest.
    #[must_use]
    pub fn level(&self) -> ProofLevel {
        self.hosts.iter().map(|host| host.how.level()).min().unwrap_or(ProofLevel::Venue)
    }

    /// The proof in words.
    #[must_use]
    pub fn words(&self) -> String {
        if self.hosts.is_empty() {
            return "no site was active before".into();
        }
        let each: Vec<String> =
            self.hosts.iter().map(|h| format!("{}: {}", h.host, h.how.words())).collect();
        each.join("; ")
    }
}

/// What is known of one host while the old site is being fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostFence {
    /// The acknowledgement, when it has come: whether the gate is closed.
    pub(crate) acknowledged: Option<bool>,
    /// The strongest fence hook that confirmed it, with its words.
    pub(crate) confirmed: Option<(FenceHook, String)>,
    /// When its lease has certainly lapsed (C4), as far as grants and its own word go.
    pub(crate) lapses_at: Mono,
    /// Whether its kernel gate was armed when it was last heard.
    pub(crate) gate_armed: bool,
    /// Where its watchdog was armed when it was last heard: how long after the
    /// lapse it has certainly reset a host whose lease loop stands still.
    pub(crate) watchdog: Option<Millis>,
    /// Whether it is heard, so that its acknowledgement is worth waiting for.
    pub(crate) in_contact: bool,
    /// Whether it is heard and says itself that something exclusive runs there
    /// without a gate: then no clock of ours makes it harmless.
    pub(crate) contradicted: bool,
}

/// The moment at which the evidence is weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// This leader's clock.
    pub(crate) now: Mono,
    /// When a host that is heard need not be waited for any more.
    pub(crate) patience: Mono,
    /// Whether a lapse counts at all: not while promises of the target site may
    /// let the old epoch live on (C4 under failsafe).
    pub(crate) lapse_counts: bool,
}

impl HostFence {
    /// What a lapse of it would prove in the end.
    pub(crate) fn by_lapse(&self) -> ProofLevel {
        lapse_level(self.gate_armed, self.watchdog.is_some())
    }

    /// When its watchdog has had its time. It is not fed once the lease is over
    /// and services still run, and by no loop that stands still, so the newest
    /// feed that could matter is not after the lapse (C4).
    pub(crate) fn reset_at(&self) -> Option<Mono> {
        self.watchdog.map(|within| self.lapses_at + within)
    }

    /// The best reason for believing it harmless now, if there is one.
    ///
    /// A hook's confirmation and an acknowledgement each stand alone and count
    /// at once. A lapse counts from `lapses_at` on; for a host that is still
    /// heard it is believed only after `patience`, because the acknowledgement
    /// that will come says more.
    pub(crate) fn best(&self, moment: &Moment) -> Option<ProofHow> {
        if let Some((hook, detail)) = &self.confirmed {
            let (hook, level) = (hook.name.clone(), hook.level);
            return Some(ProofHow::Confirmed { hook, level, detail: detail.clone() });
        }
        if let Some(gate_closed) = self.acknowledged {
            return Some(ProofHow::Acknowledged { gate_closed });
        }
        let lapsed = moment.lapse_counts
            && moment.now >= self.lapses_at
            && !self.contradicted
            && (!self.in_contact || moment.now >= moment.patience);
        let gate_armed = self.gate_armed;
        let watchdog_armed = self.reset_at().is_some_and(|at| moment.now >= at);
        lapsed.then_some(ProofHow::Lapsed { gate_armed, watchdog_armed })
    }
}

/// Concludes the fencing of `epoch`, or not yet: every host must be harmless,
/// and the weakest reason for it must reach `needed`.
pub(crate) fn conclude(
    group: &GroupId,
    epoch: Epoch,
    hosts: &BTreeMap<HostId, HostFence>,
    needed: ProofLevel,
    moment: &Moment,
) -> Option<FenceProof> {
    let one = |(host, fence): (&HostId, &HostFence)| {
        fence.best(moment).map(|how| HostProof { host: host.clone(), how })
    };
    let proofs = hosts.iter().map(one).collect::<Option<Vec<_>>>()?;
    let proof = FenceProof { group: group.clone(), epoch, hosts: proofs };
    (!proof.hosts.is_empty() && proof.level() >= needed).then_some(proof)
}

/// What a lapse proves: more when something stopped the host whatever became of
/// its agent.
pub(crate) const fn lapse_level(gate_armed: bool, watchdog_armed: bool) -> ProofLevel {
    if gate_armed || watchdog_armed { ProofLevel::LapsedBehindGate } else { ProofLevel::Lapsed }
}

/// Whether a gate in this state is armed.
pub(crate) const fn armed(gate: GateState) -> bool {
    match gate {
        GateState::Absent => false,
        GateState::Closed | GateState::Open => true,
    }
}
