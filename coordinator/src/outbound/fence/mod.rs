//! Making sure that a host can do no harm, through the operator's own
//! executables: its provider's power switch (proof level 4), or the trading
//! venue itself (level 5).
//!
//! A hook is called for one host, and says what is true of it. It must be safe
//! to repeat, also by the next leader. Unknown is not false, and not true
//! either: only a clear "confirmed" in time, that names the host and the epoch
//! that were asked for, is a proof. When to call, and what a proof is worth,
//! is the core's business.

mod answer;
mod config;

pub use answer::FenceOutcome;
pub use config::{FenceConfig, check};

use daemon::command::{NotStarted, Program, Run};
use failover::{FenceOrder, HookVerdict, ProofLevel};
use model::{AttemptId, Epoch, GroupId, HostId, IncidentId, PlanId, SiteId, StepId};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The form of the JSON object on a hook's stdin; grows when it changes.
const VERSION: u32 = 1;

/// What a hook reads from stdin. The members' order is part of the contract.
#[derive(Serialize)]
struct Input<'a> {
    version: u32,
    hook: &'a str,
    group: &'a GroupId,
    site: &'a SiteId,
    host: &'a HostId,
    epoch: Epoch,
    incident: IncidentId,
    plan: PlanId,
    step: StepId,
    attempt: AttemptId,
    level: u8,
    deadline_ms: u64,
}

struct Hook {
    level: ProofLevel,
    command: Vec<String>,
    deadline: Duration,
}

/// The hooks as configured. Cheap to clone.
#[derive(Clone, Default)]
pub struct FenceHooks(Arc<BTreeMap<String, Hook>>);

impl FenceHooks {
    /// The hooks from their configuration, which [`check`] has found sound.
    #[must_use]
    pub fn new(config: &[FenceConfig]) -> Self {
        let one = |hook: &FenceConfig| {
            let deadline = hook.deadline.get_ref().duration();
            let (level, command) = (*hook.level.get_ref(), hook.command.get_ref().clone());
            (hook.name.get_ref().clone(), Hook { level, command, deadline })
        };
        Self(Arc::new(config.iter().map(one).collect()))
    }

    /// Their names and what each one's "confirmed" proves.
    pub fn levels(&self) -> impl Iterator<Item = (String, ProofLevel)> + '_ {
        self.0.iter().map(|(name, hook)| (name.clone(), hook.level))
    }

    /// Calls the order's hook once. Answers within its deadline and the two
    /// seconds that it may take to end. Dropping the future ends it.
    pub async fn call(&self, order: &FenceOrder) -> FenceOutcome {
        let Some(hook) = self.0.get(&order.hook) else {
            return FenceOutcome::unknown(format!(
                "this coordinator's coordinator.toml has no [[fence]] named {}; the pair's files \
                 must agree",
                order.hook
            ));
        };
        let run = match hook.program(order) {
            Ok(program) => program.run().await,
            Err(why) => Run::NotStarted(why),
        };
        let outcome = answer::read(order, &run);
        let FenceOrder { hook, host, .. } = order;
        let FenceOutcome { verdict, detail } = &outcome;
        match verdict {
            HookVerdict::Confirmed => {
                tracing::info!(hook, %host, %verdict, detail, "fence hook called");
            }
            HookVerdict::Failed | HookVerdict::Unknown => {
                tracing::warn!(hook, %host, %verdict, detail, "fence hook called");
            }
        }
        outcome
    }
}

impl Hook {
    fn program(&self, order: &FenceOrder) -> Result<Program, NotStarted> {
        let deadline_ms = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX);
        let input = Input {
            version: VERSION,
            hook: &order.hook,
            group: &order.group,
            site: &order.site,
            host: &order.host,
            epoch: order.epoch,
            incident: order.incident,
            plan: order.plan,
            step: order.step,
            attempt: order.attempt,
            level: self.level.number(),
            deadline_ms,
        };
        let path = self.command.first().map(String::as_str).unwrap_or_default();
        let mut stdin = serde_json::to_vec(&input)
            .map_err(|error| NotStarted::Other { path: path.into(), source: error.into() })?;
        // A shell's `read` wants the line's end.
        stdin.push(b'\n');
        Ok(Program::new(path, self.deadline)
            .args(self.command.get(1..).unwrap_or_default())
            .env("UNDERSTUDY_HOOK", &order.hook)
            .env("UNDERSTUDY_GROUP", order.group.as_str())
            .env("UNDERSTUDY_SITE", order.site.as_str())
            .env("UNDERSTUDY_HOST", order.host.as_str())
            .env("UNDERSTUDY_EPOCH", order.epoch.to_string())
            .env("UNDERSTUDY_DEADLINE_MS", deadline_ms.to_string())
            .stdin(stdin))
    }
}

#[cfg(test)]
mod tests;
