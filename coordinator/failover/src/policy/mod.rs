//! What an operator wants for a group. Checked whole before it is accepted;
//! every bound follows from the one knob `lease` (T).

mod check;
mod timing;

pub use check::SpecFault;
pub(crate) use timing::OBSERVER_LATE;
pub use timing::{Bound, Timing};

use crate::fence::ProofLevel;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{GroupId, HostId, Millis, ProbeName, ServiceName, SiteId};
use serde::{Deserialize, Serialize};

/// What to do when an exclusive service of the active site fails while its host lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnServiceFailed {
    /// Move the group, after the dwell.
    #[default]
    Failover,
    /// Leave it to a person.
    Hold,
}

/// What to do when a feed is silent on the active site while another site hears it (C8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFeedSilent {
    /// Leave it to a person.
    #[default]
    Hold,
    /// Move the group.
    Failover,
}

/// One place where the group can be active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSpec {
    /// Its name.
    pub name: SiteId,
    /// Its hosts.
    pub hosts: Vec<HostId>,
    /// What the DNS hook is given for it.
    pub addresses: Vec<String>,
}

/// One service of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name, the same in every host's agent.toml.
    pub name: ServiceName,
    /// Whether it may act on one site only.
    pub exclusive: bool,
    /// Services that must be healthy first.
    pub after: Vec<ServiceName>,
    /// How long its start and health gate may take.
    pub start_timeout: Millis,
    /// Its host in each site that has several.
    pub hosts: BTreeMap<SiteId, HostId>,
}

/// A group's whole policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// Its name.
    pub name: GroupId,
    /// T, from which every bound derives.
    pub lease: Millis,
    /// The proof that an automatic failover must have.
    pub automatic_failover_needs: ProofLevel,
    /// Whether failover starts by itself.
    pub automatic: bool,
    /// How long a host must stay lost before an automatic failover starts.
    pub dwell: Millis,
    /// How long after a completed failover no automatic one starts (C7).
    pub cool_down: Millis,
    /// What a failed exclusive service on a living host leads to.
    pub on_service_failed: OnServiceFailed,
    /// The site that is active first, and failback's target.
    pub primary: SiteId,
    /// The sites, in order of preference.
    pub sites: Vec<SiteSpec>,
    /// The services.
    pub services: Vec<ServiceSpec>,
    /// Probes that must hear fresh messages for a site to count as verified.
    pub feeds: Vec<ProbeName>,
    /// What a feed leads to that is silent on the active site alone (C8).
    #[serde(default)]
    pub on_feed_silent: OnFeedSilent,
    /// How far the data of the new site may lag behind for an automatic failover;
    /// `None` when it is not asked.
    #[serde(default)]
    pub max_data_lag: Option<Millis>,
    /// Whether the active site may go on without a quorum by the other sites'
    /// promises (A6). Takes effect with the next activation.
    #[serde(default)]
    pub failsafe: bool,
    /// Fence hooks by name, as coordinator.toml has them, for levels 4 and 5.
    #[serde(default)]
    pub fence: Vec<String>,
    /// Whether accepting a weaker proof takes a second operator.
    #[serde(default)]
    pub two_operators: bool,
    /// What a host must have left to take over, as `doctor` asks.
    #[serde(default)]
    pub minimums: Minimums,
}

/// What a host must have left to take over; `None` for the default, below which
/// `doctor` only warns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minimums {
    /// Percent of all processors that are idle.
    #[serde(default)]
    pub cpu_idle_percent: Option<u64>,
    /// Memory that programs may still get, in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Space that is free on every disk that is looked at, in MiB.
    #[serde(default)]
    pub disk_mib: Option<u64>,
}

impl Minimums {
    /// In percent, and whether the policy says so. A tenth is what a start takes.
    pub(crate) fn cpu_idle(&self) -> (u64, bool) {
        (self.cpu_idle_percent.unwrap_or(10), self.cpu_idle_percent.is_some())
    }

    /// In bytes, and whether the policy says so. One small container's worth.
    pub(crate) fn memory(&self) -> (u64, bool) {
        (self.memory_mib.unwrap_or(256) << 20, self.memory_mib.is_some())
    }

    /// In bytes, and whether the policy says so: the logs of a bad day.
    pub(crate) fn disk(&self) -> (u64, bool) {
        (self.disk_mib.unwrap_or(1024) << 20, self.disk_mib.is_some())
    }
}

impl GroupSpec {
    /// The site of this name.
    #[must_use]
    pub fn site(&self, name: &SiteId) -> Option<&SiteSpec> {
        self.sites.iter().find(|site| site.name == *name)
    }

    /// The site that this host belongs to.
    #[must_use]
    pub fn site_of(&self, host: &HostId) -> Option<&SiteSpec> {
        self.sites.iter().find(|site| site.hosts.contains(host))
    }

    /// Every bound.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing::derive(self.lease, self.dwell)
    }

    /// The host that runs `service` on `site`.
    #[must_use]
    pub fn host_for(&self, service: &ServiceSpec, site: &SiteSpec) -> Option<HostId> {
        service.hosts.get(&site.name).or_else(|| site.hosts.first()).cloned()
    }

    /// The services in an order that respects `after`; file order otherwise.
    #[must_use]
    pub fn start_order(&self) -> Vec<&ServiceSpec> {
        let mut placed: BTreeSet<&ServiceName> = BTreeSet::new();
        let mut order = Vec::new();
        while order.len() < self.services.len() {
            let ready = self.services.iter().find(|service| {
                !placed.contains(&service.name)
                    && service.after.iter().all(|name| placed.contains(name))
            });
            // A cycle: `check` refuses it, so this is the end for valid policies only.
            let Some(service) = ready else { break };
            placed.insert(&service.name);
            order.push(service);
        }
        order
    }

    /// What changes from `old` to this, one line a field.
    #[must_use]
    pub fn differences(&self, old: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut differ = |field: &str, before: String, after: String| {
            if before != after {
                lines.push(format!("{field}: {before} -> {after}"));
            }
        };
        differ("lease", old.lease.to_string(), self.lease.to_string());
        differ(
            "automatic_failover_needs",
            old.automatic_failover_needs.to_string(),
            self.automatic_failover_needs.to_string(),
        );
        differ("automatic", old.automatic.to_string(), self.automatic.to_string());
        differ("dwell", old.dwell.to_string(), self.dwell.to_string());
        differ("cool_down", old.cool_down.to_string(), self.cool_down.to_string());
        differ(
            "on_service_failed",
            format!("{:?}", old.on_service_failed).to_lowercase(),
            format!("{:?}", self.on_service_failed).to_lowercase(),
        );
        differ("primary", old.primary.to_string(), self.primary.to_string());
        differ("sites", sites_line(&old.sites), sites_line(&self.sites));
        differ("services", services_line(&old.services), services_line(&self.services));
        differ("feeds", names(&old.feeds), names(&self.feeds));
        differ(
            "on_feed_silent",
            format!("{:?}", old.on_feed_silent).to_lowercase(),
            format!("{:?}", self.on_feed_silent).to_lowercase(),
        );
        let lag = |spec: &Self| spec.max_data_lag.map_or("not asked".into(), |lag| lag.to_string());
        differ("max_data_lag", lag(old), lag(self));
        differ("failsafe", old.failsafe.to_string(), self.failsafe.to_string());
        differ("fence", names(&old.fence), names(&self.fence));
        let least = |one: Option<u64>| one.map_or("default".into(), |value| value.to_string());
        let (before, after) = (old.minimums, self.minimums);
        for (name, old, new) in [
            ("minimum.cpu_idle_percent", before.cpu_idle_percent, after.cpu_idle_percent),
            ("minimum.memory_mib", before.memory_mib, after.memory_mib),
            ("minimum.disk_mib", before.disk_mib, after.disk_mib),
        ] {
            differ(name, least(old), least(new));
        }
        differ("two_operators", old.two_operators.to_string(), self.two_operators.to_string());
        lines
    }
}

fn names<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn sites_line(sites: &[SiteSpec]) -> String {
    let one = |site: &SiteSpec| {
        format!("{} [{}] ({})", site.name, names(&site.hosts), site.addresses.join(", "))
    };
    sites.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn services_line(services: &[ServiceSpec]) -> String {
    let one = |service: &ServiceSpec| {
        let share = if service.exclusive { "exclusive" } else { "shared" };
        let hosts: Vec<String> =
            service.hosts.iter().map(|(site, host)| format!("{site}={host}")).collect();
        format!(
            "{} {share} after [{}] within {} on [{}]",
            service.name,
            names(&service.after),
            service.start_timeout,
            hosts.join(", ")
        )
    };
    services.iter().map(one).collect::<Vec<_>>().join("; ")
}
