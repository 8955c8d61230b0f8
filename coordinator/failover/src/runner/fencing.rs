//! The fence step: asks every host, counts acknowledgements, lapses (C4) and
//! the fence hooks' words, and concludes with the proof or without.

use super::{
    Progress, Scene,
    act::{RESEND, dispatch, finish},
    commit,
    hooks::{self, Calls},
    words::{fence_failure, trouble_words},
};
use crate::{
    failsafe,
    fence::{self, HostFence, Moment},
    plan::Plan,
    record::{Record, StepResult},
    runner::Move,
    state::Group,
    suspicion::Standing,
    view::HostView,
};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use model::{Action, GroupStanding, HostId, Millis, Mono, Outcome, ServiceState, StepId};

/// How long an acknowledgement of a host that is heard is worth waiting for: a
/// kill-first stop takes well under a second, a hung Docker call its 10 s deadline.
pub(super) const FENCE_PATIENCE: Millis = Millis(12_000);
/// How long a fence may take beyond the lapse before a person must look.
const FENCE_GRACE: Millis = Millis(30_000);
/// The same while a hook is under way: the longest deadline that
/// coordinator.toml may give one.
const HOOK_GRACE: Millis = Millis(300_000);
/// A try that called hooks lasts at least this long, so that the five tries
/// outlive a provider's short outage.
const HOOK_PAUSE: Millis = Millis(5000);

/// What stands in this moment between the step and its proof.
pub(super) struct Evidence {
    pub(super) known: BTreeMap<HostId, HostFence>,
    /// What keeps a lapse from being believed (C4 under failsafe), in words.
    pub(super) against: Vec<String>,
    pub(super) moment: Moment,
}

/// Fencing: ask every host, count acknowledgements, lapses and confirmations.
pub(super) fn run_fence(
    scene: &Scene<'_>,
    group: &Group,
    plan: &Plan,
    (id, hosts): (StepId, &[HostId]),
    progress: &mut Progress,
) -> Move {
    let evidence = gather(scene, group, plan, hosts, progress);
    let Evidence { known, moment, .. } = &evidence;
    let concluded =
        fence::conclude(&plan.group, plan.epoch_before, known, plan.proof_needed, moment);
    if let Some(proof) = concluded {
        return commit(Record::Fenced { plan: plan.id, step: id, proof, at: scene.now.wall });
    }
    let (mut effects, calls) = hooks::call(scene, group, plan, id, &evidence, progress);
    if is_over(group, plan, &evidence, calls, progress) {
        let detail = fence_failure(plan, &evidence, progress);
        return finish(plan, progress, StepResult::Failed { detail }, scene);
    }
    let asked =
        dispatch(scene, plan, progress, hosts, plan.epoch_before, FENCE_PATIENCE, &Action::Fence);
    effects.extend(asked);
    Move::Act(effects)
}

fn gather(
    scene: &Scene<'_>,
    group: &Group,
    plan: &Plan,
    hosts: &[HostId],
    progress: &Progress,
) -> Evidence {
    let against = failsafe::against_lapse(group, plan, scene.view, &progress.before);
    let moment = Moment {
        now: scene.now.mono,
        patience: progress.begun + FENCE_PATIENCE,
        lapse_counts: against.is_empty(),
    };
    let one =
        |(part, host)| (HostId::clone(host), of_host(scene, group, plan, (part, host), progress));
    Evidence { known: (0u32..).zip(hosts).map(one).collect(), against, moment }
}

fn of_host(
    scene: &Scene<'_>,
    group: &Group,
    plan: &Plan,
    (part, host): (u32, &HostId),
    progress: &Progress,
) -> HostFence {
    let timing = group.spec.timing();
    let acknowledged = match progress.reports.get(&part) {
        Some(Outcome::Fenced { gate_closed, .. }) => Some(*gate_closed),
        Some(
            Outcome::Done { .. }
            | Outcome::Verified(_)
            | Outcome::Failed { .. }
            | Outcome::Refused(_),
        )
        | None => None,
    };
    let seen = scene.view.host(host);
    let standing =
        seen.and_then(|s| s.heartbeat.groups.iter().find(|standing| standing.group == plan.group));
    let silence = seen.map(|s| scene.now.mono.since(s.heard));
    let alive = Standing::of(silence, Millis::ZERO, &timing) == Standing::Alive;
    let gate_armed = standing.is_some_and(|standing| fence::armed(standing.gate));
    let runs = seen.is_some_and(|seen| still_runs(seen, plan));
    let granted = scene.renewals.lapses_at(&plan.group, host, scene.elected, &timing);
    // A lease that lives by promises is known from the host's own word alone.
    let own_word = seen.zip(standing).and_then(|(seen, standing)| said(seen, standing, &timing));
    HostFence {
        acknowledged,
        confirmed: progress.confirmed(host),
        lapses_at: own_word.map_or(granted, |until| until.max(granted)),
        gate_armed,
        watchdog: seen.and_then(|seen| seen.heartbeat.resets_within()),
        in_contact: alive && !progress.reports.contains_key(&part),
        contradicted: alive && !gate_armed && runs,
    }
}

/// Until when the host may hold a lease by its own newest word; a word of more
/// than a whole lapse is not believed to that length.
fn said(seen: &HostView, standing: &GroupStanding, timing: &crate::policy::Timing) -> Option<Mono> {
    let left = standing.lease_left?.min(timing.lapse());
    Some(seen.heard + left + timing.rate_error)
}

/// Whether this try has failed: nothing that is still to come could make the proof.
fn is_over(
    group: &Group,
    plan: &Plan,
    evidence: &Evidence,
    calls: Calls,
    progress: &Progress,
) -> bool {
    let (now, lapse) = (evidence.moment.now, group.spec.timing().lapse());
    let known = &evidence.known;
    let by_lapse = known.values().map(HostFence::by_lapse).min();
    // Where a lapse would do, it is waited for; else a refusal is worth a new try.
    let in_vain = by_lapse.is_some_and(|level| level < plan.proof_needed)
        || known.values().any(|fence| fence.contradicted);
    let troubled = progress.reports.values().any(|outcome| trouble_words(outcome).is_some());
    let (nothing_left, grace) = match calls {
        Calls::None => (troubled && now >= progress.begun + RESEND, FENCE_GRACE),
        Calls::Due => (false, FENCE_GRACE),
        Calls::UnderWay => (false, HOOK_GRACE),
        Calls::InVain => (now >= progress.begun + HOOK_PAUSE, FENCE_GRACE),
    };
    // A watchdog that the proof needs gets its time, which is bounded.
    let reset = known.values().filter_map(HostFence::reset_at).max().unwrap_or_default();
    let last = (progress.begun + lapse).max(reset);
    (in_vain && nothing_left) || now >= last + grace
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

/// The hooks' outcomes and promises in words, for a failure.
pub(super) fn besides(evidence: &Evidence, progress: &Progress) -> Vec<String> {
    let mut words = evidence.against.clone();
    words.extend(progress.hook_words());
    words
}
