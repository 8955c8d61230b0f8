//! States that should be impossible. Each is seen by a check that costs
//! nothing, logged as an error, and fails every test in which it comes up.

use alloc::vec::Vec;
use model::{Epoch, GateState, GroupId, HostId, Term};

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
    /// A host promised not to open its gate, and its gate is open (A6).
    #[error("group {group}: host {host} promised not to become active, and its gate is open")]
    OpenUnderPromise {
        /// The group.
        group: GroupId,
        /// The host.
        host: HostId,
    },
}

/// Looks at one host's standings against the state and the others'.
pub(crate) fn inspect(state: &State, view: &View, host: &HostId, term: Term) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let Some(seen) = view.host(host) else { return alarms };
    for standing in &seen.heartbeat.groups {
        let Some(group) = state.groups.get(&standing.group) else { continue };
        // A host that has heard a newer leader may well know what that one
        // committed, while this one has not heard yet that it is none any more.
        if standing.epoch > group.epoch && seen.heartbeat.term <= term {
            alarms.push(Alarm::EpochFromNowhere {
                group: standing.group.clone(),
                host: host.clone(),
                seen: standing.epoch,
                committed: group.epoch,
            });
        }
        if standing.promised.is_some() && standing.gate == GateState::Open {
            let (group, host) = (standing.group.clone(), host.clone());
            alarms.push(Alarm::OpenUnderPromise { group, host });
        }
        let (heartbeat, suspicion) = (group.spec.timing().heartbeat, group.spec.timing().suspicion);
        // What waited in a cut that was mended says how it was, not how it is.
        if standing.lease_left.is_none() || seen.catches_up(suspicion) {
            continue;
        }
        let Some(site) = group.spec.site_of(host) else { continue };
        let rival = view.hosts().find(|(other, there)| {
            let elsewhere = group.spec.site_of(other).is_some_and(|s| s.name != site.name);
            // Only what both said within one heartbeat of each other is "at once".
            let fresh = seen.heard.since(there.heard) <= heartbeat && !there.catches_up(suspicion);
            // The host of the older epoch may have handed its lease back since it
            // spoke: only its word after the newer one's is a contradiction.
            let leased = there.heartbeat.groups.iter().any(|g| {
                g.group == standing.group
                    && g.epoch >= standing.epoch
                    && g.lease_left.is_some_and(|left| left > heartbeat)
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
