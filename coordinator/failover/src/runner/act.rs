//! What each kind of step does while it runs: which commands go out, and when
//! their reports make its outcome.

use super::{
    Hook, Move, Progress, Scene, commit,
    words::{success_words, trouble_words, unanswered},
};
use crate::{
    effect::{DnsOrder, Effect},
    plan::{Plan, Step, StepKind},
    record::{Record, StepResult},
    state::Group,
};
use alloc::{format, string::String, vec::Vec};
use model::{Action, Command, CommandId, Epoch, HostId, Millis, ProbeName, StepId};

/// A command without an answer is sent again after this long: agents answer a
/// repeated one from their ledger.
pub(super) const RESEND: Millis = Millis(1000);
/// How long taking the lease may take at least: an election and a reconnection.
const PROMOTE_MIN: Millis = Millis(10_000);
/// How long the new site has for its first fresh message.
const VERIFY: Millis = Millis(60_000);
/// Over an agent's own deadline, before its silence counts as a failure.
const ANSWER_GRACE: Millis = Millis(3000);
/// How long a host may fall silent in the middle of its step: an agent that is
/// started again is back within a few seconds, and its answer is in its ledger.
const SILENT_MAX: Millis = Millis(15_000);

pub(super) fn finish(
    plan: &Plan,
    progress: &Progress,
    result: StepResult,
    scene: &Scene<'_>,
) -> Move {
    commit(Record::StepFinished {
        plan: plan.id,
        step: progress.step,
        attempt: progress.attempt,
        result,
        at: scene.now.wall,
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
            // A promise of the target's, or one that it may have forgotten, binds
            // it for a lapse (A6); then the lease has to come.
            let deadline = PROMOTE_MIN.max(timing.lapse() + timing.lease);
            (Action::Promote { site: plan.to.clone() }, deadline)
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
    if let Some((host, silence)) = lost(scene, hosts, progress, timing.detection()) {
        let detail = format!("host {host} is lost: silent for {silence}");
        return finish(plan, progress, StepResult::Failed { detail }, scene);
    }
    if scene.now.mono >= progress.begun + deadline + ANSWER_GRACE {
        let excuse =
            progress.excuse.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
        let silent = unanswered(hosts, progress);
        let detail = format!("not done within {deadline} by {silent}{excuse}");
        return finish(plan, progress, StepResult::Failed { detail }, scene);
    }
    Move::Act(dispatch(scene, plan, progress, hosts, group.epoch, deadline, &action))
}

/// A host that owes an answer and is not heard any more: nobody need wait for
/// the whole of its step's time.
fn lost<'a>(
    scene: &Scene<'_>,
    hosts: &'a [HostId],
    progress: &Progress,
    detection: Millis,
) -> Option<(&'a HostId, Millis)> {
    let owing = (0u32..).zip(hosts).filter(|(part, _)| !progress.reports.contains_key(part));
    let silence = |host: &HostId| {
        let heard = scene.view.host(host).map_or(scene.elected, |seen| seen.heard);
        scene.now.mono.since(heard.max(progress.begun))
    };
    owing
        .map(|(_, host)| (host, silence(host)))
        .find(|(_, silence)| *silence >= SILENT_MAX.max(detection))
}

fn first_failure(hosts: &[HostId], progress: &Progress) -> Option<String> {
    progress.reports.iter().find_map(|(part, outcome)| {
        let host = hosts.get(*part as usize)?;
        trouble_words(outcome).map(|words| format!("{host}: {words}"))
    })
}

/// Sends the action to every host that has not answered, and again after a while.
pub(super) fn dispatch(
    scene: &Scene<'_>,
    plan: &Plan,
    progress: &mut Progress,
    hosts: &[HostId],
    epoch: Epoch,
    deadline: Millis,
    action: &Action,
) -> Vec<Effect> {
    let now = scene.now.mono;
    let mut effects = Vec::new();
    for (part, host) in (0u32..).zip(hosts) {
        let answered = progress.reports.contains_key(&part);
        let recent = progress.again.get(&part).is_some_and(|again| now < *again);
        if answered || recent {
            continue;
        }
        progress.again.insert(part, now + RESEND);
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
    effects
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
