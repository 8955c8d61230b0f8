//! What may be wrong with a policy, each fault with its field and what to write instead.

use super::{GroupSpec, OnFeedSilent, ServiceSpec};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{Millis, ServiceName};

/// Shortest lease: heartbeats every 50 ms are what an agent can promise.
const LEASE_MIN: Millis = Millis(500);
/// Longest lease: nobody waits more than a minute for certainty.
const LEASE_MAX: Millis = Millis(60_000);
/// Longest dwell, longest start of a service and oldest data: who needs more
/// than an hour does not need automatic failover.
const WAIT_MAX: Millis = Millis::from_secs(3600);
/// Longest cool-down: a week.
const COOL_DOWN_MAX: Millis = Millis::from_secs(7 * 24 * 3600);
/// A group has at most this many sites, hosts a site, and services.
const LIST_MAX: usize = 100;

/// A group uses at most this many fence hooks: a provider's and a venue's for
/// each of a few places.
const HOOKS_MAX: usize = 10;

/// Most of a minimum in MiB: a pebibyte. Beyond it somebody counted bytes.
const MINIMUM_MIB_MAX: u64 = 1 << 30;

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
        let waits = [
            ("group.dwell", self.dwell, WAIT_MAX),
            ("group.cool_down", self.cool_down, COOL_DOWN_MAX),
            ("group.max_data_lag", self.max_data_lag.unwrap_or_default(), WAIT_MAX),
        ];
        for (field, given, most) in waits.into_iter().filter(|(_, given, most)| given > most) {
            let message = format!("{given} is more than {most}");
            faults.push(fault(field, message, "write a shorter time"));
        }
        if self.on_feed_silent == OnFeedSilent::Failover && self.feeds.is_empty() {
            let message = "on_feed_silent = \"failover\" without any feed".to_string();
            faults.push(fault("group.on_feed_silent", message, "add a [[feed]]"));
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
        faults.extend(self.check_hooks());
        faults.extend(self.check_minimums());
        for (field, count) in [("site", self.sites.len()), ("service", self.services.len())] {
            if count > LIST_MAX {
                let message = format!("{count} entries; at most {LIST_MAX} are accepted");
                faults.push(fault(field, message, "split the group"));
            }
        }
        faults
    }

    fn check_minimums(&self) -> Vec<SpecFault> {
        let least = &self.minimums;
        let bounds = [
            ("minimum.cpu_idle_percent", least.cpu_idle_percent, 100),
            ("minimum.memory_mib", least.memory_mib, MINIMUM_MIB_MAX),
            ("minimum.disk_mib", least.disk_mib, MINIMUM_MIB_MAX),
        ];
        let over = bounds.into_iter().filter_map(|(field, given, most)| {
            let given = given.filter(|given| *given > most)?;
            let message = format!("{given} is more than {most}");
            Some(fault(field, message, "write what a host can have"))
        });
        over.collect()
    }

    fn check_hooks(&self) -> Vec<SpecFault> {
        let names: BTreeSet<&String> = self.fence.iter().collect();
        let message = if self.fence.len() > HOOKS_MAX {
            format!("{} hooks; at most {HOOKS_MAX} are accepted", self.fence.len())
        } else if names.len() != self.fence.len() {
            "a hook is named twice".to_string()
        } else if names.iter().any(|name| name.is_empty()) {
            "a hook's name is empty".to_string()
        } else {
            return Vec::new();
        };
        let hint = "name each [[fence]] of coordinator.toml that this group may use, once";
        Vec::from([fault("group.fence", message, hint)])
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
            if service.start_timeout == Millis::ZERO || service.start_timeout > WAIT_MAX {
                let message = format!(
                    "`{}` may take {} to start; more than nothing and at most {WAIT_MAX} is allowed",
                    service.name, service.start_timeout
                );
                let hint = "write for example start_timeout = \"60s\"";
                faults.push(fault(format!("service[{at}].start_timeout"), message, hint));
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
}
