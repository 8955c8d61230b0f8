//! What the journal holds: facts, each with the leader's wall clock for people.
//!
//! Numbers (incidents, plans, notifications) are given when a record is
//! applied, so that two proposals can never claim the same one.

use crate::{
    decision::Decision, fence::FenceProof, incident::Cause, plan::PlanDraft, policy::GroupSpec,
    request::PlanRequest, sight::Sight,
};
use alloc::{
    boxed::Box,
    string::{String, ToString},
};
use model::{
    AttemptId, Epoch, GroupId, HostDeed, HostId, Millis, NotificationId, PlanId, SiteId,
    SourceName, StepId, StopDeed, Term, Wall,
};
use serde::{Deserialize, Serialize};

/// A record's place in the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Index in the log, from 1.
    pub index: u64,
    /// The term of the leader that wrote it.
    pub term: Term,
}

/// What came of one try of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepResult {
    /// Done.
    Done {
        /// In words.
        detail: String,
    },
    /// It did not work; the step may be tried again.
    Failed {
        /// In words, with the host's own.
        detail: String,
    },
}

/// One committed fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub enum Record {
    /// A group's policy was accepted.
    GroupApplied {
        /// The whole policy.
        spec: Box<GroupSpec>,
        /// Who applied it.
        by: String,
        /// When.
        at: Wall,
    },
    /// Automation was stopped for one group, or for all.
    AutomationHeld {
        /// `None` for every group.
        group: Option<GroupId>,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// When.
        at: Wall,
    },
    /// Automation was allowed again.
    AutomationResumed {
        /// `None` for every group.
        group: Option<GroupId>,
        /// Who.
        by: String,
        /// When.
        at: Wall,
    },
    /// A move was decided, with the evidence for it.
    PlanOpened {
        /// The plan.
        draft: Box<PlanDraft>,
        /// Why.
        cause: Cause,
        /// What the decision saw.
        evidence: Box<Sight>,
        /// When.
        at: Wall,
    },
    /// A try of a step begins: committed before its effect (C7).
    StepStarted {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepId,
        /// The try.
        attempt: AttemptId,
        /// When.
        at: Wall,
    },
    /// A try of a step has ended: committed after its effect (C7).
    StepFinished {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepId,
        /// The try.
        attempt: AttemptId,
        /// What came of it.
        result: StepResult,
        /// When.
        at: Wall,
    },
    /// The old site is proven harmless.
    Fenced {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepId,
        /// The proof.
        proof: FenceProof,
        /// When.
        at: Wall,
    },
    /// A site is active under a new epoch (C3).
    Activated {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepId,
        /// The group.
        group: GroupId,
        /// The site.
        site: SiteId,
        /// The new epoch, one above the last.
        epoch: Epoch,
        /// Why the old site is harmless.
        proof: FenceProof,
        /// When.
        at: Wall,
    },
    /// A plan has ended.
    PlanClosed {
        /// The plan.
        plan: PlanId,
        /// `None` when every step is done; else why a person must look.
        held: Option<String>,
        /// When.
        at: Wall,
    },
    /// A notification is about to be sent.
    DeliveryStarted {
        /// The notification.
        notification: NotificationId,
        /// The channel.
        channel: String,
        /// The try.
        attempt: AttemptId,
        /// When.
        at: Wall,
    },
    /// A try to send a notification has ended.
    DeliveryFinished {
        /// The notification.
        notification: NotificationId,
        /// The channel.
        channel: String,
        /// The try.
        attempt: AttemptId,
        /// `None` when the channel accepted it.
        failure: Option<String>,
        /// How long to wait at least before another try; `None` when none may help.
        retry_after: Option<Millis>,
        /// When.
        at: Wall,
    },
    /// A join token was made.
    TokenCreated {
        /// Its id.
        token: String,
        /// SHA-256 of its secret, hex: the secret itself is nowhere in the journal.
        secret_sha256: String,
        /// The host it is for.
        host: String,
        /// "agent", "coordinator" or "witness".
        role: String,
        /// When it ends.
        expires: Wall,
        /// Who made it.
        by: String,
        /// When.
        at: Wall,
    },
    /// A certificate was issued for a token: the first redemption binds the key.
    TokenRedeemed {
        /// The token's id.
        token: String,
        /// SHA-256 of the joining host's public key, hex.
        key_sha256: String,
        /// The certificate's serial, lower-case hex.
        serial: String,
        /// The certificate's identity, a SAN URI.
        identity: String,
        /// When the certificate ends.
        not_after: Wall,
        /// When.
        at: Wall,
    },
    /// A certificate was issued before there was a journal: the founding
    /// coordinator's and the first operator's.
    CertificateNoted {
        /// Its serial, lower-case hex.
        serial: String,
        /// Its identity, a SAN URI.
        identity: String,
        /// When it was issued.
        issued: Wall,
        /// When it ends.
        not_after: Wall,
        /// When.
        at: Wall,
    },
    /// A certificate must no longer be trusted.
    CertificateRevoked {
        /// Its serial, lower-case hex.
        serial: String,
        /// Why.
        reason: String,
        /// When.
        at: Wall,
    },
    /// There was trouble and nothing was opened: what was seen, and why not.
    Considered {
        /// The group.
        group: GroupId,
        /// What the decision saw.
        evidence: Box<Sight>,
        /// What it was.
        decision: Decision,
        /// When.
        at: Wall,
    },
    /// An operator ordered something for one host, beside any plan.
    HostOrdered {
        /// The host.
        host: HostId,
        /// What.
        deed: HostDeed,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// When.
        at: Wall,
    },
    /// Whether a group could fail over has changed for longer than a moment.
    ReadinessChanged {
        /// The group.
        group: GroupId,
        /// Why it could not; `None` when it could again.
        why: Option<String>,
        /// When.
        at: Wall,
    },
    /// An operator stopped groups in an emergency, or let them run again.
    StopOrdered {
        /// The group; `None` for every one.
        group: Option<GroupId>,
        /// Only the hosts of this site.
        site: Option<SiteId>,
        /// Only this host.
        host: Option<HostId>,
        /// What.
        deed: StopDeed,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// When.
        at: Wall,
    },
    /// An operator ordered a task for one host: before the host hears of it (C1).
    TaskOrdered {
        /// The operator's request: the same one is done once.
        request: String,
        /// The host.
        host: HostId,
        /// What, as a person would type it.
        task: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// When.
        at: Wall,
    },
    /// A task has ended.
    TaskEnded {
        /// The operator's request.
        request: String,
        /// Its exit code.
        exit: u8,
        /// Empty, or why it ended so.
        detail: String,
        /// What it wrote.
        bytes: u64,
        /// When.
        at: Wall,
    },
    /// An operator asked for a move that a second one must approve.
    ApprovalAsked {
        /// What was asked for, with who asked.
        asked: Box<PlanRequest>,
        /// When.
        at: Wall,
    },
    /// The newest proven copy of a source that survives its host is older than is
    /// acceptable.
    RpoExceeded {
        /// The group that it belongs to.
        group: GroupId,
        /// The host.
        host: HostId,
        /// The source.
        source: SourceName,
        /// That copy's age; `None` where there is no such copy.
        age: Option<Millis>,
        /// What is acceptable.
        max: Millis,
        /// When.
        at: Wall,
    },
}

impl Record {
    /// When the leader made it.
    #[must_use]
    pub const fn at(&self) -> Wall {
        match self {
            Self::GroupApplied { at, .. }
            | Self::AutomationHeld { at, .. }
            | Self::AutomationResumed { at, .. }
            | Self::PlanOpened { at, .. }
            | Self::StepStarted { at, .. }
            | Self::StepFinished { at, .. }
            | Self::Fenced { at, .. }
            | Self::Activated { at, .. }
            | Self::PlanClosed { at, .. }
            | Self::DeliveryStarted { at, .. }
            | Self::DeliveryFinished { at, .. }
            | Self::TokenCreated { at, .. }
            | Self::TokenRedeemed { at, .. }
            | Self::CertificateNoted { at, .. }
            | Self::CertificateRevoked { at, .. }
            | Self::Considered { at, .. }
            | Self::HostOrdered { at, .. }
            | Self::TaskOrdered { at, .. }
            | Self::TaskEnded { at, .. }
            | Self::StopOrdered { at, .. }
            | Self::ApprovalAsked { at, .. }
            | Self::ReadinessChanged { at, .. }
            | Self::RpoExceeded { at, .. } => *at,
        }
    }

    /// Who is meant by `by` when nobody is.
    pub(crate) fn actor(by: Option<&str>) -> String {
        by.unwrap_or("automatic").to_string()
    }
}
