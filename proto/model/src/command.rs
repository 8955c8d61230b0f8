//! What a coordinator asks of an agent, and the agent's answer (A7).

use crate::{
    AttemptId, Epoch, GroupId, HostId, Millis, PlanId, ProbeName, ServiceName, SiteId, StepId, Term,
};
use alloc::{string::String, vec::Vec};
use core::fmt;
use serde::{Deserialize, Serialize};

/// What makes a command the same command. The agent's ledger is keyed by it:
/// a repeated one gets the recorded outcome.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId {
    /// The plan in the journal.
    pub plan: PlanId,
    /// The step within it.
    pub step: StepId,
    /// The try of that step.
    pub attempt: AttemptId,
    /// A step may concern several hosts and services; this tells them apart.
    pub part: u32,
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}/{}", self.plan, self.step, self.part, self.attempt)
    }
}

/// One thing to do, by name: never a shell string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Which command this is.
    pub id: CommandId,
    /// The leader's term; an agent that has seen a higher one refuses.
    pub term: Term,
    /// Who is to do it.
    pub host: HostId,
    /// The group it is done for.
    pub group: GroupId,
    /// The epoch it is done under; an agent that has seen a higher one refuses.
    pub epoch: Epoch,
    /// How long it may take, counted from its receipt.
    pub deadline: Millis,
    /// What to do.
    pub action: Action,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Close the gate, stop every exclusive service of the group, give up the
    /// lease, remember the epoch, report (A3).
    Fence,
    /// Take the epoch as one's own and hold a live lease for it.
    Promote {
        /// The site that becomes active.
        site: SiteId,
    },
    /// Start one service and wait until it is healthy. An exclusive one needs a live lease.
    StartService {
        /// Its name in agent.toml.
        service: ServiceName,
    },
    /// Wait until every started service is healthy and every feed of the group
    /// has brought a fresh message since the promotion.
    Verify {
        /// Probes that agent.toml must have and that must have heard something.
        feeds: Vec<ProbeName>,
    },
}

impl Action {
    /// The word used everywhere for this action.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Promote { .. } => "promote",
            Self::StartService { .. } => "start-service",
            Self::Verify { .. } => "verify",
        }
    }
}

/// The agent's answer to one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// Who answers; the certificate must say the same.
    pub host: HostId,
    /// Which command.
    pub id: CommandId,
    /// The group.
    pub group: GroupId,
    /// The epoch it was done under.
    pub epoch: Epoch,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is done.
    Done {
        /// One line for a person.
        detail: String,
    },
    /// The site is fenced: these services are confirmed stopped.
    Fenced {
        /// The exclusive services that their drivers saw stopped.
        stopped: Vec<ServiceName>,
        /// Whether a kernel gate is armed and closed.
        gate_closed: bool,
    },
    /// The site serves.
    Verified(VerifyEvidence),
    /// It was tried and did not work.
    Failed {
        /// One line for a person, with the driver's own words.
        detail: String,
    },
    /// The agent would not do it.
    Refused(Refusal),
}

/// What `Verify` saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyEvidence {
    /// Feeds that brought a fresh message since the promotion.
    pub fresh_feeds: u32,
    /// Messages that those feeds brought since the promotion.
    pub messages: u64,
    /// From the promotion to the first fresh message, where there is a feed.
    pub first_message_after: Option<Millis>,
}

/// Why an agent would not do a command. Shown to the operator word for word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// A newer leader has spoken.
    #[error("the command is of term {given}, this agent has seen term {seen}")]
    StaleTerm {
        /// The command's.
        given: Term,
        /// The highest seen.
        seen: Term,
    },
    /// A newer activation is known.
    #[error("the command is of epoch {given}, this agent has seen epoch {seen}")]
    StaleEpoch {
        /// The command's.
        given: Epoch,
        /// The highest seen.
        seen: Epoch,
    },
    /// It came for another host.
    #[error("the command is for host `{given}`, this is `{own}`")]
    WrongHost {
        /// The command's.
        given: HostId,
        /// This one.
        own: HostId,
    },
    /// agent.toml does not name it.
    #[error("agent.toml on this host does not allow {what}")]
    NotAllowed {
        /// What was asked for.
        what: String,
    },
    /// No live lease for the command's epoch.
    #[error("this host holds no live lease for epoch {epoch}")]
    NoLease {
        /// The command's epoch.
        epoch: Epoch,
    },
    /// A promise not to become active binds this host, or may have been
    /// forgotten at its restart (A6).
    #[error("this host may not become active for another {left}: it promised, or may have, not to")]
    Promised {
        /// What is left.
        left: Millis,
    },
    /// Somebody on the host decided that it must not be active.
    #[error("this host may not become active: {why}")]
    Barred {
        /// Why, in words.
        why: String,
    },
    /// Its deadline had passed.
    #[error("the deadline passed before the command could begin")]
    TooLate,
    /// The agent knows no such action: the coordinator is newer.
    #[error("this agent does not know the action asked for; upgrade it")]
    UnknownAction,
}

/// What a coordinator tells an agent about one of its groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAssignment {
    /// The group.
    pub group: GroupId,
    /// The site this host belongs to.
    pub site: SiteId,
    /// The site that is active, once one is.
    pub active: Option<SiteId>,
    /// The committed epoch.
    pub epoch: Epoch,
    /// The lease's length T: heartbeat and renewal intervals derive from it.
    pub lease: Millis,
    /// Whether coordinators are fencing this epoch: no promises for it (A6).
    pub fencing: bool,
    /// Every host of every other site as of this epoch's activation, where the
    /// group allows failsafe under it; `None` where it does not (A6).
    pub failsafe: Option<Vec<PeerAddress>>,
}

impl GroupAssignment {
    /// This one, with the addresses that it lacks as `before` had them for the same
    /// epoch: a leader that was elected a moment ago may not have heard the other
    /// hosts yet. Who answers there must still show who it is.
    #[must_use]
    pub fn with_addresses_of(mut self, before: Option<&Self>) -> Self {
        let known = before.filter(|before| before.epoch == self.epoch);
        let known = known.and_then(|before| before.failsafe.as_deref()).unwrap_or_default();
        for peer in self.failsafe.iter_mut().flatten().filter(|peer| peer.address.is_empty()) {
            if let Some(same) = known.iter().find(|same| same.host == peer.host) {
                peer.address.clone_from(&same.address);
            }
        }
        self
    }
}

/// Where another agent is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    /// The host; its certificate must say the same.
    pub host: HostId,
    /// "host:port"; empty when it is not known, and then it cannot promise.
    pub address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(epoch: u64, peers: &[(&str, &str)]) -> GroupAssignment {
        let peer = |(host, address): &(&str, &str)| PeerAddress {
            host: HostId::new(*host).unwrap(),
            address: (*address).into(),
        };
        GroupAssignment {
            group: GroupId::new("fx").unwrap(),
            site: SiteId::new("primary").unwrap(),
            active: None,
            epoch: Epoch(epoch),
            lease: Millis(2000),
            fencing: false,
            failsafe: Some(peers.iter().map(peer).collect()),
        }
    }

    #[test]
    fn a6_an_address_that_a_new_leader_does_not_know_yet_stays_within_its_epoch() {
        let before = assigned(3, &[("s1", "10.0.0.2:7444"), ("s2", "10.0.0.3:7444")]);
        let news = assigned(3, &[("s1", ""), ("s2", "10.0.0.9:7444"), ("s3", "")]);
        let whole = [("s1", "10.0.0.2:7444"), ("s2", "10.0.0.9:7444"), ("s3", "")];
        assert_eq!(news.clone().with_addresses_of(Some(&before)), assigned(3, &whole));
        let older = GroupAssignment { epoch: Epoch(2), ..before };
        assert_eq!(news.clone().with_addresses_of(Some(&older)), news);
        assert_eq!(news.clone().with_addresses_of(None), news);
    }
}
