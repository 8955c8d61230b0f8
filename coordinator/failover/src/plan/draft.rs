//! A plan before it has its numbers: what a leader proposes.

use super::{PlanKind, Step};
use crate::{approval::ApprovalId, fence::ProofLevel};
use alloc::{string::String, vec::Vec};
use model::{Epoch, GroupId, SiteId, Wall};
use serde::{Deserialize, Serialize};

/// A plan before it has its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanDraft {
    /// The group that moves.
    pub group: GroupId,
    /// The recipe.
    pub kind: PlanKind,
    /// The site that is active.
    pub from: Option<SiteId>,
    /// The site that shall be.
    pub to: SiteId,
    /// The operator, or `None` for an automatic decision.
    pub by: Option<String>,
    /// The operator's request, so that a repeated one finds its plan; empty otherwise.
    pub request: String,
    /// The operator's reason for accepting a weaker proof.
    pub reason: String,
    /// The proof that its fencing must reach.
    pub proof_needed: ProofLevel,
    /// The epoch that is being ended: the record is void when another has come.
    pub epoch_before: Epoch,
    /// The steps.
    pub steps: Vec<Step>,
    /// When the old site was last known to be good.
    pub last_good: Wall,
    /// When it became suspect.
    pub suspected_at: Wall,
    /// The second operator, where the policy wants two.
    #[serde(default)]
    pub approved_by: Option<String>,
    /// The request for approval that this plan uses up.
    #[serde(default)]
    pub approval: Option<ApprovalId>,
}
