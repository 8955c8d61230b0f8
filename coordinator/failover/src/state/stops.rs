//! Emergency stops: what operators stopped, where, and for how long.
//!
//! A stop stands until a release, whatever becomes of leaders and agents: while one
//! stands, no lease is granted there, nothing of the group starts anywhere by itself,
//! and a plan towards a stopped host ends held.

use super::{Applied, NO_INCIDENT, State, apply::ignored};
use crate::plan::Plan;
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{GroupId, HostId, OrderId, Severity, SiteId, StopDeed, StopOrder, Wall};

/// What a stop is aimed at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aim<'a> {
    /// The group; `None` for every one.
    pub group: Option<&'a GroupId>,
    /// Only the hosts of this site.
    pub site: Option<&'a SiteId>,
    /// Only this host.
    pub host: Option<&'a HostId>,
}

impl State {
    /// The groups and hosts that are meant; none where the aim fits nothing.
    #[must_use]
    pub fn aimed(&self, aim: Aim<'_>) -> BTreeMap<GroupId, Vec<HostId>> {
        let groups = self.groups.values().filter(|g| aim.group.is_none_or(|n| *n == g.spec.name));
        let hosts = groups.map(|group| {
            let sites = group.spec.sites.iter();
            let sites = sites.filter(|site| aim.site.is_none_or(|name| *name == site.name));
            let hosts = sites.flat_map(|site| &site.hosts);
            let hosts = hosts.filter(|host| aim.host.is_none_or(|name| name == *host)).cloned();
            (group.spec.name.clone(), hosts.collect::<Vec<_>>())
        });
        hosts.filter(|(_, hosts)| !hosts.is_empty()).collect()
    }

    /// The emergency stop of `group` that stands on `host`.
    #[must_use]
    pub fn stop_on(&self, group: &GroupId, host: &HostId) -> Option<&StopOrder> {
        let order = self.stops.get(host)?.get(group)?;
        (order.deed == StopDeed::Stop).then_some(order)
    }

    /// Why `group` must not be active on `host`, in words, where a stop stands.
    #[must_use]
    pub fn stop_words(&self, group: &GroupId, host: &HostId) -> Option<String> {
        let stop = self.stop_on(group, host)?;
        Some(format!(
            "an emergency stop through the coordinators stands, by {}: {}",
            stop.by, stop.reason
        ))
    }

    /// The hosts of its sites on which `group` is stopped.
    #[must_use]
    pub fn stopped_hosts(&self, group: &GroupId) -> Vec<HostId> {
        let sites = self.groups.get(group).map(|g| g.spec.sites.as_slice());
        let hosts = sites.unwrap_or_default().iter().flat_map(|site| &site.hosts);
        hosts.filter(|host| self.stop_on(group, host).is_some()).cloned().collect()
    }

    /// The stops of `group` in a line; `None` where none stands.
    #[must_use]
    pub fn emergency(&self, group: &GroupId) -> Option<String> {
        let hosts = self.stopped_hosts(group);
        let newest = hosts.iter().filter_map(|host| self.stop_on(group, host));
        let newest = newest.max_by_key(|stop| stop.id)?;
        Some(format!(
            "emergency stop on {} by {}: {}; coordctl emergency-stop --release {group}",
            names(&hosts),
            newest.by,
            newest.reason
        ))
    }

    /// Why a plan cannot go on: a host that it would make active is stopped.
    #[must_use]
    pub fn stop_against(&self, plan: &Plan) -> Option<String> {
        let site = self.groups.get(&plan.group)?.spec.site(&plan.to)?;
        site.hosts.iter().find_map(|host| {
            let why = self.stop_words(&plan.group, host)?;
            Some(format!("host {host} may not be active: {why}"))
        })
    }

    /// What a stop of these hosts means for the group's plan; `None` without one.
    #[must_use]
    pub fn plan_under_stop(&self, group: &GroupId, hosts: &[HostId]) -> Option<String> {
        let plan = self.running_plan(group)?;
        let site = self.groups.get(group)?.spec.site(&plan.to);
        let hit = site.is_some_and(|site| site.hosts.iter().any(|host| hosts.contains(host)));
        let (id, kind, to) = (plan.id, plan.kind, &plan.to);
        Some(match hit {
            true => format!("plan {id} ({kind} to {to}) ends held, since {to} is stopped"),
            false => format!("plan {id} ({kind} to {to}) goes on, since {to} is not stopped"),
        })
    }

    /// The newest for each group and host takes the place of the one before.
    pub(super) fn apply_stop_ordered(
        &mut self,
        aim: Aim<'_>,
        deed: StopDeed,
        (by, reason): (&str, &str),
        at: Wall,
    ) -> Applied {
        let aimed = self.aimed(aim);
        if aimed.is_empty() {
            return ignored(nobody(aim));
        }
        let id = self.next_order(at);
        for (group, hosts) in aimed {
            let becomes = self.plan_under_stop(&group, &hosts).unwrap_or_default();
            for host in &hosts {
                let (group, by, reason) = (group.clone(), by.to_string(), reason.to_string());
                let order = StopOrder { id, group: group.clone(), deed, by, reason };
                self.stops.entry(host.clone()).or_default().insert(group, order);
            }
            self.tell_stop(&group, &hosts, deed, (by, reason), &becomes, at);
        }
        self.prune();
        Applied::HostOrdered(id)
    }

    fn tell_stop(
        &mut self,
        group: &GroupId,
        hosts: &[HostId],
        deed: StopDeed,
        (by, reason): (&str, &str),
        becomes: &str,
        at: Wall,
    ) {
        let hosts = names(hosts);
        let (severity, title, body) = match deed {
            StopDeed::Stop => (
                Severity::Critical,
                format!("{group}: emergency stop on {hosts}"),
                format!(
                    "{by} stopped {group} on {hosts}: {reason}. Nothing of it starts anywhere by \
                     itself until: coordctl emergency-stop --release {group}"
                ),
            ),
            StopDeed::Release => (
                Severity::Info,
                format!("{group}: emergency stop released on {hosts}"),
                format!("{by} let {group} run again on {hosts}{}", after(": ", reason)),
            ),
        };
        let incident = self.open_incident(group).map(|incident| incident.id);
        if let Some(open) = incident.and_then(|id| self.incidents.get_mut(&id)) {
            open.tell(at, body.clone());
        }
        let becomes = match deed {
            StopDeed::Stop => after(". ", becomes),
            StopDeed::Release => String::new(),
        };
        let about = (severity, group, incident.unwrap_or(NO_INCIDENT));
        self.notify(about, &title, format!("{body}{becomes}"), at);
    }

    pub(super) fn next_order(&mut self, at: Wall) -> OrderId {
        self.last_order += 1;
        OrderId { number: self.last_order, at }
    }
}

fn after(gap: &str, words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("{gap}{words}") }
}

fn names(hosts: &[HostId]) -> String {
    hosts.iter().map(HostId::as_str).collect::<Vec<_>>().join(", ")
}

/// What the aim found nothing of.
fn nobody(aim: Aim<'_>) -> String {
    let group = aim.group.map_or_else(|| "any group".to_string(), ToString::to_string);
    let what = match (aim.site, aim.host) {
        (Some(site), _) => format!("no site {site} of {group}"),
        (None, Some(host)) => format!("no host {host} in {group}"),
        (None, None) => match aim.group {
            Some(group) => format!("no group {group}"),
            None => "no group yet".to_string(),
        },
    };
    format!("there is {what}; `coordctl status` lists what there is")
}
