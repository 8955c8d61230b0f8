//! The fold of the journal: every fact, and nothing else.
//!
//! Invariants: terms and epochs never go down; a group has at most one running
//! plan; a site becomes active only with a proof that covers the epoch before
//! (C3). `apply` is total and deterministic: a record that no longer fits is
//! ignored with the reason, on every coordinator alike.

mod apply;
mod identity;
mod moves;

use crate::{
    incident::{Incident, IncidentState},
    outbox::Notification,
    plan::Plan,
    policy::GroupSpec,
    record::Position,
};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use model::{
    Epoch, GroupAssignment, GroupId, HostId, IncidentId, Millis, NotificationId, PlanId, SiteId,
    Wall,
};
use serde::{Deserialize, Serialize};

/// Closed plans and incidents kept: about two years of a bad month's.
const HISTORY_MAX: usize = 200;
/// Settled notifications kept.
const OUTBOX_MAX: usize = 500;

/// Automation stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Wall,
    /// The plan that was given up, when that is the reason: a plan that
    /// completes after it lifts the hold.
    pub plan: Option<PlanId>,
}

impl Hold {
    fn words(&self) -> String {
        format!("{} ({})", self.reason, self.by)
    }
}

/// One group's facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its policy.
    pub spec: GroupSpec,
    /// The site that is active.
    pub active: Option<SiteId>,
    /// The committed epoch; 0 before the first activation.
    pub epoch: Epoch,
    /// The plan under way.
    pub plan: Option<PlanId>,
    /// Automation stopped for this group.
    pub hold: Option<Hold>,
    /// When the last failover was completed (C7: completed ones only).
    pub failed_over_at: Option<Wall>,
}

impl Group {
    /// What is left of the cool-down at `now`.
    #[must_use]
    pub fn cool_down_left(&self, now: Wall) -> Millis {
        self.failed_over_at
            .map_or(Millis::ZERO, |at| self.spec.cool_down.saturating_sub(now.since(at)))
    }
}

/// A join token's facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// SHA-256 of its secret, hex.
    pub secret_sha256: String,
    /// The host it is for.
    pub host: String,
    /// "agent", "coordinator" or "witness".
    pub role: String,
    /// When it ends.
    pub expires: Wall,
    /// The key that redeemed it, SHA-256, hex.
    pub redeemed_by: Option<String>,
}

/// An issued certificate's facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The SAN URI.
    pub identity: String,
    /// When it was issued.
    pub issued: Wall,
    /// When it ends.
    pub not_after: Wall,
}

/// What applying a record led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It was taken in.
    Done,
    /// A plan was opened.
    PlanOpened(PlanId),
    /// It no longer fitted: the reason, in words.
    Ignored(String),
}

/// Everything that the journal says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The last record applied.
    pub position: Position,
    /// The groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// Automation stopped for every group.
    pub hold: Option<Hold>,
    /// Plans: running ones and the newest closed ones.
    pub plans: BTreeMap<PlanId, Plan>,
    /// Incidents: open ones and the newest closed ones.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// Notifications: open ones and the newest settled ones.
    pub outbox: BTreeMap<NotificationId, Notification>,
    /// Join tokens that have not expired.
    pub tokens: BTreeMap<String, Token>,
    /// Certificates that have not expired, by serial.
    pub certificates: BTreeMap<String, Certificate>,
    /// Revoked serials and why.
    pub revoked: BTreeMap<String, String>,
    last_plan: PlanId,
    last_incident: IncidentId,
    last_notification: NotificationId,
}

impl State {
    /// Why automation is stopped for `group`, if it is.
    #[must_use]
    pub fn held(&self, group: &Group) -> Option<String> {
        self.hold.as_ref().or(group.hold.as_ref()).map(Hold::words)
    }

    /// The group's running plan.
    #[must_use]
    pub fn running_plan(&self, group: &GroupId) -> Option<&Plan> {
        self.groups.get(group).and_then(|g| g.plan).and_then(|id| self.plans.get(&id))
    }

    /// The group's incident that is not closed, the newest if there are several.
    #[must_use]
    pub fn open_incident(&self, group: &GroupId) -> Option<&Incident> {
        self.incidents
            .values()
            .rev()
            .find(|incident| incident.group == *group && incident.state != IncidentState::Closed)
    }

    /// What the agent on `host` must know.
    #[must_use]
    pub fn assignments(&self, host: &HostId) -> Vec<GroupAssignment> {
        self.groups
            .values()
            .filter_map(|group| {
                let site = group.spec.site_of(host)?;
                Some(GroupAssignment {
                    group: group.spec.name.clone(),
                    site: site.name.clone(),
                    active: group.active.clone(),
                    epoch: group.epoch,
                    lease: group.spec.lease,
                })
            })
            .collect()
    }

    /// Every host that a group names.
    pub fn named_hosts(&self) -> impl Iterator<Item = &HostId> {
        self.groups.values().flat_map(|g| g.spec.sites.iter().flat_map(|site| site.hosts.iter()))
    }

    fn next_plan(&mut self) -> PlanId {
        self.last_plan = self.last_plan.next();
        self.last_plan
    }

    fn next_incident(&mut self) -> IncidentId {
        self.last_incident = self.last_incident.next();
        self.last_incident
    }

    fn next_notification(&mut self) -> NotificationId {
        self.last_notification = self.last_notification.next();
        self.last_notification
    }

    /// Forgets the oldest of what is over.
    fn prune(&mut self) {
        while self.plans.len() > HISTORY_MAX {
            let Some(old) = self.plans.values().find(|p| !p.is_running()).map(|p| p.id) else {
                break;
            };
            self.plans.remove(&old);
        }
        while self.incidents.len() > HISTORY_MAX {
            let closed = |i: &&Incident| i.state == IncidentState::Closed;
            let Some(old) = self.incidents.values().find(closed).map(|i| i.id) else { break };
            self.incidents.remove(&old);
        }
        while self.outbox.len() > OUTBOX_MAX {
            // The oldest goes, settled or not: a channel that has been dead
            // for five hundred notifications will not want them all.
            self.outbox.pop_first();
        }
    }
}
