//! Plans: which steps bring a group to another site, and where one stands.
//!
//! A plan is data in the journal; `runner` moves it.

mod draft;

pub use draft::PlanDraft;

use crate::{
    fence::{FenceProof, ProofLevel},
    policy::GroupSpec,
};
use alloc::{format, string::String, vec, vec::Vec};
use core::fmt;
use model::{
    Epoch, GroupId, HostId, IncidentId, Millis, PlanId, ServiceName, SiteId, StepId, Term, Wall,
};
use serde::{Deserialize, Serialize};

/// Which recipe a plan follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKind {
    /// The group's very first activation.
    Start,
    /// Unplanned: the active site is gone or useless.
    Failover,
    /// Planned, both sites healthy.
    Switchover,
    /// Planned return to the group's primary.
    Failback,
}

impl PlanKind {
    /// The word used everywhere for this kind.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Failover => "failover",
            Self::Switchover => "switchover",
            Self::Failback => "failback",
        }
    }
}

impl fmt::Display for PlanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One step's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Make certain that the old site can do no harm.
    Fence {
        /// Its hosts.
        hosts: Vec<HostId>,
        /// The hooks that may be called for them (levels 4 and 5).
        #[serde(default)]
        hooks: Vec<String>,
    },
    /// Commit the new epoch, with the proof (C3).
    Activate,
    /// Hand the epoch and a lease to the new site's hosts.
    Promote {
        /// Its hosts.
        hosts: Vec<HostId>,
    },
    /// Start one service and wait until it is healthy.
    Start {
        /// The service.
        service: ServiceName,
        /// Where.
        host: HostId,
    },
    /// Call the DNS hook.
    Redirect,
    /// Services healthy, feeds fresh.
    Verify {
        /// The new site's hosts.
        hosts: Vec<HostId>,
    },
}

impl StepKind {
    /// The word used everywhere for this kind.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Fence { .. } => "fence",
            Self::Activate => "activate",
            Self::Promote { .. } => "promote",
            Self::Start { .. } => "start",
            Self::Redirect => "redirect",
            Self::Verify { .. } => "verify",
        }
    }

    /// The hosts that get a command for it; a command's `part` is the place in this list.
    #[must_use]
    pub fn hosts(&self) -> &[HostId] {
        match self {
            Self::Fence { hosts, .. } | Self::Promote { hosts } | Self::Verify { hosts } => hosts,
            Self::Start { host, .. } => core::slice::from_ref(host),
            Self::Activate | Self::Redirect => &[],
        }
    }

    /// Failures after which the step is given up.
    #[must_use]
    pub const fn failures_allowed(&self) -> u64 {
        match self {
            // An agent that could not stop a service may yet succeed.
            Self::Fence { .. } => 5,
            Self::Activate => 1,
            // A lease may be late once because of an election, hardly three times.
            Self::Promote { .. } => 3,
            Self::Start { .. } | Self::Verify { .. } => 2,
            // The hook has its own retries inside one attempt.
            Self::Redirect => 2,
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Its turn has not come.
    Waiting,
    /// Its start is committed, its outcome is not.
    Running,
    /// It is done.
    Done,
    /// It was given up.
    Failed,
    /// There was nothing to do.
    Skipped,
}

impl StepState {
    /// The word used everywhere for this state.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is to be done.
    pub kind: StepKind,
    /// Where it stands.
    pub state: StepState,
    /// Tries begun.
    pub attempts: u64,
    /// The term in which the newest try began.
    pub term: Term,
    /// Tries that failed.
    pub failures: u64,
    /// The last outcome in words.
    pub detail: String,
    /// When the first try began.
    pub started_at: Option<Wall>,
    /// When it ended.
    pub finished_at: Option<Wall>,
}

impl Step {
    fn new(kind: StepKind) -> Self {
        Self {
            kind,
            state: StepState::Waiting,
            attempts: 0,
            term: Term(0),
            failures: 0,
            detail: String::new(),
            started_at: None,
            finished_at: None,
        }
    }

    /// The step in words.
    #[must_use]
    pub fn words(&self, plan: &Plan) -> String {
        let list =
            |hosts: &[HostId]| hosts.iter().map(HostId::as_str).collect::<Vec<_>>().join(", ");
        match &self.kind {
            StepKind::Fence { hosts, hooks } if hooks.is_empty() => {
                format!("fence {}", list(hosts))
            }
            StepKind::Fence { hosts, hooks } => {
                format!("fence {}, if need be by {}", list(hosts), hooks.join(", "))
            }
            StepKind::Activate => {
                format!(
                    "commit site {} as active under epoch {}",
                    plan.to,
                    plan.epoch_before.next()
                )
            }
            StepKind::Promote { hosts } => format!("hand the lease to {}", list(hosts)),
            StepKind::Start { service, host } => format!("start {service} on {host}"),
            StepKind::Redirect => format!("call the DNS hook for {}", plan.to),
            StepKind::Verify { hosts } => format!("verify {} on {}", plan.group, list(hosts)),
        }
    }
}

/// How a plan stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanState {
    /// Under way.
    Running,
    /// Every step is done.
    Completed,
    /// Given up to a person.
    Held {
        /// Why.
        reason: String,
    },
}

impl PlanState {
    /// The word used everywhere for this state.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Held { .. } => "held",
        }
    }
}

/// An instance of a recipe, in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its number.
    pub id: PlanId,
    /// The group that moves.
    pub group: GroupId,
    /// The recipe.
    pub kind: PlanKind,
    /// The site that was active.
    pub from: Option<SiteId>,
    /// The site that shall be.
    pub to: SiteId,
    /// The incident it belongs to.
    pub incident: IncidentId,
    /// The operator, or `None` for an automatic decision.
    pub by: Option<String>,
    /// The operator's request, so that a repeated one finds its plan; empty otherwise.
    pub request: String,
    /// The operator's reason for accepting a weaker proof.
    pub reason: String,
    /// The proof that its fencing must reach.
    pub proof_needed: ProofLevel,
    /// The epoch that is being ended.
    pub epoch_before: Epoch,
    /// The epoch that it activated.
    pub epoch_after: Option<Epoch>,
    /// How the old site was fenced.
    pub proof: Option<FenceProof>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// How it stands.
    pub state: PlanState,
    /// When the old site was last known to be good.
    pub last_good: Wall,
    /// When it became suspect.
    pub suspected_at: Wall,
    /// When it was committed.
    pub opened_at: Wall,
    /// When it ended.
    pub closed_at: Option<Wall>,
    /// How far the new site's data lagged behind at the decision, where it is known.
    #[serde(default)]
    pub data_lag: Option<Millis>,
    /// How old the newest copies were that survive the old site, where they are known.
    #[serde(default)]
    pub backup_lag: Option<Millis>,
    /// The second operator, where the policy wanted two.
    #[serde(default)]
    pub approved_by: Option<String>,
}

impl Plan {
    /// The plan that `draft` becomes when it is committed at `at`.
    #[must_use]
    pub fn begin(id: PlanId, incident: IncidentId, draft: &PlanDraft, at: Wall) -> Self {
        Self {
            id,
            group: draft.group.clone(),
            kind: draft.kind,
            from: draft.from.clone(),
            to: draft.to.clone(),
            incident,
            by: draft.by.clone(),
            request: draft.request.clone(),
            reason: draft.reason.clone(),
            proof_needed: draft.proof_needed,
            epoch_before: draft.epoch_before,
            epoch_after: None,
            proof: None,
            steps: draft.steps.clone(),
            state: PlanState::Running,
            last_good: draft.last_good,
            suspected_at: draft.suspected_at,
            opened_at: at,
            closed_at: None,
            data_lag: None,
            backup_lag: None,
            approved_by: draft.approved_by.clone(),
        }
    }

    /// The first step that is not over, with its number.
    #[must_use]
    pub fn current(&self) -> Option<(StepId, &Step)> {
        self.steps.iter().enumerate().find_map(|(at, step)| match step.state {
            StepState::Waiting | StepState::Running => Some((StepId(at as u64), step)),
            StepState::Done | StepState::Failed | StepState::Skipped => None,
        })
    }

    /// The step of this number.
    #[must_use]
    pub fn step(&self, id: StepId) -> Option<&Step> {
        usize::try_from(id.0).ok().and_then(|at| self.steps.get(at))
    }

    pub(crate) fn step_mut(&mut self, id: StepId) -> Option<&mut Step> {
        usize::try_from(id.0).ok().and_then(|at| self.steps.get_mut(at))
    }

    /// Whether it is under way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == PlanState::Running
    }

    /// The first step of this kind's word.
    #[must_use]
    pub fn find(&self, word: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.kind.word() == word)
    }
}

/// The steps that move `spec` from `from` to `to`.
#[must_use]
pub(crate) fn steps(
    spec: &GroupSpec,
    kind: PlanKind,
    from: Option<&SiteId>,
    to: &SiteId,
    dns_hook: bool,
) -> Vec<Step> {
    let hosts = |site: &SiteId| spec.site(site).map(|s| s.hosts.clone()).unwrap_or_default();
    let mut steps = vec![];
    if let Some(from) = from {
        steps.push(StepKind::Fence { hosts: hosts(from), hooks: spec.fence.clone() });
    }
    steps.push(StepKind::Activate);
    steps.push(StepKind::Promote { hosts: hosts(to) });
    if let Some(site) = spec.site(to) {
        for service in spec.start_order() {
            if let Some(host) = spec.host_for(service, site) {
                steps.push(StepKind::Start { service: service.name.clone(), host });
            }
        }
    }
    // A first start finds the names as the operator set them.
    if dns_hook && kind != PlanKind::Start {
        steps.push(StepKind::Redirect);
    }
    steps.push(StepKind::Verify { hosts: hosts(to) });
    steps.into_iter().map(Step::new).collect()
}
