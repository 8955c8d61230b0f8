//! Who is a member: seeing, admitting, removing, and handing leadership over.
//!
//! One change at a time, on the leader, each waiting for its own commit. A
//! rebuilt coordinator takes the place of its old number in one joint change,
//! so that there is never a voter more than machines.

use super::{
    fatal::FatalError,
    node::{Node, QuorumError, led_by},
    types::{Member, Types},
};
use openraft::{
    ChangeMembers, Instant,
    errors::{ClientWriteError, RaftError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::MutexGuard, time::timeout};

/// How long a newcomer may take to get the journal, and a change to wait for the one before.
const CATCH_UP: Duration = Duration::from_secs(30);
/// How long a change of membership may take to be committed.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a wanted transfer of leadership may take.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(2);
/// A member that answered this lately is alive, and its name is taken.
const ALIVE: Duration = Duration::from_secs(2);

/// One member as the leader sees it; on the others the last three are unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its number.
    pub node: u64,
    /// Its name and address.
    pub member: Member,
    /// Whether it votes; a newcomer does not until it has caught up.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// The last index up to which its log is known to be the leader's.
    pub matched: Option<u64>,
    /// Milliseconds since its last answer.
    pub last_contact_ms: Option<u64>,
    /// Why the last message to it failed, if it did.
    pub problem: Option<String>,
}

/// Why the members are not as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes the membership.
    #[error("this coordinator does not lead{}; ask the leader", led_by(leader.as_ref()))]
    NotLeader {
        /// Who leads, as far as is known here.
        leader: Option<Member>,
    },
    /// Another change takes its time.
    #[error("another change of the members is still under way after {CATCH_UP:?}; ask again")]
    Busy,
    /// The newcomer did not get the journal in time. It may ask again.
    #[error(
        "{member} did not catch up with the journal within {CATCH_UP:?}{}; \
         check that the leader can reach it, then let it ask again",
        problem.as_ref().map(|words| format!(" ({words})")).unwrap_or_default()
    )]
    NotCaughtUp {
        /// The newcomer.
        member: Member,
        /// Why the last message to it failed, if it did.
        problem: Option<String>,
    },
    /// It must not be.
    #[error("{0}")]
    Refused(String),
    /// The outcome is unknown: see the members.
    #[error("the change was not committed in time, and may be later; look at the members")]
    TimedOut,
    /// Consensus has ended in this process.
    #[error("the consensus has ended in this process")]
    Fatal(#[source] Arc<FatalError>),
}

impl Node {
    /// All members.
    pub(super) fn members(&self) -> Vec<MemberStatus> {
        let now = self.metrics();
        let voters: BTreeSet<u64> = now.membership_config.voter_ids().collect();
        let status = |(&node, member): (&u64, &Member)| {
            let own = node == self.id && now.state.is_leader();
            let matched = now.replication.as_ref().and_then(|all| all.get(&node)?.as_ref());
            let heard = now.heartbeat.as_ref().and_then(|all| *all.get(&node)?);
            let age = heard.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
            MemberStatus {
                node,
                member: member.clone(),
                voter: voters.contains(&node),
                leader: now.current_leader == Some(node),
                matched: if own { now.last_log_index } else { matched.map(|at| at.index) },
                last_contact_ms: if own { Some(0) } else { age },
                problem: self.links.problem(node).filter(|_| node != self.id),
            }
        };
        now.membership_config.nodes().map(status).collect()
    }

    /// Makes a node a voter: it gets the journal first, then its vote. Whoever
    /// had its name before is removed in the same step. Idempotent.
    pub(super) async fn admit(&self, node: u64, member: Member) -> Result<(), ChangeError> {
        let _turn = self.turn().await?;
        let old = self.namesakes(node, &member)?;
        let known = self.membership().get_node(&node).cloned();
        match known {
            Some(known) if known == member => {}
            Some(_) => {
                self.change(ChangeMembers::SetNodes([(node, member.clone())].into())).await?
            }
            None => self.change(ChangeMembers::AddNodes([(node, member.clone())].into())).await?,
        }
        let voters: BTreeSet<u64> = self.membership().voter_ids().collect();
        if !voters.contains(&node) {
            self.caught_up(node, &member).await?;
        }
        let mut wanted = &voters - &old;
        wanted.insert(node);
        if wanted != voters {
            self.change(ChangeMembers::ReplaceAllVoters(wanted)).await?;
        }
        let left: BTreeSet<u64> =
            old.into_iter().filter(|old| self.membership().get_node(old).is_some()).collect();
        if left.is_empty() {
            return Ok(());
        }
        self.change(ChangeMembers::RemoveNodes(left)).await
    }

    /// Removes a member; a leader that removes itself hands over afterwards.
    pub(super) async fn remove(&self, node: u64) -> Result<(), ChangeError> {
        let _turn = self.turn().await?;
        let members: BTreeMap<u64, Member> =
            self.membership().nodes().map(|(node, member)| (*node, member.clone())).collect();
        let Some(member) = members.get(&node) else {
            return Err(ChangeError::Refused(format!("there is no member with number {node}")));
        };
        let mut voters: BTreeSet<u64> = self.membership().voter_ids().collect();
        if !voters.remove(&node) {
            return self.change(ChangeMembers::RemoveNodes([node].into())).await;
        }
        let leads = |node: &u64| members.get(node).is_some_and(|member| !member.witness);
        if !voters.iter().any(leads) {
            return Err(ChangeError::Refused(format!(
                "{member} is the last coordinator that may lead; admit another before removing it"
            )));
        }
        self.change(ChangeMembers::RemoveVoters([node].into())).await
    }

    /// Waits for the one right to change the members, checks that this node
    /// leads, and finishes a change that a former leader left half way.
    async fn turn(&self) -> Result<MutexGuard<'_, ()>, ChangeError> {
        let turn = timeout(CATCH_UP, self.changing.lock()).await.map_err(|_| ChangeError::Busy)?;
        self.confirm_quorum().await.map_err(|why| match why {
            QuorumError::NotLeader { leader } => ChangeError::NotLeader { leader },
            QuorumError::NoQuorum { .. } => ChangeError::Refused(why.to_string()),
            QuorumError::TimedOut => ChangeError::TimedOut,
            QuorumError::Fatal(why) => ChangeError::Fatal(why),
        })?;
        if self.membership().get_joint_config().len() > 1 {
            self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await?;
        }
        Ok(turn)
    }

    /// Who else has the newcomer's name: a machine that was rebuilt, or a mistake.
    fn namesakes(&self, node: u64, member: &Member) -> Result<BTreeSet<u64>, ChangeError> {
        if node == 0 || member.name.is_empty() || member.address.is_empty() {
            let words = "a member needs a number, a name and an address".to_owned();
            return Err(ChangeError::Refused(words));
        }
        let alive = |status: &MemberStatus| {
            let contact = status.last_contact_ms.map(Duration::from_millis);
            contact.is_some_and(|since| since < ALIVE)
        };
        let same = |status: &MemberStatus| status.node != node && status.member.name == member.name;
        let others: Vec<MemberStatus> = self.members().into_iter().filter(same).collect();
        match others.iter().find(|other| alive(other)) {
            Some(other) => Err(ChangeError::Refused(format!(
                "the name {} is taken by a member that is alive ({}); give the newcomer another \
                 name, or stop the other first",
                member.name, other.member.address
            ))),
            None => Ok(others.iter().map(|other| other.node).collect()),
        }
    }

    async fn caught_up(&self, node: u64, member: &Member) -> Result<(), ChangeError> {
        let target = self.metrics().last_log_index;
        let mut leads = true;
        let done = self.until(CATCH_UP, |now| {
            leads = now.state.is_leader();
            let matched = now.replication.as_ref().and_then(|all| all.get(&node)?.as_ref());
            !leads || matched.map(|at| at.index) >= target
        });
        match (done.await, leads) {
            (true, true) => Ok(()),
            (_, false) => Err(ChangeError::NotLeader { leader: self.leader() }),
            (false, true) => Err(ChangeError::NotCaughtUp {
                member: member.clone(),
                problem: self.links.problem(node),
            }),
        }
    }

    async fn change(&self, change: ChangeMembers<u64, Member>) -> Result<(), ChangeError> {
        // Whoever loses its vote is removed, not kept as a learner.
        let change = self.raft.change_membership(change, false);
        match timeout(CHANGE_DEADLINE, change).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(why)) => Err(self.refused(why)),
            Err(_) => Err(ChangeError::TimedOut),
        }
    }

    fn refused(&self, why: RaftError<Types, ClientWriteError<Types>>) -> ChangeError {
        match why {
            RaftError::Fatal(why) => ChangeError::Fatal(self.ended(&why)),
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                ChangeError::NotLeader { leader: self.other(&forward) }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ChangeError::TimedOut,
            RaftError::APIError(
                why @ (ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_)),
            ) => ChangeError::Refused(why.to_string()),
        }
    }
}

/// Why leadership is not where it was wanted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransferError {
    /// Only the leader can give leadership away.
    #[error("this coordinator does not lead{}; ask the leader", led_by(leader.as_ref()))]
    NotLeader {
        /// Who leads, as far as is known here.
        leader: Option<Member>,
    },
    /// Not somebody who can lead.
    #[error("{0}")]
    Refused(String),
    /// The other's log is not the leader's yet, or it does not answer.
    #[error("{member} is not up to date or does not answer, so leadership stays where it is")]
    Behind {
        /// The one who should have led.
        member: Member,
    },
    /// It was asked to lead and did not in time; an election will settle who does.
    #[error("{member} did not take over within {TRANSFER_DEADLINE:?}; an election settles it")]
    NotTaken {
        /// The one who should have led.
        member: Member,
    },
    /// Consensus has ended in this process.
    #[error("the consensus has ended in this process")]
    Fatal(#[source] Arc<FatalError>),
}

impl Node {
    /// Hands leadership to a voter that is up to date.
    pub(super) async fn transfer_leadership(&self, to: u64) -> Result<(), TransferError> {
        let now = self.metrics();
        if !now.state.is_leader() {
            return Err(TransferError::NotLeader { leader: self.leader() });
        }
        if to == self.id {
            return Ok(());
        }
        let Some(member) = now.membership_config.get_node(&to).cloned() else {
            return Err(TransferError::Refused(format!("there is no member with number {to}")));
        };
        if member.witness || !now.membership_config.voter_ids().any(|voter| voter == to) {
            return Err(TransferError::Refused(format!("{member} may not lead")));
        }
        // The library stops leading once it is told; so only for one who can take it.
        let late = self.settings.election_max;
        let able = |now: &super::types::Metrics| up_to_date(now, to, late).is_some();
        if !self.until(TRANSFER_DEADLINE, able).await {
            return Err(TransferError::Behind { member });
        }
        self.hand_to(to).await.map_err(TransferError::Fatal)?;
        if self.until(TRANSFER_DEADLINE, |now| now.current_leader == Some(to)).await {
            return Ok(());
        }
        Err(TransferError::NotTaken { member })
    }

    /// Tells the library to hand over; from here on this node is not ready.
    pub(super) async fn hand_to(&self, to: u64) -> Result<(), Arc<FatalError>> {
        let told = self.raft.trigger().transfer_leader(to).await;
        self.doubt.notify_one();
        told.map_err(|why| self.ended(&why))
    }
}

/// The last index that a member shares with this leader, if that is all but
/// the last few entries and the member answered lately.
pub(super) fn up_to_date(now: &super::types::Metrics, node: u64, late: Duration) -> Option<u64> {
    // What a running system appends while the transfer begins; the library waits for these.
    const FEW: u64 = 16;
    let matched = now.replication.as_ref()?.get(&node)?.as_ref()?.index;
    let heard = (*now.heartbeat.as_ref()?.get(&node)?)?;
    let near = matched.saturating_add(FEW) >= now.last_log_index?;
    (near && heard.elapsed() < late).then_some(matched)
}
