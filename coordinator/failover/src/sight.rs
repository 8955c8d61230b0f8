//! What a decision looks at: one group, at one moment, as plain data.
//!
//! Made from fact (state) and opinion (view); copied into the record that the
//! decision leads to, so that the same pure function can be asked again.

mod copies;
mod stale;
mod take;

pub use copies::CopySight;
pub(crate) use take::Standpoint;

use crate::{
    feed::{FeedState, READING_MAX},
    fence::{self, ProofLevel},
    hook::FenceHook,
    policy::{OnFeedSilent, OnServiceFailed, Timing},
    suspicion::Standing,
};
use alloc::{format, string::String, vec::Vec};
use core::fmt;
use model::{
    Derived, Epoch, GateState, GroupId, HostId, Millis, PlanId, ProbeName, ServiceName,
    ServiceState, SiteId, Wall, WatchdogState,
};
use serde::{Deserialize, Serialize};

/// An exclusive service that is not as an active site's should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFault {
    /// Which.
    pub service: ServiceName,
    /// How it is.
    pub state: ServiceState,
    /// In words, from its driver.
    pub detail: String,
    /// For how long, as far as it counts: not before this leader, nor before the last plan's end.
    pub lasting: Millis,
}

/// What one voter says of one host (C5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opinion {
    /// It hears the host.
    Sees {
        /// Since the last heartbeat, as the voter said it.
        silence: Millis,
    },
    /// It has lost sight of the host for the suspicion time at least.
    Lost {
        /// Since the last heartbeat; `None` when it never heard one.
        silence: Option<Millis>,
    },
    /// Its word does not count now.
    Abstains {
        /// Why not.
        why: String,
    },
    /// It has not been heard within the suspicion time.
    Silent {
        /// In words.
        why: String,
    },
    /// It derives other bounds from the same lease: its ages mean something
    /// else, so it counts as silent.
    Differs {
        /// What it derives.
        there: Derived,
        /// What this leader derives.
        here: Derived,
    },
}

/// One voter's opinion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserverSight {
    /// The voter.
    pub name: String,
    /// What it says.
    pub opinion: Opinion,
}

impl fmt::Display for ObserverSight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.opinion {
            Opinion::Sees { silence } => write!(f, "{name} heard it {silence} before"),
            Opinion::Lost { silence: Some(silence) } => {
                write!(f, "{name} has not heard it for {silence}")
            }
            Opinion::Lost { silence: None } => write!(f, "{name} never heard it"),
            Opinion::Abstains { why } => write!(f, "{name} abstains: {why}"),
            Opinion::Silent { why } => write!(f, "{name} does not count: {why}"),
            Opinion::Differs { there, here } => {
                write!(f, "{name} does not count: it derives other bounds: {there}; here: {here}")
            }
        }
    }
}

/// One feed on one host (C8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedSight {
    /// Which.
    pub feed: ProbeName,
    /// How it is.
    pub state: FeedState,
    /// For how long, as far as it counts.
    pub lasting: Millis,
    /// In words, from its probe.
    pub detail: String,
}

/// One watermark on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSight {
    /// Which.
    pub probe: ProbeName,
    /// How far the copy lags behind; `None` when it could not be told.
    pub lag: Option<Millis>,
    /// How old the reading is.
    pub age: Millis,
    /// In words, from its probe.
    pub detail: String,
}

/// One host of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSight {
    /// Which.
    pub host: HostId,
    /// Since its last heartbeat; `None` when this leader never heard it.
    pub silence: Option<Millis>,
    /// Its kernel gate, when last heard.
    pub gate: Option<GateState>,
    /// The group's exclusive services that are not running here.
    pub faults: Vec<ServiceFault>,
    /// The group's exclusive services of which nobody there can tell whether they
    /// run, each with the driver's words.
    #[serde(default)]
    pub unknown: Vec<(ServiceName, String)>,
    /// Services that the group expects here and agent.toml does not declare, or
    /// declares otherwise (exclusive or shared).
    pub undeclared: Vec<ServiceName>,
    /// Every voter's opinion of it; empty when the voters are not known.
    #[serde(default)]
    pub observers: Vec<ObserverSight>,
    /// How long ago another voter heard it at last, as far as it said.
    #[serde(default)]
    pub heard_by_others: Option<Millis>,
    /// Why its epoch counts as stale, if it does: it has not rejoined as a standby.
    #[serde(default)]
    pub stale: Option<String>,
    /// Why somebody on it decided that it must not be active, if somebody did.
    #[serde(default)]
    pub barred: Option<String>,
    /// The group's feeds that it has a reading of.
    #[serde(default)]
    pub feeds: Vec<FeedSight>,
    /// Its watermarks: how far its copies of the data lag behind.
    #[serde(default)]
    pub data: Vec<DataSight>,
    /// Its watchdog, when last heard; one whose time is not known counts as disarmed.
    #[serde(default)]
    pub watchdog: WatchdogState,
    /// The group's sources of backups there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<CopySight>,
}

impl HostSight {
    /// The proof that a lapse of this host's lease would be.
    #[must_use]
    pub fn by_lapse(&self) -> ProofLevel {
        let watchdog = self.watchdog == WatchdogState::Armed;
        fence::lapse_level(self.gate.is_some_and(fence::armed), watchdog)
    }
}

/// One site of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSight {
    /// Which.
    pub site: SiteId,
    /// Its hosts.
    pub hosts: Vec<HostSight>,
}

/// Everything that `decide` may look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// When, for people.
    pub at: Wall,
    /// The group.
    pub group: GroupId,
    /// The site that is active.
    pub active: Option<SiteId>,
    /// The committed epoch.
    pub epoch: Epoch,
    /// The site that is active first.
    pub primary: SiteId,
    /// Why automation is stopped, if it is.
    pub held: Option<String>,
    /// The plan under way.
    pub plan: Option<PlanId>,
    /// What is left of the cool-down.
    pub cool_down_left: Millis,
    /// Whether failover may start by itself.
    pub automatic: bool,
    /// What a failed service leads to.
    pub on_service_failed: OnServiceFailed,
    /// The proof that an automatic failover needs.
    pub proof_needed: ProofLevel,
    /// The bounds.
    pub timing: Timing,
    /// For how long this leader has been watching.
    pub watched: Millis,
    /// The sites, in the policy's order.
    pub sites: Vec<SiteSight>,
    /// Who votes; empty as long as this node does not know it, `None` in evidence
    /// of a version that had no observers.
    #[serde(default)]
    pub voters: Option<Vec<String>>,
    /// What a silent feed leads to.
    #[serde(default)]
    pub on_feed_silent: OnFeedSilent,
    /// How far the new site's data may lag behind; `None` when it is not asked.
    #[serde(default)]
    pub max_data_lag: Option<Millis>,
    /// The fence hooks that the group names and this coordinator has.
    #[serde(default)]
    pub fence_hooks: Vec<FenceHook>,
    /// Hosts that joined after the epoch began, where it may live by promises:
    /// for a move to them no lapse can be proven (C4).
    #[serde(default)]
    pub newcomers: Vec<HostId>,
}

impl Sight {
    /// The site of this name.
    #[must_use]
    pub fn site(&self, name: &SiteId) -> Option<&SiteSight> {
        self.sites.iter().find(|site| site.site == *name)
    }

    /// How a host stands.
    #[must_use]
    pub fn standing(&self, host: &HostSight) -> Standing {
        Standing::of(host.silence, self.watched, &self.timing)
    }

    /// How far the data of `site` lags behind, where every watermark of its hosts
    /// says so: the RPO of a move to it.
    #[must_use]
    pub fn data_lag(&self, site: &SiteId) -> Option<Millis> {
        let hosts = self.site(site)?.hosts.iter();
        let known = hosts
            .flat_map(|host| &host.data)
            .map(|data| data.lag.filter(|_| data.age <= READING_MAX));
        known.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// What the loss of the active site would lose of what is backed up there: the
    /// age of the oldest among its sources' newest surviving copies. `None` where
    /// there is no source, or one of them has no such copy.
    #[must_use]
    pub fn backup_lag(&self) -> Option<Millis> {
        let hosts = self.site(self.active.as_ref()?)?.hosts.iter();
        let ages = hosts.flat_map(|host| &host.copies).map(|copy| copy.age);
        ages.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// This sight as it would be if `site` had just fallen silent for good, and
    /// every voter that can hear anything agreed: what a rehearsal asks.
    #[must_use]
    pub fn without(&self, site: &SiteId) -> Self {
        let mut silent = self.clone();
        let silence = self.timing.detection() + Millis(1);
        for host in silent.sites.iter_mut().filter(|s| s.site == *site).flat_map(|s| &mut s.hosts) {
            host.silence = Some(silence);
            host.heard_by_others = None;
            for observer in &mut host.observers {
                if let Opinion::Sees { .. } = observer.opinion {
                    observer.opinion = Opinion::Lost { silence: Some(silence) };
                }
            }
        }
        silent
    }

    /// Why a lapse of `from` could not be proven for a move to `to`, where it
    /// would have to be (C4 under failsafe).
    pub(crate) fn unprovable(&self, from: &SiteSight, to: &SiteSight) -> Option<String> {
        let silent = from.hosts.iter().any(|host| self.standing(host) != Standing::Alive);
        let newcomer = to.hosts.iter().find(|host| self.newcomers.contains(&host.host))?;
        (silent && self.fence_hooks.is_empty()).then(|| {
            format!(
                "{} joined after epoch {} began, which may live by promises that it never gave",
                newcomer.host, self.epoch
            )
        })
    }

    /// The proof that fencing `site` would reach as things stand: its
    /// acknowledgement where it is heard, else a lapse, or a fence hook's word.
    #[must_use]
    pub fn reachable_proof(&self, site: &SiteSight) -> ProofLevel {
        let one = |host: &HostSight| match self.standing(host) {
            Standing::Alive => ProofLevel::Acknowledged,
            Standing::Suspect { .. } | Standing::Lost | Standing::NeverHeard => host.by_lapse(),
        };
        let weakest = site.hosts.iter().map(one).min().unwrap_or(ProofLevel::Venue);
        // A hook's word stands alone; whether it will confirm is known only then.
        let by_hook = self.fence_hooks.iter().map(|hook| hook.level).max();
        by_hook.map_or(weakest, |level| level.max(weakest))
    }
}
