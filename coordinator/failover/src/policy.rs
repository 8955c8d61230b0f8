//! What an operator wants for a group, and every bound that follows from the
//! one knob `lease` (T). Checked whole before it is accepted.

use crate::fence::ProofLevel;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use model::{GroupId, HostId, Millis, ProbeName, ServiceName, SiteId};
use serde::{Deserialize, Serialize};

/// Shortest lease: heartbeats every 50 ms are what an agent can promise.
const LEASE_MIN: Millis = Millis(500);
/// Longest lease: nobody waits more than a minute for certainty.
const LEASE_MAX: Millis = Millis(60_000);
/// Floor of the heartbeat interval.
const HEARTBEAT_MIN: Millis = Millis(50);
/// Floor of the skew margin m.
const SKEW_MIN: Millis = Millis(100);
/// Missed heartbeats that make a host suspect.
const MISSED_MAX: u64 = 5;
/// A group has at most this many sites, hosts a site, and services.
const LIST_MAX: usize = 100;

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
}

/// One thing wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFault {
    /// The field, as the group file names it: `group.lease`, `site[1].hosts`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

fn fault(field: impl Into<String>, message: String, hint: &str) -> SpecFault {
    SpecFault { field: field.into(), message, hint: hint.into() }
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

    /// Everything that is wrong with this policy; empty when it can be accepted.
    #[must_use]
    pub fn check(&self) -> Vec<SpecFault> {
        let mut faults = self.check_group();
        faults.extend(self.check_sites());
        faults.extend(self.check_services());
        faults
    }

    fn check_group(&self) -> Vec<SpecFault> {
        let mut faults = Vec::new();
        if !(LEASE_MIN..=LEASE_MAX).contains(&self.lease) {
            faults.push(fault(
                "group.lease",
                format!("a lease of {} is outside {LEASE_MIN} to {LEASE_MAX}", self.lease),
                "write for example lease = \"5s\"",
            ));
        }
        if self.site(&self.primary).is_none() {
            let names: Vec<&str> = self.sites.iter().map(|site| site.name.as_str()).collect();
            faults.push(fault(
                "group.primary",
                format!("no site is called `{}`", self.primary),
                &format!("use one of: {}", names.join(", ")),
            ));
        }
        if self.sites.len() < 2 {
            faults.push(fault(
                "site",
                format!("a group needs two sites or more, this one has {}", self.sites.len()),
                "add a [[site]] for the standby",
            ));
        }
        for (field, count) in [("site", self.sites.len()), ("service", self.services.len())] {
            if count > LIST_MAX {
                let message = format!("{count} entries; at most {LIST_MAX} are accepted");
                faults.push(fault(field, message, "split the group"));
            }
        }
        faults
    }

    fn check_sites(&self) -> Vec<SpecFault> {
        let mut faults = Vec::new();
        let mut sites = BTreeSet::new();
        let mut hosts = BTreeMap::new();
        for (at, site) in self.sites.iter().enumerate() {
            if !sites.insert(&site.name) {
                let message = format!("the site `{}` is given twice", site.name);
                faults.push(fault(format!("site[{at}].name"), message, "rename one of them"));
            }
            if site.hosts.is_empty() || site.hosts.len() > LIST_MAX {
                let message = format!("the site `{}` has {} hosts", site.name, site.hosts.len());
                faults.push(fault(
                    format!("site[{at}].hosts"),
                    message,
                    "name at least one host as its agent.toml does",
                ));
            }
            for host in &site.hosts {
                if let Some(other) = hosts.insert(host, &site.name) {
                    let message = format!("the host `{host}` already belongs to site `{other}`");
                    faults.push(fault(
                        format!("site[{at}].hosts"),
                        message,
                        "a host can be in one site of a group only",
                    ));
                }
            }
        }
        faults
    }

    fn check_services(&self) -> Vec<SpecFault> {
        let mut faults = Vec::new();
        let names: BTreeSet<&ServiceName> = self.services.iter().map(|s| &s.name).collect();
        if names.len() != self.services.len() {
            let message = "a service is given twice".to_string();
            faults.push(fault("service", message, "give each service once"));
        }
        if !self.services.iter().any(|service| service.exclusive) {
            faults.push(fault(
                "service",
                "no service is exclusive, so there is nothing to protect".to_string(),
                "declare the terminal or bridge with exclusive = true",
            ));
        }
        for (at, service) in self.services.iter().enumerate() {
            for name in service.after.iter().filter(|name| !names.contains(name)) {
                let message =
                    format!("`{}` comes after `{name}`, which is no service here", service.name);
                faults.push(fault(
                    format!("service[{at}].after"),
                    message,
                    "name a service of this file",
                ));
            }
            faults.extend(self.check_placement(at, service));
        }
        if faults.is_empty() && self.start_order().len() < self.services.len() {
            let message = "`after` goes in a circle".to_string();
            faults.push(fault("service", message, "remove one `after` of the circle"));
        }
        faults
    }

    fn check_placement(&self, at: usize, service: &ServiceSpec) -> Vec<SpecFault> {
        let field = format!("service[{at}].hosts");
        let mut faults = Vec::new();
        for (site, host) in &service.hosts {
            if !self.site(site).is_some_and(|site| site.hosts.contains(host)) {
                let message = format!("`{host}` is not a host of site `{site}`");
                faults.push(fault(field.clone(), message, "name one of that site's hosts"));
            }
        }
        for site in &self.sites {
            if site.hosts.len() > 1 && !service.hosts.contains_key(&site.name) {
                let message = format!(
                    "site `{}` has {} hosts and `{}` does not say which of them runs it",
                    site.name,
                    site.hosts.len(),
                    service.name
                );
                faults.push(fault(field.clone(), message, "add hosts = { SITE = \"HOST\" }"));
            }
        }
        faults
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

/// Every bound of a group, derived from T.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// T.
    pub lease: Millis,
    /// `max(T/10, 50 ms)`.
    pub heartbeat: Millis,
    /// `d_stop = T/20`, taken off the agent's deadline.
    pub gate_margin: Millis,
    /// `rho * T`, with rho = 1 %.
    pub rate_error: Millis,
    /// `m = max(100 ms, T/20)`.
    pub skew_margin: Millis,
    /// 5 heartbeats.
    pub suspicion: Millis,
    /// How long a suspect must stay silent.
    pub dwell: Millis,
}

/// One line of `coordctl timing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Stable name.
    pub name: &'static str,
    /// Its value.
    pub value: Millis,
    /// How it follows from the lease.
    pub formula: &'static str,
    /// What it means for a person.
    pub meaning: &'static str,
}

impl Timing {
    /// Derives every bound from T and the dwell.
    #[must_use]
    pub fn derive(lease: Millis, dwell: Millis) -> Self {
        let heartbeat = lease.div_ceil(10).max(HEARTBEAT_MIN);
        Self {
            lease,
            heartbeat,
            gate_margin: lease.div_ceil(20),
            rate_error: lease.div_ceil(100),
            skew_margin: lease.div_ceil(20).max(SKEW_MIN),
            suspicion: heartbeat.times(MISSED_MAX),
            dwell,
        }
    }

    /// `T(1+rho)+m`: after this long without a grant no lease of the group can live (C4).
    #[must_use]
    pub fn lapse(&self) -> Millis {
        self.lease + self.rate_error + self.skew_margin
    }

    /// From the last heartbeat to the automatic decision.
    #[must_use]
    pub fn detection(&self) -> Millis {
        self.suspicion + self.dwell
    }

    /// Every bound with its formula, in the order in which they come to bear.
    #[must_use]
    pub fn bounds(&self) -> Vec<Bound> {
        let bound = |name, value, formula, meaning| Bound { name, value, formula, meaning };
        vec![
            bound(
                "lease",
                self.lease,
                "T, set by the operator",
                "how long a host may act without hearing from a quorum",
            ),
            bound(
                "heartbeat",
                self.heartbeat,
                "max(T/10, 50 ms)",
                "how often an agent speaks and renews",
            ),
            bound(
                "gate_margin",
                self.gate_margin,
                "T/20",
                "how long before the lease's end the host stops",
            ),
            bound(
                "rate_error",
                self.rate_error,
                "T * 1 %",
                "how much two clocks may drift apart during a lease",
            ),
            bound(
                "skew_margin",
                self.skew_margin,
                "max(100 ms, T/20)",
                "added before a lapse is believed",
            ),
            bound("suspicion", self.suspicion, "5 heartbeats", "silence that makes a host suspect"),
            bound(
                "dwell",
                self.dwell,
                "T unless set",
                "how long a suspect must stay silent before failover starts",
            ),
            bound(
                "detection",
                self.detection(),
                "suspicion + dwell",
                "from the last heartbeat to the decision",
            ),
            bound(
                "lapse",
                self.lapse(),
                "T * 1.01 + skew margin",
                "from the last grant to a proven lapse",
            ),
            bound(
                "activation",
                self.detection().max(self.lapse()),
                "max(detection, lapse)",
                "from the last heartbeat to the standby's permission to start, at most one tick later",
            ),
        ]
    }
}
