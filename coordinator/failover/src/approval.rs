//! The second operator's consent: where the policy says `two_operators`, a
//! weaker proof than the policy's is accepted by two different people or not at all.

use crate::request::PlanRequest;
use alloc::{format, string::String};
use core::fmt;
use model::{Millis, PlanId, Wall};
use serde::{Deserialize, Serialize};

/// How long a request waits for its second operator: what was true of the sites
/// ten minutes ago is no ground for a consent now.
pub(crate) const APPROVAL_EXPIRY: Millis = Millis::from_secs(600);

/// Numbers a request for approval.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ApprovalId(pub u64);

impl ApprovalId {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A move that one operator asked for and a second one must approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its number.
    pub id: ApprovalId,
    /// What the first operator asked for.
    pub asked: PlanRequest,
    /// When.
    pub at: Wall,
    /// The second operator, once there is one.
    pub approved_by: Option<String>,
    /// The plan that was opened with it.
    pub plan: Option<PlanId>,
}

impl Approval {
    /// When it can no longer be approved.
    #[must_use]
    pub fn expires(&self) -> Wall {
        self.at + APPROVAL_EXPIRY
    }

    /// Whether `by` may approve it at `now`.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn consent(&self, by: &str, now: Wall) -> Result<(), String> {
        let (id, asker) = (self.id, &self.asked.by);
        if let Some(first) = &self.approved_by {
            return Err(format!("request {id} was approved by {first} already"));
        }
        if now >= self.expires() {
            return Err(format!(
                "request {id} of {asker} expired after {APPROVAL_EXPIRY}; it has to be made again"
            ));
        }
        if *asker == by {
            return Err(format!(
                "{asker} made request {id}; it takes another operator to approve it"
            ));
        }
        Ok(())
    }

    /// "waiting", "approved" or "expired".
    #[must_use]
    pub fn word(&self, now: Wall) -> &'static str {
        if self.approved_by.is_some() {
            "approved"
        } else if now >= self.expires() {
            "expired"
        } else {
            "waiting"
        }
    }
}
