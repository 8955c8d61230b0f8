//! States that should be impossible. Each is seen by a check that costs
//! nothing, logged as an error, and fails every test in which it comes up.

use alloc::vec::Vec;
use model::{Epoch, GroupId, HostId};

use crate::{state::State, view::View};

/// One impossible state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Alarm {
    /// Hosts of two sites report a live lease for one group.
    #[error("group {group}: hosts {one} and {other} of different sites both report a live lease")]
    TwoLeases {
        /// The group.
        group: GroupId,
        /// One host.
        one: HostId,
        /// A host of another site.
        other: HostId,
    },
    /// A host has seen an epoch that the journal does not hold.
    #[error("group {group}: host {host} has seen epoch {seen}, only {committed} is committed")]
    EpochFromNowhere {
        /// The group.
        group: GroupId,
        /// The host.
        host: HostId,
        /// What it has seen.
        seen: Epoch,
        /// What is committed.
        committed: Epoch,
    },
}

/// Looks at one host's standings against the state and the others'.
pub(crate) fn inspect(state: &State, view: &View, host: &HostId) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let Some(seen) = view.host(host) else { return alarms };
    for standing in &seen.heartbeat.groups {
        let Some(group) = state.groups.get(&standing.group) else { continue };
        if standing.epoch > group.epoch {
            alarms.push(Alarm::EpochFromNowhere {
                group: standing.group.clone(),
                host: host.clone(),
                seen: standing.epoch,
                committed: group.epoch,
            });
        }
        if standing.lease_left.is_none() {
            continue;
        }
        let Some(site) = group.spec.site_of(host) else { continue };
        let heartbeat = group.spec.timing().heartbeat;
        let rival = view.hosts().find(|(other, there)| {
            let elsewhere = group.spec.site_of(other).is_some_and(|s| s.name != site.name);
            // Only what both said within one heartbeat of each other is "at once".
            let fresh = seen.heard.since(there.heard) <= heartbeat;
            let leased = there.heartbeat.groups.iter().any(|g| {
                g.group == standing.group && g.lease_left.is_some_and(|left| left > heartbeat)
            });
            elsewhere && fresh && leased
        });
        if let Some((other, _)) = rival {
            alarms.push(Alarm::TwoLeases {
                group: standing.group.clone(),
                one: host.clone(),
                other: other.clone(),
            });
        }
    }
    alarms
}
