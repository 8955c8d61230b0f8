//! A newcomer's side of joining: ask, and follow the answer to the leader.

use super::{fatal::in_full, members::MemberStatus, node::Node, service::LEADER_HEADER};
use proto::v1::{JoinRequest, peer_client::PeerClient};
use std::{collections::VecDeque, time::Duration};
use tonic::Request;

/// How long a leader may take to admit a newcomer: it waits for others' changes,
/// then sends the journal.
const JOIN_DEADLINE: Duration = Duration::from_secs(75);
/// How many addresses are asked in one go, the leaders that others named included.
const ASKED_MAX: usize = 16;

/// Nobody admitted this node. Asking again later does no harm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no coordinator admitted this one: {}; asking again does no harm",
    if answers.is_empty() { "none is known".to_owned() } else { answers.join("; ") }
)]
pub struct JoinError {
    /// What each said, or why it could not be asked.
    pub answers: Vec<String>,
}

impl Node {
    /// Whether this node votes under the name and address that it has now.
    pub(super) fn joined(&self) -> bool {
        let own = |status: &MemberStatus| status.node == self.id && status.voter;
        let known = self.members().into_iter().find(own);
        known.is_some_and(|status| status.member == self.settings.member)
    }

    /// Asks the coordinators at these addresses, and the leaders that they name,
    /// until one admits this node.
    pub(super) async fn ask_to_join(&self, addresses: &[String]) -> Result<(), JoinError> {
        let mut answers = Vec::new();
        if self.leadership.borrow().ready {
            // The leader itself, under a new address.
            let own = self.admit(self.id, self.settings.member.clone()).await;
            let Err(why) = own else { return Ok(()) };
            answers.push(format!("{}: {}", self.settings.member.name, in_full(&why)));
        }
        let mut queue: VecDeque<String> = addresses.iter().cloned().collect();
        let mut asked: Vec<String> = Vec::new();
        while let Some(address) = queue.pop_front() {
            if asked.contains(&address) || asked.len() >= ASKED_MAX {
                continue;
            }
            match self.ask(&address).await {
                Ok(None) => return Ok(()),
                Ok(Some((refusal, leader))) => {
                    answers.push(format!("{address}: {refusal}"));
                    // The leader can admit; so it is asked next.
                    leader.into_iter().for_each(|leader| queue.push_front(leader));
                }
                Err(status) => answers.push(format!("{address}: {}", status.message())),
            }
            asked.push(address);
        }
        Err(JoinError { answers })
    }

    /// Nothing when admitted; else the refusal, and the leader's address if it was named.
    async fn ask(&self, address: &str) -> Result<Option<(String, Option<String>)>, tonic::Status> {
        let own = &self.settings.member;
        let mut request = Request::new(JoinRequest {
            node: self.id,
            name: own.name.clone(),
            role: own.role().into(),
            address: own.address.clone(),
        });
        request.set_timeout(JOIN_DEADLINE);
        let response = PeerClient::new(self.links.dial(address)).join(request).await?;
        let leader = response.metadata().get(LEADER_HEADER).and_then(|at| at.to_str().ok());
        let leader = leader.map(str::to_owned);
        let answer = response.into_inner();
        Ok((!answer.accepted).then_some((answer.detail, leader)))
    }
}
