//! Fence hooks within one try of the fence step: which are called for which
//! host and when, and whose words count.
//!
//! A hook is called at most once for a host in one try. A new leader calls it
//! again, because the word that the one before may have got is lost with it.

use super::{Progress, Runner, Scene, fencing::Evidence};
use crate::{
    effect::Effect,
    fence::{HostFence, ProofLevel},
    hook::{FenceHook, FenceOrder, HookVerdict},
    plan::Plan,
    state::{Group, State},
};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{AttemptId, Epoch, HostId, PlanId, StepId};

/// A hook's own words are kept up to this length: they go into the journal.
const DETAIL_MAX: usize = 500;

/// One call: `None` until its word has come.
type Call = Option<(HookVerdict, String)>;

/// The calls of one try, by hook and host, with what each word is worth.
#[derive(Debug, Clone, Default)]
pub(super) struct HookCalls(BTreeMap<(HostId, String), (ProofLevel, Call)>);

/// How the hooks stand that could still make the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calls {
    /// None could help.
    None,
    /// At least one is still to be called.
    Due,
    /// At least one has not answered.
    UnderWay,
    /// Every one has answered, and a host is left that none confirmed.
    InVain,
}

/// What an ended hook says of itself.
#[derive(Debug)]
pub(crate) struct HookWord {
    pub(crate) plan: PlanId,
    pub(crate) step: StepId,
    pub(crate) attempt: AttemptId,
    pub(crate) hook: String,
    pub(crate) host: HostId,
    pub(crate) epoch: Epoch,
    pub(crate) verdict: HookVerdict,
    pub(crate) detail: String,
}

impl Runner {
    /// Takes in a hook's word; one about another try, hook, host or epoch than
    /// was asked about is dropped, and a second word makes it unknown.
    pub(crate) fn fence_ended(&mut self, state: &State, word: HookWord) {
        let epoch = state.plans.get(&word.plan).map(|plan| plan.epoch_before);
        let Some(progress) = self.progress.get_mut(&word.plan) else { return };
        if progress.step != word.step
            || progress.attempt != word.attempt
            || epoch != Some(word.epoch)
        {
            return;
        }
        let Some((_, call)) = progress.hooks.0.get_mut(&(word.host, word.hook)) else { return };
        *call = Some(match call {
            None => (word.verdict, word.detail.chars().take(DETAIL_MAX).collect()),
            Some(_) => (HookVerdict::Unknown, "it answered more than once".to_string()),
        });
    }
}

impl Progress {
    /// The strongest confirmation of this host, if there is one.
    pub(super) fn confirmed(&self, host: &HostId) -> Option<(FenceHook, String)> {
        let of_host = self.hooks.0.iter().filter(|((of, _), _)| of == host);
        let confirmed = of_host.filter_map(|((_, hook), (level, call))| match call {
            Some((HookVerdict::Confirmed, detail)) => {
                Some((FenceHook { name: hook.clone(), level: *level }, detail.clone()))
            }
            Some((HookVerdict::Failed | HookVerdict::Unknown, _)) | None => None,
        });
        confirmed.max_by_key(|(hook, _)| hook.level)
    }

    /// Every hook that did not confirm, in words.
    pub(super) fn hook_words(&self) -> Vec<String> {
        let one = |((host, hook), (_, call)): (&(HostId, String), &(ProofLevel, Call))| match call {
            None => Some(format!("hook {hook} has not answered for {host}")),
            Some((HookVerdict::Confirmed, _)) => None,
            Some((verdict, detail)) => Some(format!("hook {hook} for {host}: {verdict}, {detail}")),
        };
        self.hooks.0.iter().filter_map(one).collect()
    }
}

/// The hooks that this group may use here: named by its policy, and configured
/// on this coordinator at level 4 or 5.
pub(crate) fn usable(group: &Group, configured: &[(String, ProofLevel)]) -> Vec<FenceHook> {
    let named = configured
        .iter()
        .filter(|(name, level)| *level >= ProofLevel::Provider && group.spec.fence.contains(name));
    named.map(|(name, level)| FenceHook { name: name.clone(), level: *level }).collect()
}

/// Calls every hook whose time has come, and tells how they stand.
pub(super) fn call(
    scene: &Scene<'_>,
    group: &Group,
    plan: &Plan,
    step: StepId,
    evidence: &Evidence,
    progress: &mut Progress,
) -> (Vec<Effect>, Calls) {
    let hooks = usable(group, scene.hooks);
    let (mut effects, mut worst) = (Vec::new(), Calls::None);
    for (host, fence) in &evidence.known {
        let reached = fence.best(&evidence.moment).map(|how| how.level());
        if reached.is_some_and(|level| level >= plan.proof_needed) {
            continue;
        }
        let helpful = hooks.iter().filter(|hook| hook.level >= plan.proof_needed);
        let mut stand = Calls::None;
        for hook in helpful {
            let key = (host.clone(), hook.name.clone());
            let one = match progress.hooks.0.get(&key) {
                Some((_, None)) => Calls::UnderWay,
                Some((_, Some(_))) => Calls::InVain,
                None if is_due(group, plan, fence, evidence, progress) => {
                    effects.push(order(scene, plan, step, progress.attempt, hook, host));
                    progress.hooks.0.insert(key, (hook.level, None));
                    Calls::UnderWay
                }
                None => Calls::Due,
            };
            stand = hopeful(stand, one);
        }
        worst = hopeful(worst, stand);
    }
    (effects, worst)
}

/// The one of two that leaves more to wait for.
const fn hopeful(one: Calls, other: Calls) -> Calls {
    match (one, other) {
        (Calls::UnderWay, _) | (_, Calls::UnderWay) => Calls::UnderWay,
        (Calls::Due, _) | (_, Calls::Due) => Calls::Due,
        (Calls::InVain, _) | (_, Calls::InVain) => Calls::InVain,
        (Calls::None, Calls::None) => Calls::None,
    }
}

/// Whether the time for a hook has come. A host that is heard may acknowledge
/// first. Where only a hook can reach the proof it is called at once; else when
/// the lapse is certain and not enough, or has been in doubt for as long as any
/// promise could have lived.
fn is_due(
    group: &Group,
    plan: &Plan,
    fence: &HostFence,
    evidence: &Evidence,
    progress: &Progress,
) -> bool {
    let moment = &evidence.moment;
    if fence.in_contact && moment.now < moment.patience {
        return false;
    }
    let doubted = fence.lapses_at.max(progress.begun + group.spec.timing().lapse());
    plan.proof_needed >= ProofLevel::Provider
        || (moment.lapse_counts && moment.now >= fence.lapses_at)
        || moment.now >= doubted
}

fn order(
    scene: &Scene<'_>,
    plan: &Plan,
    step: StepId,
    attempt: AttemptId,
    hook: &FenceHook,
    host: &HostId,
) -> Effect {
    let order = FenceOrder {
        plan: plan.id,
        step,
        attempt,
        hook: hook.name.clone(),
        level: hook.level,
        group: plan.group.clone(),
        // A step that fences always has a site that it fences.
        site: plan.from.clone().unwrap_or_else(|| plan.to.clone()),
        host: host.clone(),
        epoch: plan.epoch_before,
        incident: plan.incident,
    };
    Effect::CallFence { term: scene.term, order }
}
