//! Moves an open plan one step on (C7): a step's start is committed before its
//! effect, its outcome after. Everything that must survive a leader is in the
//! plan; what is here can be lost, and a new leader finds its way from the record.

mod act;
mod fencing;
mod hooks;
mod words;

use crate::{
    effect::Effect,
    event::{HookResult, Now},
    failsafe::{HeartbeatId, heartbeats},
    fence::{FenceProof, ProofLevel},
    lease::Renewals,
    plan::{Plan, PlanKind, Step, StepKind, StepState},
    policy::ServiceSpec,
    record::Record,
    state::{Group, State},
    view::View,
};
use act::{RESEND, run_commands, run_redirect};
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use fencing::run_fence;
use hooks::HookCalls;
pub(crate) use hooks::{HookWord, usable};
use model::{AttemptId, HostId, Mono, Outcome, PlanId, Refusal, StepId, StepReport, Term};

/// What this leader knows of the step under way, and may forget.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    step: StepId,
    attempt: AttemptId,
    begun: Mono,
    /// When each part may be sent again.
    again: BTreeMap<u32, Mono>,
    reports: BTreeMap<u32, Outcome>,
    /// Why a host could not begin yet, for the words of a failure.
    excuse: Option<String>,
    hook: Hook,
    /// The target's newest heartbeats when the try began (C4 under failsafe).
    before: BTreeMap<HostId, HeartbeatId>,
    hooks: HookCalls,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hook {
    NotCalled,
    Called,
    Ended(HookResult),
}

impl Progress {
    fn new(
        step: StepId,
        attempt: AttemptId,
        now: Mono,
        before: BTreeMap<HostId, HeartbeatId>,
    ) -> Self {
        Self {
            step,
            attempt,
            begun: now,
            again: BTreeMap::new(),
            reports: BTreeMap::new(),
            excuse: None,
            hook: Hook::NotCalled,
            before,
            hooks: HookCalls::default(),
        }
    }
}

/// What the runner looks at.
pub(crate) struct Scene<'a> {
    pub(crate) state: &'a State,
    pub(crate) view: &'a View,
    pub(crate) renewals: &'a Renewals,
    pub(crate) term: Term,
    pub(crate) elected: Mono,
    pub(crate) now: Now,
    /// The fence hooks that this coordinator has.
    pub(crate) hooks: &'a [(String, ProofLevel)],
}

/// What a plan needs next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// A record.
    Commit(Box<Record>),
    /// Effects, whose outcomes will come as events.
    Act(Vec<Effect>),
}

/// The plans of one leadership, as far as this leader knows more than the journal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runner {
    progress: BTreeMap<PlanId, Progress>,
}

impl Runner {
    /// Forgets everything: the journal says where each plan stands.
    pub(crate) fn reset(&mut self) {
        self.progress.clear();
    }

    /// Forgets the plans that are over.
    pub(crate) fn forget(&mut self, plan: PlanId) {
        self.progress.remove(&plan);
    }

    /// Takes in an agent's report; one about another try is dropped.
    pub(crate) fn report(&mut self, state: &State, report: &StepReport, now: Mono) {
        let Some(plan) = state.plans.get(&report.id.plan) else { return };
        let Some(progress) = self.progress.get_mut(&report.id.plan) else { return };
        let asked = plan
            .step(report.id.step)
            .and_then(|step| step.kind.hosts().get(report.id.part as usize));
        // An agent may remember a plan of the same number in a cluster that was
        // founded anew: group and epoch must be this plan's too.
        let fencing = |step: &Step| matches!(step.kind, StepKind::Fence { .. });
        let fencing = plan.step(report.id.step).is_some_and(fencing);
        let epoch = if fencing { Some(plan.epoch_before) } else { plan.epoch_after };
        if progress.step == report.id.step
            && progress.attempt == report.id.attempt
            && asked == Some(&report.host)
            && report.group == plan.group
            && Some(report.epoch) == epoch
        {
            let step = plan.step(report.id.step).map(|step| &step.kind);
            match (&report.outcome, step) {
                // The lease is on its way, or lapsed meanwhile, or a promise still
                // binds the host (A6): it is asked again until the step's deadline.
                (
                    Outcome::Refused(
                        refusal @ (Refusal::NoLease { .. } | Refusal::Promised { .. }),
                    ),
                    Some(
                        StepKind::Promote { .. } | StepKind::Start { .. } | StepKind::Verify { .. },
                    ),
                ) => {
                    if let Refusal::Promised { left } = refusal {
                        // When the promise is over is known: then, not up to a second later.
                        progress.again.insert(report.id.part, now + (*left).min(RESEND));
                    }
                    progress.excuse = Some(format!("{}: {refusal}", report.host));
                }
                _ => {
                    let outcome = checked(state, plan, report);
                    progress.reports.insert(report.id.part, outcome);
                }
            }
        }
    }

    /// Takes in the hook's outcome; one of another try is dropped.
    pub(crate) fn hook_ended(
        &mut self,
        plan: PlanId,
        step: StepId,
        attempt: AttemptId,
        result: HookResult,
    ) {
        if let Some(progress) = self.progress.get_mut(&plan)
            && progress.step == step
            && progress.attempt == attempt
        {
            progress.hook = Hook::Ended(result);
        }
    }

    /// What `plan` needs next.
    pub(crate) fn advance(&mut self, scene: &Scene<'_>, plan: &Plan) -> Move {
        let at = scene.now.wall;
        let Some(group) = scene.state.groups.get(&plan.group) else {
            let held = Some(format!("the group {} is gone", plan.group));
            return commit(Record::PlanClosed { plan: plan.id, held, at });
        };
        if let Some(held) = given_up(plan) {
            return commit(Record::PlanClosed { plan: plan.id, held: Some(held), at });
        }
        let Some((id, step)) = plan.current() else {
            let held = plan
                .find("redirect")
                .filter(|redirect| redirect.state == StepState::Failed)
                .map(|redirect| redirect_held(plan, redirect));
            return commit(Record::PlanClosed { plan: plan.id, held, at });
        };
        if let Some(stopped) = scene.state.stop_against(plan) {
            return commit(Record::PlanClosed { plan: plan.id, held: Some(stopped), at });
        }
        if step.kind == StepKind::Activate {
            return activate(group, plan, id, scene);
        }
        if step.state == StepState::Waiting {
            // A step that failed is not tried again in the same breath.
            let tried = self.progress.get(&plan.id).filter(|p| p.step == id).map(|p| p.begun);
            if tried.is_some_and(|begun| scene.now.mono.since(begun) < RESEND) {
                return Move::Act(Vec::new());
            }
            let attempt = AttemptId(step.attempts + 1);
            return commit(Record::StepStarted { plan: plan.id, step: id, attempt, at });
        }
        self.run(scene, group, plan, id, step)
    }

    /// A step whose start is committed.
    fn run(
        &mut self,
        scene: &Scene<'_>,
        group: &Group,
        plan: &Plan,
        id: StepId,
        step: &Step,
    ) -> Move {
        let now = scene.now.mono;
        let attempt = AttemptId(step.attempts);
        if step.kind == StepKind::Redirect && step.term != scene.term {
            // Whether the former leader's call went through nobody knows: the
            // hook is called again, as a new try, which it must bear.
            let (attempt, at) = (AttemptId(step.attempts + 1), scene.now.wall);
            return commit(Record::StepStarted { plan: plan.id, step: id, attempt, at });
        }
        let known = self.progress.get(&plan.id);
        if known.is_none_or(|p| p.step != id || p.attempt != attempt) {
            let target = group.spec.site(&plan.to).map(|site| site.hosts.as_slice());
            let before = heartbeats(scene.view, target.unwrap_or_default());
            self.progress.insert(plan.id, Progress::new(id, attempt, now, before));
        }
        let Some(progress) = self.progress.get_mut(&plan.id) else {
            return Move::Act(Vec::new());
        };
        match &step.kind {
            StepKind::Fence { hosts, .. } => run_fence(scene, group, plan, (id, hosts), progress),
            StepKind::Redirect => run_redirect(scene, group, plan, id, progress),
            StepKind::Promote { .. } | StepKind::Start { .. } | StepKind::Verify { .. } => {
                run_commands(scene, group, plan, (id, step), progress)
            }
            StepKind::Activate => activate(group, plan, id, scene),
        }
    }
}

/// An acknowledgement counts only when it names everything that had to stop:
/// what agent.toml does not know as exclusive, the agent has not stopped.
fn checked(state: &State, plan: &Plan, report: &StepReport) -> Outcome {
    let Outcome::Fenced { stopped, .. } = &report.outcome else { return report.outcome.clone() };
    let spec = state.groups.get(&plan.group).map(|group| &group.spec);
    let site = spec.and_then(|spec| spec.site_of(&report.host));
    let missing: Vec<&str> = spec
        .zip(site)
        .map(|(spec, site)| {
            let here = |s: &&ServiceSpec| spec.host_for(s, site).as_ref() == Some(&report.host);
            let exclusive = spec.services.iter().filter(|s| s.exclusive).filter(here);
            exclusive.filter(|s| !stopped.contains(&s.name)).map(|s| s.name.as_str()).collect()
        })
        .unwrap_or_default();
    if missing.is_empty() {
        return report.outcome.clone();
    }
    let detail = format!(
        "it did not stop {}: agent.toml there does not declare it as exclusive, as the group does",
        missing.join(", ")
    );
    Outcome::Failed { detail }
}

fn commit(record: Record) -> Move {
    Move::Commit(Box::new(record))
}

/// Why the plan cannot go on, when a step without which it makes no sense was given up.
fn given_up(plan: &Plan) -> Option<String> {
    let failed = plan.steps.iter().find(|step| {
        // A failed redirect leaves a serving site: go on, and say so at the end.
        step.state == StepState::Failed && step.kind != StepKind::Redirect
    })?;
    Some(format!("{} failed: {}", failed.words(plan), failed.detail))
}

fn redirect_held(plan: &Plan, redirect: &Step) -> String {
    format!(
        "site {} serves under epoch {}, but the DNS hook failed: {}. Point the names at {} by hand",
        plan.to,
        plan.epoch_before.next(),
        redirect.detail,
        plan.to
    )
}

/// C3: the record takes the proof by value; without one there is nothing to commit.
fn activate(group: &Group, plan: &Plan, step: StepId, scene: &Scene<'_>) -> Move {
    let proof = match plan.kind {
        PlanKind::Start => FenceProof::never_active(group),
        PlanKind::Failover | PlanKind::Switchover | PlanKind::Failback => {
            plan.proof.clone().or_else(|| FenceProof::never_active(group))
        }
    };
    let at = scene.now.wall;
    match proof {
        Some(proof) => commit(Record::Activated {
            plan: plan.id,
            step,
            group: plan.group.clone(),
            site: plan.to.clone(),
            epoch: plan.epoch_before.next(),
            proof,
            at,
        }),
        None => commit(Record::PlanClosed {
            plan: plan.id,
            held: Some("there is no proof that the old site is fenced".to_string()),
            at,
        }),
    }
}
