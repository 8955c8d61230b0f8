//! Fence hooks: executables of the operator's that switch a host off or shut it
//! out at the venue, for proof levels 4 and 5.
//!
//! Only a `confirmed` for the very host and epoch that were asked about counts;
//! everything else, silence and two answers included, is unknown, and unknown
//! is not false. Calling twice must change nothing more: a new leader calls again.

use crate::fence::ProofLevel;
use alloc::string::String;
use core::fmt;
use model::{AttemptId, Epoch, GroupId, HostId, IncidentId, PlanId, SiteId, StepId};
use serde::{Deserialize, Serialize};

/// A fence hook that a group may use: its name, and the proof that its word is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceHook {
    /// Its name in coordinator.toml.
    pub name: String,
    /// The level of its `confirmed`.
    pub level: ProofLevel,
}

/// What a fence hook is to do. Repeating it changes nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceOrder {
    /// The plan.
    pub plan: PlanId,
    /// The step.
    pub step: StepId,
    /// The try.
    pub attempt: AttemptId,
    /// The hook's name in coordinator.toml.
    pub hook: String,
    /// The level that its word is worth.
    pub level: ProofLevel,
    /// The group that is being fenced.
    pub group: GroupId,
    /// The site that is being fenced.
    pub site: SiteId,
    /// The host that must become harmless.
    pub host: HostId,
    /// The epoch that is being ended.
    pub epoch: Epoch,
    /// The incident.
    pub incident: IncidentId,
}

/// A fence hook's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookVerdict {
    /// The host can do no harm any more.
    Confirmed,
    /// It could not be made certain.
    Failed,
    /// Nobody can tell: late, crashed, or not understood.
    Unknown,
}

impl HookVerdict {
    /// The word used everywhere for this verdict.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for HookVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
