//! What every part of the consensus shares: the library's handle, and the
//! questions asked of it.

use super::{
    fatal::{FatalError, Fatality},
    leadership::Leadership,
    network::Links,
    types::{Member, Membership, Metrics, Raft, Settings, Types},
};
use openraft::{
    LinearizerOption,
    async_runtime::watch::WatchReceiver,
    errors::{Fatal, ForwardToLeader, LinearizableReadError, RaftError},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, Notify, watch};

/// How long a quorum round may take. Longer than any election, so that a slow
/// voter is waited for; a renewal that it would have confirmed is asked again.
const QUORUM_DEADLINE: Duration = Duration::from_secs(1);

/// One member of the cluster: this one.
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) settings: Settings,
    pub(super) raft: Raft,
    pub(super) links: Arc<Links>,
    pub(super) fatality: Arc<Fatality>,
    pub(super) leadership: watch::Sender<Leadership>,
    /// Whoever holds it may change the membership.
    pub(super) changing: Mutex<()>,
    /// Rung when readiness must be found anew.
    pub(super) doubt: Notify,
}

/// Why it is not certain that this node leads.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QuorumError {
    /// Another leads, or none.
    #[error("this coordinator does not lead{}", led_by(leader.as_ref()))]
    NotLeader {
        /// Who does, as far as is known here.
        leader: Option<Member>,
    },
    /// Too few voters answered in time.
    #[error("only {answered} of {voters} voters answered within {QUORUM_DEADLINE:?}")]
    NoQuorum {
        /// How many answered, this node included.
        answered: usize,
        /// How many there are.
        voters: usize,
    },
    /// The voters agreed, but this node is late in applying what is committed.
    #[error("this coordinator did not apply what is committed within {QUORUM_DEADLINE:?}")]
    TimedOut,
    /// Consensus has ended in this process.
    #[error("the consensus has ended in this process")]
    Fatal(#[source] Arc<FatalError>),
}

/// ", NAME at ADDRESS does", or nothing.
pub(super) fn led_by(leader: Option<&Member>) -> String {
    leader.map_or_else(String::new, |leader| format!("; {leader} does"))
}

impl Node {
    /// What the library says of itself just now.
    pub(super) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow_watched().clone()
    }

    /// Who is a member, as far as this node knows.
    pub(super) fn membership(&self) -> Arc<Membership> {
        Arc::clone(&self.raft.metrics().borrow_watched().membership_config)
    }

    /// The leader as this node knows it.
    pub(super) fn leader(&self) -> Option<Member> {
        self.leadership.borrow().leader.as_ref().map(|leader| leader.member.clone())
    }

    /// Whom the library would ask instead.
    pub(super) fn other(&self, forward: &ForwardToLeader<Types>) -> Option<Member> {
        let other = forward.leader_id.filter(|other| *other != self.id)?;
        forward.leader_node.clone().or_else(|| self.membership().get_node(&other).cloned())
    }

    /// Waits until the metrics show something, or until the limit.
    pub(super) async fn until(
        &self,
        limit: Duration,
        mut shown: impl FnMut(&Metrics) -> bool,
    ) -> bool {
        let mut metrics = self.raft.metrics();
        let wait = async {
            loop {
                if shown(&metrics.borrow_and_update()) {
                    return true;
                }
                if metrics.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(false)
    }

    /// The library has ended: why?
    pub(super) fn ended(&self, why: &Fatal<Types>) -> Arc<FatalError> {
        self.fatality.report(FatalError::Ended(why.to_string()));
        let stopped = || Arc::new(FatalError::Ended("it was shut down".into()));
        self.fatality.get().unwrap_or_else(stopped)
    }

    /// A read-index round begun after this call (C2): when it returns, a
    /// quorum has said after the call that this node leads, and everything
    /// committed before the call is applied here.
    pub(super) async fn confirm_quorum(&self) -> Result<(), QuorumError> {
        let round =
            LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(QUORUM_DEADLINE);
        let voters = self.membership().voter_ids().count();
        // The wait for applying comes after the wait for the voters.
        let limit = QUORUM_DEADLINE.saturating_mul(2);
        match tokio::time::timeout(limit, self.raft.ensure_linearizable(round)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(QuorumError::NotLeader { leader: self.other(&forward) })
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(few)))) => {
                Err(QuorumError::NoQuorum { answered: few.got.len(), voters })
            }
            Ok(Err(RaftError::Fatal(why))) => Err(QuorumError::Fatal(self.ended(&why))),
            Err(_) => Err(QuorumError::TimedOut),
        }
    }

    /// Whether the cluster has been founded, here or by a leader that reached this node.
    pub(super) async fn is_initialised(&self) -> Result<bool, Arc<FatalError>> {
        self.raft.is_initialized().await.map_err(|why| self.ended(&why))
    }
}
