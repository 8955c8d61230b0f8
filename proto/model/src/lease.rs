//! A lease's request and its answer (A2).

use crate::{Derived, Epoch, GroupId, HostId, Millis, Term};
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A random number that ties an answer to its request.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Nonce(pub u64);

/// "May I go on?" The agent notes the time before it sends this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// The group.
    pub group: GroupId,
    /// The host that asks; the certificate must say the same.
    pub host: HostId,
    /// The epoch under which it is or wants to be active.
    pub epoch: Epoch,
    /// Ties the answer to this request.
    pub nonce: Nonce,
    /// What the lease's length leads to on this host; `None` while it has been
    /// told no length.
    pub derived: Option<Derived>,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseReply {
    /// Go on.
    Granted(LeaseGrant),
    /// Do not.
    Refused {
        /// The group asked for.
        group: GroupId,
        /// The request's nonce.
        nonce: Nonce,
        /// The answering coordinator's term.
        term: Term,
        /// Why not.
        reason: LeaseRefusal,
    },
}

/// A renewal: counted from the agent's own `t_send`, so no clocks are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// The group.
    pub group: GroupId,
    /// The epoch it is good for.
    pub epoch: Epoch,
    /// The request's nonce.
    pub nonce: Nonce,
    /// The leader's term.
    pub term: Term,
    /// The lease's length T.
    pub lease: Millis,
    /// Taken off the end, so that stopping happens inside the lease (`d_stop`).
    pub gate_margin: Millis,
}

/// Why a renewal was not granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseRefusal {
    /// This coordinator does not lead; ask the others.
    NotLeader,
    /// No quorum answered; the lease runs out by itself.
    NoQuorum,
    /// Another epoch is committed.
    Superseded {
        /// The committed epoch, to be remembered by the agent (A1).
        epoch: Epoch,
    },
    /// This host's site is being fenced, or is not the active one.
    NotActive,
    /// The host derives other bounds from the lease than the leader does.
    TimingDiffers {
        /// The leader's.
        leader: Derived,
        /// The host's.
        host: Derived,
    },
    /// Operators stopped the group on this host in an emergency.
    Stopped {
        /// By whom and why.
        why: String,
    },
    /// No such group, or the host is in none of its sites.
    Unknown {
        /// In words.
        detail: String,
    },
}

impl fmt::Display for LeaseRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader => f.write_str("this coordinator does not lead"),
            Self::NoQuorum => f.write_str("no quorum of coordinators answered"),
            Self::Superseded { epoch } => write!(f, "epoch {epoch} is committed"),
            Self::NotActive => f.write_str("this host's site is not the active one"),
            Self::TimingDiffers { leader, host } => write!(
                f,
                "this host derives other bounds than the leader; the leader: {leader}; \
                 this host: {host}; install the same version on both"
            ),
            Self::Stopped { why } => f.write_str(why),
            Self::Unknown { detail } => f.write_str(detail),
        }
    }
}
