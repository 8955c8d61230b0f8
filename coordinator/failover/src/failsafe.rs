//! Failsafe (A6) as the coordinators see it: which hosts' promises an epoch may
//! live by, what each agent is told of it, and what a lapse then needs (C4).
//!
//! Whether an epoch may live by promises, and by whose, is frozen at its
//! activation: a policy that changes later can neither add a way to go on that
//! nobody counts with, nor take a promise out of the count.

use crate::{
    plan::Plan,
    policy::GroupSpec,
    state::{Group, State},
    view::{HostView, View},
};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{GroupAssignment, GroupStanding, HostId, PeerAddress};

/// A heartbeat's number: the agent's start and its count since then.
pub(crate) type HeartbeatId = (u64, u64);

/// The hosts by whose promises an epoch that begins now may live: every host of
/// every site. `None` where the policy does not allow it, or nobody could promise.
pub(crate) fn frozen(spec: &GroupSpec) -> Option<Vec<HostId>> {
    let hosts = || spec.sites.iter().flat_map(|site| site.hosts.iter().cloned()).collect();
    (spec.failsafe && spec.sites.len() >= 2).then(hosts)
}

/// The hosts that the policy names and the epoch did not begin with, where it
/// may live by promises.
pub(crate) fn newcomers(group: &Group) -> Vec<HostId> {
    let Some(frozen) = &group.failsafe else { return Vec::new() };
    let named = group.spec.sites.iter().flat_map(|site| &site.hosts);
    named.filter(|host| !frozen.contains(host)).cloned().collect()
}

/// What the agent on `host` must know of its groups. Addresses are opinion:
/// what each host said of itself last.
pub(crate) fn assignments(state: &State, view: &View, host: &HostId) -> Vec<GroupAssignment> {
    let one = |group: &Group| {
        let site = group.spec.site_of(host)?;
        let peers = |frozen: &Vec<HostId>| {
            // A host that the policy no longer names belongs to no site: it is
            // asked all the same, because the epoch began with it.
            let others = frozen.iter().filter(|other| !site.hosts.contains(other));
            others.map(|other| peer(view, other)).collect()
        };
        Some(GroupAssignment {
            group: group.spec.name.clone(),
            site: site.name.clone(),
            active: group.active.clone(),
            epoch: group.epoch,
            lease: group.spec.lease,
            fencing: state.fencing(group),
            failsafe: group.failsafe.as_ref().map(peers),
        })
    };
    state.groups.values().filter_map(one).collect()
}

fn peer(view: &View, host: &HostId) -> PeerAddress {
    let address = view.host(host).map(|seen| seen.heartbeat.peer.clone()).unwrap_or_default();
    PeerAddress { host: host.clone(), address }
}

/// The newest heartbeat of each of `hosts`, to tell later which have spoken since.
pub(crate) fn heartbeats(view: &View, hosts: &[HostId]) -> BTreeMap<HostId, HeartbeatId> {
    let one = |host: &HostId| view.host(host).map(|seen| (host.clone(), number(seen)));
    hosts.iter().filter_map(one).collect()
}

const fn number(seen: &HostView) -> HeartbeatId {
    (seen.heartbeat.boot, seen.heartbeat.sequence)
}

/// C4 under failsafe: what keeps a lapse of the plan's old epoch from being
/// believed, in words; empty when nothing does.
///
/// Every host of the target site must have been heard since the fencing began
/// (`before` are the heartbeats as of then: no clock is asked, so that no stall
/// of ours can make an old word a new one) and must be free of promises. Nothing
/// can renew them: agents refuse to promise for an epoch that is being fenced.
pub(crate) fn against_lapse(
    group: &Group,
    plan: &Plan,
    view: &View,
    before: &BTreeMap<HostId, HeartbeatId>,
) -> Vec<String> {
    let Some(frozen) = &group.failsafe else { return Vec::new() };
    let hosts = group.spec.site(&plan.to).map(|site| site.hosts.as_slice()).unwrap_or_default();
    let mut against = Vec::new();
    for host in hosts {
        if !frozen.contains(host) {
            against.push(format!(
                "{host} joined {} after epoch {} began, so its word ends no promise",
                plan.group, plan.epoch_before
            ));
            continue;
        }
        let heard = view.host(host).filter(|seen| before.get(host) != Some(&number(seen)));
        let Some(seen) = heard else {
            against.push(format!("{host} has not been heard since the fencing began"));
            continue;
        };
        let standing = seen.heartbeat.groups.iter().find(|s| s.group == plan.group);
        let why = standing.map_or(Some("says nothing of the group".to_string()), |standing| {
            bound(standing, plan.from.as_ref() == Some(&plan.to))
        });
        against.extend(why.map(|why| format!("{host} {why}")));
    }
    against
}

/// What binds a host of the target site. Where a site is brought back onto
/// itself its hosts promise nobody anything: there their own lease counts.
fn bound(standing: &GroupStanding, own: bool) -> Option<String> {
    match (standing.promised, standing.lease_left) {
        (Some(left), _) => Some(format!("still promises for {left}")),
        (None, Some(left)) if own => Some(format!("still holds a lease for {left}")),
        (None, Some(_) | None) => None,
    }
}
