//! What each kind of step does while it runs: which commands go out, and when
//! their reports make its outcome.

use super::{
    Hook, Move, Progress, Scene, commit,
    words::{fence_failure, success_words, trouble_words, unanswered},
};
use crate::{
    effect::{DnsOrder, Effect},
    fence::{self, HostFence, ProofLevel},
    plan::{Plan, Step, StepKind},
    record::{Record, StepResult},
    state::Group,
    suspicion::Standing,
    view::HostView,
};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use model::{
    Action, Command, CommandId, Epoch, HostId, Millis, Outcome, ProbeName, ServiceState, StepId,
};

/// A command without an answer is sent again after this long: agents answer a
/// repeated one from their ledger.
pub(super) const RESEND: Millis = Millis(1000);
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
pub(super) fn run_fence(
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
        let alive = Standing::of(silence, Millis::ZERO, &timing) == Standing::Alive;
        let gate_armed = standing.is_some_and(|standing| fence::armed(standing.gate));
        let runs = seen.is_some_and(|seen| still_runs(seen, plan));
        let fence = HostFence {
            acknowledged,
            lapses_at: scene.renewals.lapses_at(&plan.group, host, scene.elected, &timing),
            gate_armed,
            in_contact: alive && !progress.reports.contains_key(&part),
            contradicted: alive && !gate_armed && runs,
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
    let in_vain = lapse < plan.proof_needed || known.values().any(|fence| fence.contradicted);
    let hopeless = in_vain
        && progress.reports.values().any(|outcome| trouble_words(outcome).is_some())
        && now >= progress.begun + RESEND;
    if hopeless || now >= progress.begun + timing.lapse() + FENCE_GRACE {
        let detail = fence_failure(plan, &known, progress);
        return finish(plan, progress, StepResult::Failed { detail }, scene);
    }
    dispatch(scene, plan, progress, hosts, plan.epoch_before, FENCE_PATIENCE, &Action::Fence)
}

/// Whether the host's own last word is that an exclusive service of the group
/// runs there. A driver that cannot tell counts as running, unless an operator
/// took the decision.
fn still_runs(seen: &HostView, plan: &Plan) -> bool {
    let services = seen.heartbeat.services.iter();
    services.filter(|s| s.exclusive && s.group == plan.group).any(|service| match service.state {
        ServiceState::Starting | ServiceState::Running | ServiceState::Unhealthy => true,
        ServiceState::Unknown => plan.by.is_none(),
        ServiceState::Stopped | ServiceState::Failed => false,
    })
}

pub(super) fn run_redirect(
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
pub(super) fn run_commands(
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
        StepKind::Verify { .. } => (Action::Verify { feeds: Vec::new() }, VERIFY),
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
        let excuse =
            progress.excuse.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
        let silent = unanswered(hosts, progress);
        let detail = format!("not done within {deadline} by {silent}{excuse}");
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
            action: of_host(scene, plan, hosts, host, action),
        }));
    }
    Move::Act(effects)
}

/// The action as one host gets it: of the group's feeds, those that it has
/// probes for. Feeds that no host has a probe for are asked of the first one,
/// whose refusal then says what is missing.
fn of_host(
    scene: &Scene<'_>,
    plan: &Plan,
    hosts: &[HostId],
    host: &HostId,
    action: &Action,
) -> Action {
    let Action::Verify { .. } = action else { return action.clone() };
    let feeds = scene.state.groups.get(&plan.group).map_or(&[][..], |group| &group.spec.feeds);
    let has = |host: &HostId, feed: &ProbeName| {
        scene.view.host(host).is_some_and(|seen| {
            seen.heartbeat.readings.iter().any(|reading| reading.probe == *feed)
        })
    };
    let own = |feed: &&ProbeName| {
        let nobodys = !hosts.iter().any(|other| has(other, feed));
        has(host, feed) || (nobodys && hosts.first() == Some(host))
    };
    Action::Verify { feeds: feeds.iter().filter(own).cloned().collect() }
}
