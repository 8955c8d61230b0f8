//! The fold of the journal: every fact, and nothing else.
//!
//! Invariants: terms and epochs never go down; a group has at most one running
//! plan; a site becomes active only with a proof that covers the epoch before
//! (C3). `apply` is total and deterministic: a record that no longer fits is
//! ignored with the reason, on every coordinator alike.

mod apply;
mod approvals;
mod backups;
mod identity;
mod moves;
mod stops;
mod tasks;

pub use stops::Aim;
pub use tasks::{TaskEntry, TaskOutcome};

use crate::{
    approval::{Approval, ApprovalId},
    decision::Decision,
    incident::{Incident, IncidentState},
    outbox::Notification,
    plan::Plan,
    policy::GroupSpec,
    record::Position,
    sight::Sight,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};
use model::{
    Epoch, GroupId, HostId, HostOrder, IncidentId, Millis, NotificationId, OrderId, PlanId, SiteId,
    StopOrder, Wall,
};
use serde::{Deserialize, Serialize};

/// Closed plans and incidents kept: about two years of a bad month's.
const HISTORY_MAX: usize = 200;
/// Non-decisions kept a group: a story of one bad night.
pub(crate) const CONSIDERED_MAX: usize = 50;
/// What a notification that belongs to no incident says: incidents begin at 1.
const NO_INCIDENT: IncidentId = IncidentId(0);
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

/// Trouble that was looked at and led to no plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// What the decision saw.
    pub evidence: Box<Sight>,
    /// What it was.
    pub decision: Decision,
    /// When.
    pub at: Wall,
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
    /// The newest times at which there was trouble and nothing was opened, oldest first.
    #[serde(default)]
    pub considered: VecDeque<Considered>,
    /// The block (by its reason's word) that was notified last, and when.
    #[serde(default)]
    pub blocked: Option<(String, Wall)>,
    /// Every host of every site as of the activation of `epoch`, when the policy
    /// allowed failsafe then (A6); `None` where it did not.
    #[serde(default)]
    pub failsafe: Option<Vec<HostId>>,
    /// The sources ("host/source") whose backups were told to be too old, and when.
    #[serde(default)]
    pub rpo_told: BTreeMap<String, Wall>,
    /// Why it could not fail over, as was told last; `None` when it could, or nobody
    /// has been told otherwise.
    #[serde(default)]
    pub unready: Option<String>,
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
    /// A second operator must approve it, under this number.
    ApprovalAsked(ApprovalId),
    /// An order for a host, or an emergency stop, was recorded.
    HostOrdered(OrderId),
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
    /// Requests that need, or had, a second operator: the newest ones.
    #[serde(default)]
    pub approvals: BTreeMap<ApprovalId, Approval>,
    #[serde(default)]
    last_approval: ApprovalId,
    /// The newest order for each host.
    #[serde(default)]
    pub orders: BTreeMap<HostId, HostOrder>,
    #[serde(default)]
    last_order: u64,
    /// The newest emergency stop, or release, of each group on each host.
    #[serde(default)]
    pub stops: BTreeMap<HostId, BTreeMap<GroupId, StopOrder>>,
    /// The newest tasks for hosts, oldest first.
    #[serde(default)]
    pub tasks: VecDeque<TaskEntry>,
}

impl State {
    /// Why automation is stopped for `group`, if it is.
    #[must_use]
    pub fn held(&self, group: &Group) -> Option<String> {
        let stop = self.emergency(&group.spec.name);
        let hold = self.hold.as_ref().or(group.hold.as_ref()).map(Hold::words);
        let both: Vec<String> = [stop, hold].into_iter().flatten().collect();
        (!both.is_empty()).then(|| both.join("; "))
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

    /// Whether the group's epoch is being fenced: a plan runs against the active
    /// site, and the new epoch is not committed yet.
    #[must_use]
    pub fn fencing(&self, group: &Group) -> bool {
        self.running_plan(&group.spec.name).is_some_and(|plan| {
            // Once the new epoch is committed nothing is being fenced any more, also
            // where the plan brings back the very site that it fenced.
            plan.from.is_some() && plan.from == group.active && plan.epoch_after.is_none()
        })
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
