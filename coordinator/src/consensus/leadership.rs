//! Who leads, and whether this node may act as the leader.
//!
//! `ready` is the driver's permission to act: this node leads, it has applied
//! everything committed before its term and the term's own first entry, and a
//! quorum has confirmed it since. It goes at once when leadership goes, and
//! also when the quorum falls silent, because the library keeps calling itself
//! leader then. A witness is never ready (C1).

use super::{
    fatal::FatalError,
    node::Node,
    types::{Member, Metrics},
};
use futures::{FutureExt, future::BoxFuture};
use model::Term;
use openraft::{Instant, async_runtime::watch::WatchReceiver};
use std::sync::Arc;
use tokio::time::sleep;

/// A quorum that was silent for this many times the longest election timeout
/// has most likely chosen another leader.
const SILENT_ELECTIONS: u32 = 2;

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its number.
    pub node: u64,
    /// Its name and address.
    pub member: Member,
}

/// What this node knows of the leadership.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The current term. Only grows.
    pub term: Term,
    /// The term's leader, once it is known here.
    pub leader: Option<Leader>,
    /// Whether this node may act as the leader of `term`. Every record committed
    /// before was put into the driver's queue before this became true, so a
    /// driver that empties the queue first has seen them all. It may go and
    /// come back within a term.
    pub ready: bool,
}

impl Node {
    /// Publishes the leadership until the library ends; then reports why.
    pub(super) async fn watch_leadership(self: Arc<Self>) {
        let mut metrics = self.raft.metrics();
        // The term for which a quorum round has succeeded, or is under way.
        let mut confirmed: Option<u64> = None;
        let mut round: Option<(u64, BoxFuture<'_, ()>)> = None;
        let mut known = None;
        loop {
            let now = metrics.borrow_and_update().clone();
            if let Err(why) = &now.running_state {
                self.leadership.send_modify(|last| last.ready = false);
                self.ended(why);
                return;
            }
            if known.as_ref() != Some(&now.membership_config) {
                self.links.learn(now.membership_config.nodes());
                known = Some(Arc::clone(&now.membership_config));
            }
            let (may, term) = (self.may_act(&now), now.current_term);
            confirmed = confirmed.filter(|of| may && *of == term);
            round = round.filter(|(of, _)| may && *of == term);
            if may && confirmed.is_none() && round.is_none() {
                round = Some((term, self.confirm_term().boxed()));
            }
            self.publish(&now, confirmed.is_some());
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() {
                    self.leadership.send_modify(|last| last.ready = false);
                    self.fatality.report(FatalError::Ended("its task is gone".into()));
                    return;
                },
                () = self.doubt.notified() => (confirmed, round) = (None, None),
                term = finished(&mut round) => (confirmed, round) = (Some(term), None),
                // Silence shows in no metric's change.
                () = sleep(self.settings.heartbeat) => {}
            }
        }
    }

    /// Whether this node leads as far as it knows, and heard its voters lately.
    fn may_act(&self, now: &Metrics) -> bool {
        let leads = now.state.is_leader() && now.current_leader == Some(self.id);
        let alone = now.membership_config.voter_ids().eq([self.id]);
        let silence = self.settings.election_max.saturating_mul(SILENT_ELECTIONS);
        let heard = now.last_quorum_acked.is_some_and(|at| at.elapsed() < silence);
        leads && !self.settings.member.witness && (alone || heard)
    }

    fn publish(&self, now: &Metrics, ready: bool) {
        let leader = now.current_leader.and_then(|node| {
            let member = now.membership_config.get_node(&node)?.clone();
            Some(Leader { node, member })
        });
        let next = Leadership { term: Term(now.current_term), leader, ready };
        self.leadership.send_if_modified(|last| {
            let changed = *last != next;
            if changed {
                tracing::info!(
                    term = next.term.0,
                    leader = next.leader.as_ref().map(|leader| leader.member.name.as_str()),
                    ready = next.ready,
                    "leadership"
                );
                *last = next;
            }
            changed
        });
    }

    /// Returns once a quorum has confirmed this node. Dropped when leadership goes.
    async fn confirm_term(&self) {
        while self.confirm_quorum().await.is_err() {
            sleep(self.settings.heartbeat).await;
        }
    }
}

/// The term of the round, once it has succeeded; never without a round.
async fn finished(round: &mut Option<(u64, BoxFuture<'_, ()>)>) -> u64 {
    match round {
        Some((term, confirmed)) => {
            confirmed.await;
            *term
        }
        None => std::future::pending().await,
    }
}
