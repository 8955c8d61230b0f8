//! What a decision looks at: one group, at one moment, as plain data.
//!
//! Made from fact (state) and opinion (view); copied into the record that the
//! decision leads to, so that the same pure function can be asked again.

use crate::{
    fence::ProofLevel,
    policy::{OnServiceFailed, Timing},
    state::{Group, State},
    suspicion::Standing,
    view::View,
};
use alloc::{string::String, vec::Vec};
use model::{
    Epoch, GateState, GroupId, HostId, Millis, Mono, PlanId, ServiceName, ServiceState, SiteId,
    Wall,
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
    /// Services that the group expects here and agent.toml does not declare, or
    /// declares otherwise (exclusive or shared).
    pub undeclared: Vec<ServiceName>,
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
}

/// What a sight needs besides state and view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standpoint {
    /// This leader's clock.
    pub(crate) mono: Mono,
    /// Its wall clock.
    pub(crate) wall: Wall,
    /// Since when it has been watching.
    pub(crate) since: Mono,
    /// Since when it has been leading: before that no agent could get a lease
    /// from it, so no service's state counts against anybody.
    pub(crate) elected: Mono,
    /// When this coordinator saw the group's last plan end, if it did.
    pub(crate) settled: Option<Mono>,
}

impl Sight {
    /// Looks at `group` from `standpoint`.
    pub(crate) fn take(state: &State, group: &Group, view: &View, from: Standpoint) -> Self {
        let spec = &group.spec;
        let site = |name: &SiteId, hosts: &[HostId]| SiteSight {
            site: name.clone(),
            hosts: hosts.iter().map(|host| host_sight(group, host, name, view, from)).collect(),
        };
        Self {
            at: from.wall,
            group: spec.name.clone(),
            active: group.active.clone(),
            epoch: group.epoch,
            primary: spec.primary.clone(),
            held: state.held(group),
            plan: group.plan,
            // A wall clock that was ahead must not hold automation up for long.
            cool_down_left: from
                .settled
                .map_or(Millis(u64::MAX), |settled| {
                    spec.cool_down.saturating_sub(from.mono.since(settled))
                })
                .min(group.cool_down_left(from.wall)),
            automatic: spec.automatic,
            on_service_failed: spec.on_service_failed,
            proof_needed: spec.automatic_failover_needs,
            timing: spec.timing(),
            watched: from.mono.since(from.since),
            sites: spec.sites.iter().map(|s| site(&s.name, &s.hosts)).collect(),
        }
    }

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

    /// The proof that fencing `site` would reach as things stand: its
    /// acknowledgement where it is heard, else a lapse.
    #[must_use]
    pub fn reachable_proof(&self, site: &SiteSight) -> ProofLevel {
        let one = |host: &HostSight| match self.standing(host) {
            Standing::Alive => ProofLevel::Acknowledged,
            Standing::Suspect { .. } | Standing::Lost | Standing::NeverHeard => match host.gate {
                Some(GateState::Closed | GateState::Open) => ProofLevel::LapsedBehindGate,
                Some(GateState::Absent) | None => ProofLevel::Lapsed,
            },
        };
        site.hosts.iter().map(one).min().unwrap_or(ProofLevel::Venue)
    }
}

fn host_sight(
    group: &Group,
    host: &HostId,
    site: &SiteId,
    view: &View,
    from: Standpoint,
) -> HostSight {
    let spec = &group.spec;
    let expected: Vec<_> = spec
        .services
        .iter()
        .filter(|service| {
            spec.site(site).and_then(|s| spec.host_for(service, s)).as_ref() == Some(host)
        })
        .collect();
    let Some(seen) = view.host(host) else {
        return HostSight {
            host: host.clone(),
            silence: None,
            gate: None,
            faults: Vec::new(),
            undeclared: Vec::new(),
        };
    };
    let counted_from = from.elected.max(from.settled.unwrap_or_default());
    let mut faults = Vec::new();
    let mut undeclared = Vec::new();
    for service in expected {
        let status = seen
            .heartbeat
            .services
            .iter()
            .find(|s| s.service == service.name && s.group == spec.name);
        let Some(status) = status.filter(|status| status.exclusive == service.exclusive) else {
            undeclared.push(service.name.clone());
            continue;
        };
        let bad = match status.state {
            ServiceState::Stopped | ServiceState::Unhealthy | ServiceState::Failed => true,
            // Unknown is not false: a driver that cannot tell proves nothing.
            ServiceState::Starting | ServiceState::Running | ServiceState::Unknown => false,
        };
        if service.exclusive && bad {
            let since = seen.since.get(&service.name).map_or(from.mono, |(_, since)| *since);
            faults.push(ServiceFault {
                service: service.name.clone(),
                state: status.state,
                detail: status.detail.clone(),
                lasting: from.mono.since(since.max(counted_from)),
            });
        }
    }
    let standing = seen.heartbeat.groups.iter().find(|g| g.group == spec.name);
    HostSight {
        host: host.clone(),
        silence: Some(from.mono.since(seen.heard)),
        gate: standing.map(|g| g.gate),
        faults,
        undeclared,
    }
}
