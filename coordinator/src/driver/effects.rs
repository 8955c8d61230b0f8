//! Effect -> world. Every effect that waits runs in a task of its own and
//! comes back as an event.

use super::Handle;
use crate::{
    consensus::{AppendError, Consensus},
    outbound::{
        agents::Agents,
        dns::{DnsHook, DnsSwitch},
        fence::FenceHooks,
        notify::{Channels, Message},
    },
};
use certs::Trust;
use failover::{
    AppendFailure, Delivery, DeliveryResult, DnsOrder, Effect, Engine, Event, FenceOrder,
    HookResult,
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{sync::watch, task::AbortHandle};

/// What a coordinator can do besides talking: from its configuration.
#[derive(Clone, Default)]
pub struct Hands {
    /// The DNS hook, where one is configured.
    pub dns: Option<DnsHook>,
    /// The fence hooks.
    pub fence: FenceHooks,
    /// The notification channels.
    pub channels: Channels,
}

/// The world as the driver reaches it.
pub(super) struct World {
    consensus: Consensus,
    agents: Agents,
    hands: Hands,
    handle: Handle,
    hooks: Vec<AbortHandle>,
    installation: Arc<str>,
    revoked: watch::Sender<BTreeMap<String, String>>,
}

impl World {
    pub(super) fn new(
        consensus: Consensus,
        agents: Agents,
        trust: Trust,
        hands: Hands,
        handle: Handle,
    ) -> Self {
        let installation = trust.identity().installation().into();
        let (revoked, news) = watch::channel(trust.revoked());
        tokio::spawn(keep_revoked(trust, news));
        Self { consensus, agents, hands, handle, hooks: Vec::new(), installation, revoked }
    }

    /// This node's name, and every voter's.
    pub(super) fn voters(&self) -> (String, Vec<String>) {
        let members = self.consensus.members();
        let own = members.iter().find(|member| member.node == self.consensus.id());
        let own = own.map(|member| member.member.name.clone()).unwrap_or_default();
        let voters = members.into_iter().filter(|member| member.voter);
        let mut voters: Vec<String> = voters.map(|member| member.member.name).collect();
        voters.sort();
        (own, voters)
    }

    /// Leadership is lost: a running hook is ended, since the next leader calls it again.
    pub(super) fn deposed(&mut self) {
        self.hooks.drain(..).for_each(|hook| hook.abort());
    }

    pub(super) fn carry_out(&mut self, effect: Effect, engine: &Engine) {
        match effect {
            Effect::Append { ticket, record, .. } => {
                let (consensus, handle) = (self.consensus.clone(), self.handle.clone());
                tokio::spawn(async move {
                    let result = consensus.append(*record).await.map_err(append_failure);
                    handle.result(Event::Appended { ticket, result }).await;
                });
            }
            Effect::ConfirmQuorum { round, .. } => {
                let (consensus, handle) = (self.consensus.clone(), self.handle.clone());
                tokio::spawn(async move {
                    let confirmed = consensus.confirm_quorum().await;
                    if let Err(error) = &confirmed {
                        tracing::debug!(%error, "a quorum round failed");
                    }
                    handle.result(Event::RoundEnded { round, confirmed: confirmed.is_ok() }).await;
                });
            }
            Effect::Lease { asker, reply } => self.agents.answer(asker, reply),
            Effect::Assign { host, term, groups, order, stops } => {
                self.agents.assign(&host, term, groups, order, stops);
            }
            Effect::Dispatch(command) => {
                tracing::info!(host = %command.host, id = %command.id, action = command.action.word(), "dispatch");
                if !self.agents.command(command.clone()) {
                    tracing::debug!(host = %command.host, id = %command.id, "no session; it is sent again");
                }
            }
            Effect::SwitchDns { order, .. } => self.switch_dns(order),
            Effect::CallFence { order, .. } => self.call_fence(order),
            Effect::Deliver { delivery, .. } => self.deliver(*delivery),
            Effect::TrustChanged => self.trust_changed(engine),
            Effect::Raise(alarm) => tracing::error!(%alarm, "ALARM: this should be impossible"),
            // Answered by the driver, which knows the callers.
            Effect::Reply { .. } => {}
        }
    }

    fn switch_dns(&mut self, order: DnsOrder) {
        let (hook, handle) = (self.hands.dns.clone(), self.handle.clone());
        self.hooks.retain(|hook| !hook.is_finished());
        let task = tokio::spawn(async move {
            let (plan, step, attempt) = (order.plan, order.step, order.attempt);
            let result = match hook {
                Some(hook) => call(&hook, order).await,
                None => HookResult {
                    switched: false,
                    detail: "this coordinator's coordinator.toml has no [dns_hook]; the pair's files must agree".into(),
                },
            };
            handle.result(Event::HookEnded { plan, step, attempt, result }).await;
        });
        self.hooks.push(task.abort_handle());
    }

    fn call_fence(&mut self, order: FenceOrder) {
        let (hooks, handle) = (self.hands.fence.clone(), self.handle.clone());
        self.hooks.retain(|hook| !hook.is_finished());
        let task = tokio::spawn(async move {
            let outcome = hooks.call(&order).await;
            let FenceOrder { plan, step, attempt, hook, host, epoch, .. } = order;
            let (verdict, detail) = (outcome.verdict, outcome.detail);
            let ended =
                Event::FenceEnded { plan, step, attempt, hook, host, epoch, verdict, detail };
            handle.result(ended).await;
        });
        self.hooks.push(task.abort_handle());
    }

    fn deliver(&self, delivery: Delivery) {
        let (channels, handle) = (self.hands.channels.clone(), self.handle.clone());
        let installation = self.installation.to_string();
        tokio::spawn(async move {
            let Delivery { notification, channel, attempt, .. } = delivery;
            let message = Message {
                id: notification,
                severity: delivery.severity,
                group: Some(delivery.group),
                incident: Some(delivery.incident).filter(|incident| incident.0 > 0),
                title: delivery.title,
                body: delivery.body,
                at: delivery.at,
                installation,
            };
            let result = match channels.deliver(&channel, &message).await {
                Ok(_) => DeliveryResult::Accepted,
                Err(error) => {
                    tracing::warn!(%channel, %notification, %error, "a notification was not accepted");
                    let asked = error.retry_after().unwrap_or_default().as_millis();
                    let asked = model::Millis(u64::try_from(asked).unwrap_or(u64::MAX));
                    let retry_after = error.is_worth_retrying().then_some(asked);
                    DeliveryResult::Failed { detail: error.to_string(), retry_after }
                }
            };
            handle.result(Event::DeliveryEnded { notification, channel, attempt, result }).await;
        });
    }

    fn trust_changed(&self, engine: &Engine) {
        let revoked = engine.state().revoked.clone();
        self.agents.trust(&revoked);
        self.revoked.send_replace(revoked);
    }
}

/// Keeps the newest list of revoked certificates; one at a time, so that an
/// older list can never win over a newer one.
async fn keep_revoked(trust: Trust, mut news: watch::Receiver<BTreeMap<String, String>>) {
    while news.changed().await.is_ok() {
        let (trust, revoked) = (trust.clone(), news.borrow_and_update().clone());
        let kept = tokio::task::spawn_blocking(move || trust.set_revoked(revoked)).await;
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = certs::explain(&error);
                tracing::error!(%error, "the list of revoked certificates was not stored");
            }
            Err(error) => tracing::error!(%error, "the list of revoked certificates was not kept"),
        }
    }
}

async fn call(hook: &DnsHook, order: DnsOrder) -> HookResult {
    let outcome = hook
        .switch(&DnsSwitch {
            round: order.attempt,
            group: order.group,
            from: order.from,
            to: order.to,
            addresses: order.addresses,
            from_addresses: order.from_addresses,
            epoch: order.epoch,
            incident: order.incident,
            plan: order.plan,
            dry_run: false,
        })
        .await;
    // Not seen everywhere yet is worth a word, not a failure: caches take their time.
    HookResult { switched: outcome.hook_succeeded(), detail: outcome.to_string() }
}

fn append_failure(error: AppendError) -> AppendFailure {
    match error {
        AppendError::NotLeader { .. } => AppendFailure::NotLeader,
        other => AppendFailure::Unknown(other.to_string()),
    }
}
