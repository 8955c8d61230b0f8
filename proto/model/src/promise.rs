//! Failsafe promises between agents (A6): how an active site may go on while
//! no quorum of coordinators is reachable.

use crate::{Epoch, GroupId, HostId, Millis, Nonce};
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// "Promise not to become active for a while." The asker notes the time before
/// it sends this, as for a lease (A2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseRequest {
    /// The group.
    pub group: GroupId,
    /// The active host that asks; the certificate must say the same.
    pub host: HostId,
    /// The epoch under which it is active.
    pub epoch: Epoch,
    /// Ties the answer to this request.
    pub nonce: Nonce,
    /// T: the promise binds for `T(1+rho)+m` from its receipt.
    pub lease: Millis,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromiseReply {
    /// This host will neither activate nor open its gate until the promise is over.
    Promised {
        /// The group.
        group: GroupId,
        /// Who promises.
        host: HostId,
        /// The request's nonce.
        nonce: Nonce,
    },
    /// It will not promise.
    Refused {
        /// The group.
        group: GroupId,
        /// Who refuses.
        host: HostId,
        /// The request's nonce.
        nonce: Nonce,
        /// Why not.
        reason: PromiseRefusal,
    },
}

/// Why a promise was not given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromiseRefusal {
    /// A higher epoch than the asker's is known here: the asker's is over.
    HigherEpoch {
        /// The highest seen.
        epoch: Epoch,
    },
    /// Coordinators with a quorum are fencing the asker's epoch.
    Fencing,
    /// This host is promoted or holds a lease itself.
    Active,
    /// Anything else: no such group here, or the asker is of this host's own site.
    Unknown {
        /// In words.
        detail: String,
    },
}

impl fmt::Display for PromiseRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HigherEpoch { epoch } => write!(f, "epoch {epoch} is known"),
            Self::Fencing => f.write_str("the coordinators are fencing that epoch"),
            Self::Active => f.write_str("this host is active itself"),
            Self::Unknown { detail } => f.write_str(detail),
        }
    }
}
