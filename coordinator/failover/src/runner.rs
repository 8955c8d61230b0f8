//! Moves an open plan one step on (C7): a step's start is committed before its
//! effect, its outcome after. Everything that must survive a leader is in the
//! plan; what is here can be lost, and a new leader finds its way from the record.

use crate::{
    effect::{DnsOrder, Effect},
    event::HookResult,
    fence::{self, FenceProof, HostFence, ProofLevel},
    lease::Renewals,
    plan::{Plan, PlanKind, Step, StepKind, StepState},
    record::{Record, StepResult},
    state::{Group, State},
    suspicion::Standing,
    view::View,
};
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{
    Action, AttemptId, Command, CommandId, Epoch, HostId, Millis, Mono, Outcome, PlanId, StepId,
    StepReport, Term,
};

use crate::event::Now;

/// A command without an answer is sent again after this long: agents answer a
/// repeated one from their ledger.
const RESEND: Millis = Millis(1000);
/// How long an acknowledgement of a host that is heard is worth waiting for: a
/// kill-first stop takes well under a second, a hung Docker call its 10 s deadline.
const FENCE_PATIENCE: Millis = Millis(12_000);
/// How long a fence may take beyond the lapse before a person must look.
const FENCE_GRACE: Millis = Millis(30_000);
/// How long taking the lease may take at least: an election and a reconnection.
const PROMOTE_MIN: Millis = Millis(10_000);
/// How long the new site has for its first fresh message.
const VERIFY: Millis = Millis(60_000);
/// Over an agent's own deadline, before its silence counts as a failure.
const ANSWER_GRACE: Millis = Millis(3000);

/// What this leader knows of the step under way, and may forget.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    step: StepId,
    attempt: AttemptId,
    begun: Mono,
    sent: BTreeMap<u32, Mono>,
    reports: BTreeMap<u32, Outcome>,
    hook: Hook,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hook {
    NotCalled,
    Called,
    Ended(HookResult),
}

impl Progress {
    fn new(step: StepId, attempt: AttemptId, now: Mono) -> Self {
        Self {
            step,
            attempt,
            begun: now,
            sent: BTreeMap::new(),
            reports: BTreeMap::new(),
            hook: Hook::NotCalled,
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
    pub(crate) fn report(&mut self, state: &State, report: &StepReport) {
        let Some(plan) = state.plans.get(&report.id.plan) else { return };
        let Some(progress) = self.progress.get_mut(&report.id.plan) else { return };
        let asked = plan
            .step(report.id.step)
            .and_then(|step| step.kind.hosts().get(report.id.part as usize));
        if progress.step == report.id.step
            && progress.attempt == report.id.attempt
            && asked == Some(&report.host)
        {
            progress.reports.insert(report.id.part, report.outcome.clone());
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
        if step.kind == StepKind::Activate {
            return activate(group, plan, id, scene);
        }
        if step.state == StepState::Waiting {
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
            self.progress.insert(plan.id, Progress::new(id, attempt, now));
        }
        let Some(progress) = self.progress.get_mut(&plan.id) else {
            return Move::Act(Vec::new());
        };
        match &step.kind {
            StepKind::Fence { hosts } => run_fence(scene, group, plan, (id, hosts), progress),
            StepKind::Redirect => run_redirect(scene, group, plan, id, progress),
            StepKind::Promote { .. } | StepKind::Start { .. } | StepKind::Verify { .. } => {
                run_commands(scene, group, plan, (id, step), progress)
            }
            StepKind::Activate => activate(group, plan, id, scene),
        }
    }
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

fn finish(plan: &Plan, progress: &Progress, result: StepResult, scene: &Scene<'_>) -> Move {
    commit(Record::StepFinished {
        plan: plan.id,
        step: progress.step,
        attempt: progress.attempt,
        result,
        at: scene.now.wall,
    })
}

/// Fencing: ask every host, count acknowledgements and lapses (C4).
fn run_fence(
    scene: &Scene<'_>,
    group: &Group,
    plan: &Plan,
    (id, hosts): (StepId, &[HostId]),
    progress: &mut Progress,
) -> Move {
    let timing = group.spec.timing();
    let now = scene.now.mono;
    let mut known = BTreeMap::new();
    for (part, host) in (0u32..).zip(hosts) {
        let acknowledged = match progress.reports.get(&part) {
            Some(Outcome::Fenced { gate_closed, .. }) => Some(*gate_closed),
            _ => None,
        };
        let seen = scene.view.host(host);
        let standing = seen
            .and_then(|s| s.heartbeat.groups.iter().find(|standing| standing.group == plan.group));
        let silence = seen.map(|s| now.since(s.heard));
        let fence = HostFence {
            acknowledged,
            lapses_at: scene.renewals.lapses_at(&plan.group, host, scene.elected, &timing),
            gate_armed: standing.is_some_and(|standing| fence::armed(standing.gate)),
            in_contact: Standing::of(silence, Millis::ZERO, &timing) == Standing::Alive
                && !progress.reports.contains_key(&part),
        };
        known.insert(host.clone(), fence);
    }
    let patience = progress.begun + FENCE_PATIENCE;
    let concluded =
        fence::conclude(&plan.group, plan.epoch_before, &known, plan.proof_needed, now, patience);
    if let Some(proof) = concluded {
        return commit(Record::Fenced { plan: plan.id, step: id, proof, at: scene.now.wall });
    }
    let lapse = if known.values().all(|fence| fence.gate_armed) {
        ProofLevel::LapsedBehindGate
    } else {
        ProofLevel::Lapsed
    };
    // Where a lapse would do, it is waited for; else a refusal is worth a new try.
    let hopeless = lapse < plan.proof_needed
        && progress.reports.values().any(|outcome| trouble_words(outcome).is_some())
        && now >= progress.begun + RESEND;
    if hopeless || now >= progress.begun + timing.lapse() + FENCE_GRACE {
        let detail = fence_failure(plan, &known, progress);
        return finish(plan, progress, StepResult::Failed { detail }, scene);
    }
    dispatch(scene, plan, progress, hosts, plan.epoch_before, FENCE_PATIENCE, &Action::Fence)
}

fn fence_failure(plan: &Plan, known: &BTreeMap<HostId, HostFence>, progress: &Progress) -> String {
    let silent: Vec<&str> = known
        .iter()
        .filter(|(_, fence)| fence.acknowledged.is_none())
        .map(|(host, _)| host.as_str())
        .collect();
    let said: Vec<String> = progress.reports.values().filter_map(trouble_words).collect();
    format!(
        "proof level {} was not reached: no acknowledgement from {}{}{}",
        plan.proof_needed,
        silent.join(", "),
        if said.is_empty() { "" } else { ": " },
        said.join("; ")
    )
}

fn trouble_words(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed { detail } => Some(detail.clone()),
        Outcome::Refused(refusal) => Some(refusal.to_string()),
        Outcome::Done { .. } | Outcome::Fenced { .. } | Outcome::Verified(_) => None,
    }
}

fn run_redirect(
    scene: &Scene<'_>,
    group: &Group,
    plan: &Plan,
    id: StepId,
    progress: &mut Progress,
) -> Move {
    match &progress.hook {
        Hook::Called => Move::Act(Vec::new()),
        Hook::Ended(result) => {
            let detail = result.detail.clone();
            let result = if result.switched {
                StepResult::Done { detail }
            } else {
                StepResult::Failed { detail }
            };
            finish(plan, progress, result, scene)
        }
        Hook::NotCalled => {
            progress.hook = Hook::Called;
            let addresses =
                |site| group.spec.site(site).map(|s| s.addresses.clone()).unwrap_or_default();
            let order = DnsOrder {
                plan: plan.id,
                step: id,
                attempt: progress.attempt,
                group: plan.group.clone(),
                from: plan.from.clone(),
                to: plan.to.clone(),
                addresses: addresses(&plan.to),
                from_addresses: plan.from.as_ref().map(addresses).unwrap_or_default(),
                epoch: group.epoch,
                incident: plan.incident,
            };
            Move::Act(Vec::from([Effect::SwitchDns { term: scene.term, order }]))
        }
    }
}

/// Steps that are done when every host of theirs has reported well.
fn run_commands(
    scene: &Scene<'_>,
    group: &Group,
    plan: &Plan,
    (id, step): (StepId, &Step),
    progress: &mut Progress,
) -> Move {
    let timing = group.spec.timing();
    let (action, deadline) = match &step.kind {
        StepKind::Promote { .. } => {
            (Action::Promote { site: plan.to.clone() }, PROMOTE_MIN.max(timing.lease.times(2)))
        }
        StepKind::Start { service, .. } => {
            let spec = group.spec.services.iter().find(|s| s.name == *service);
            let timeout = spec.map_or(VERIFY, |s| s.start_timeout);
            (Action::StartService { service: service.clone() }, timeout)
        }
        StepKind::Verify { .. } => (Action::Verify, VERIFY),
        StepKind::Fence { .. } | StepKind::Activate | StepKind::Redirect => {
            return Move::Act(Vec::new());
        }
    };
    debug_assert_eq!(id, progress.step);
    let hosts = step.kind.hosts();
    if let Some(detail) = first_failure(hosts, progress) {
        return finish(plan, progress, StepResult::Failed { detail }, scene);
    }
    if progress.reports.len() == hosts.len() {
        let detail = success_words(hosts, progress);
        return finish(plan, progress, StepResult::Done { detail }, scene);
    }
    if scene.now.mono >= progress.begun + deadline + ANSWER_GRACE {
        let detail = format!("no answer within {deadline} from {}", unanswered(hosts, progress));
        return finish(plan, progress, StepResult::Failed { detail }, scene);
    }
    dispatch(scene, plan, progress, hosts, group.epoch, deadline, &action)
}

fn first_failure(hosts: &[HostId], progress: &Progress) -> Option<String> {
    progress.reports.iter().find_map(|(part, outcome)| {
        let host = hosts.get(*part as usize)?;
        trouble_words(outcome).map(|words| format!("{host}: {words}"))
    })
}

fn success_words(hosts: &[HostId], progress: &Progress) -> String {
    let one = |(part, outcome): (&u32, &Outcome)| {
        let host = hosts.get(*part as usize).map_or("?", HostId::as_str);
        match outcome {
            Outcome::Verified(v) => {
                let first = v
                    .first_message_after
                    .map(|after| format!(", the first {after} after the promotion"))
                    .unwrap_or_default();
                format!("{host}: {} fresh feeds, {} messages{first}", v.fresh_feeds, v.messages)
            }
            Outcome::Done { detail } | Outcome::Failed { detail } => format!("{host}: {detail}"),
            Outcome::Fenced { stopped, .. } => format!("{host}: {} stopped", stopped.len()),
            Outcome::Refused(refusal) => format!("{host}: {refusal}"),
        }
    };
    progress.reports.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn unanswered(hosts: &[HostId], progress: &Progress) -> String {
    let silent: Vec<&str> = (0u32..)
        .zip(hosts)
        .filter(|(part, _)| !progress.reports.contains_key(part))
        .map(|(_, host)| host.as_str())
        .collect();
    silent.join(", ")
}

/// Sends the action to every host that has not answered, and again after a while.
fn dispatch(
    scene: &Scene<'_>,
    plan: &Plan,
    progress: &mut Progress,
    hosts: &[HostId],
    epoch: Epoch,
    deadline: Millis,
    action: &Action,
) -> Move {
    let now = scene.now.mono;
    let mut effects = Vec::new();
    for (part, host) in (0u32..).zip(hosts) {
        let answered = progress.reports.contains_key(&part);
        let recent = progress.sent.get(&part).is_some_and(|sent| now.since(*sent) < RESEND);
        if answered || recent {
            continue;
        }
        progress.sent.insert(part, now);
        let id = CommandId { plan: plan.id, step: progress.step, attempt: progress.attempt, part };
        effects.push(Effect::Dispatch(Command {
            id,
            term: scene.term,
            host: host.clone(),
            group: plan.group.clone(),
            epoch,
            deadline,
            action: action.clone(),
        }));
    }
    Move::Act(effects)
}
