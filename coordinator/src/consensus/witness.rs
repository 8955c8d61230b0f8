//! A witness that wins an election hands leadership on at once (C1).
//!
//! It campaigns like any voter, because it may be the only one with the newest
//! entry: a witness that never leads could block a failover for good. It keeps
//! leading only while no coordinator can take over, and then acts on nothing.

use super::{members::up_to_date, node::Node, types::Metrics};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Hand-overs tried in one term. From the first on the library sends no more
/// heartbeats, so the others elect one of themselves even if all of these fail.
const TRIES: u32 = 10;
/// How long to wait for something to change; then look again.
const WATCH: Duration = Duration::from_secs(60);

impl Node {
    /// Gives leadership away whenever this node has it; until its task is ended.
    pub(super) async fn yield_leadership(self: Arc<Self>) {
        let mut tried = (0, 0);
        while self.fatality.get().is_none() {
            let (term, tries) = tried;
            let mut next = None;
            self.until(WATCH, |now| {
                let fresh = now.current_term != term || tries < TRIES;
                next =
                    Some((now.current_term, successor(self.id, now, self.settings.election_max)))
                        .filter(|_| fresh && now.state.is_leader());
                matches!(next, Some((_, Some(_)))) || now.running_state.is_err()
            })
            .await;
            if self.metrics().running_state.is_err() {
                return;
            }
            let Some((now, Some(to))) = next else {
                // Never a busy loop, even should the library's metrics have ended.
                sleep(self.settings.heartbeat).await;
                continue;
            };
            tried = if now == term { (now, tries.saturating_add(1)) } else { (now, 1) };
            tracing::info!(term = now, to, "a witness hands leadership on");
            if self.hand_to(to).await.is_err() {
                return;
            }
            // Time for the other's election; then, if need be, another try.
            let pause = self.settings.election_max.saturating_mul(2);
            self.until(pause, |later| !later.state.is_leader()).await;
        }
    }
}

/// The coordinator with the newest log among those that can take over.
fn successor(own: u64, now: &Metrics, late: Duration) -> Option<u64> {
    let members = &now.membership_config;
    let leads = |node: &u64| members.get_node(node).is_some_and(|member| !member.witness);
    let others = members.voter_ids().filter(|node| *node != own).filter(leads);
    let known = others.filter_map(|node| Some((up_to_date(now, node, late)?, node)));
    known.max().map(|(_, node)| node)
}
