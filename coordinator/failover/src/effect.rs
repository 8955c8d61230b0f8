//! What the core asks of the world. A closed set, carried out by the driver.
//!
//! Every effect carries its term: the driver drops the stale ones, and agents refuse them.

use crate::{
    alarm::Alarm,
    event::{Asker, RequestId},
    hook::FenceOrder,
    record::Record,
    request::Refused,
    state::Applied,
};
use alloc::{boxed::Box, string::String, vec::Vec};
use model::{
    AttemptId, Command, Epoch, GroupAssignment, GroupId, HostId, HostOrder, IncidentId, LeaseReply,
    NotificationId, PlanId, Severity, SiteId, StepId, StopOrder, Term, Wall,
};

/// Numbers an append.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Numbers a quorum round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round(pub u64);

/// What the DNS hook is to do. Repeating it changes nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsOrder {
    /// The plan.
    pub plan: PlanId,
    /// The step.
    pub step: StepId,
    /// The try.
    pub attempt: AttemptId,
    /// The group that moved.
    pub group: GroupId,
    /// The site that was active.
    pub from: Option<SiteId>,
    /// The site that is.
    pub to: SiteId,
    /// The new site's addresses.
    pub addresses: Vec<String>,
    /// The old site's.
    pub from_addresses: Vec<String>,
    /// The new epoch.
    pub epoch: Epoch,
    /// The incident.
    pub incident: IncidentId,
}

/// One try to send one notification to one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The notification: the same number at every repetition.
    pub notification: NotificationId,
    /// The channel.
    pub channel: String,
    /// The try.
    pub attempt: AttemptId,
    /// How much it matters.
    pub severity: Severity,
    /// The group.
    pub group: GroupId,
    /// The incident.
    pub incident: IncidentId,
    /// One line.
    pub title: String,
    /// What happened, and what to do.
    pub body: String,
    /// When it was asked for.
    pub at: Wall,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write a record; one of the two things that may leave before a commit (C1).
    Append {
        /// Comes back with the answer.
        ticket: Ticket,
        /// The leader's term.
        term: Term,
        /// What to write.
        record: Box<Record>,
    },
    /// Ask a quorum whether this coordinator leads (C2).
    ConfirmQuorum {
        /// Comes back with the answer.
        round: Round,
        /// The leader's term.
        term: Term,
    },
    /// Answer a renewal; the other thing that may leave before a commit (C1).
    Lease {
        /// Where to.
        asker: Asker,
        /// The answer.
        reply: LeaseReply,
    },
    /// Tell an agent where its groups stand.
    Assign {
        /// Which agent.
        host: HostId,
        /// The leader's term.
        term: Term,
        /// Its groups.
        groups: Vec<GroupAssignment>,
        /// The newest order for it.
        order: Option<HostOrder>,
        /// The newest emergency stop, or release, of each group on it.
        stops: Vec<StopOrder>,
    },
    /// Ask an agent to do something.
    Dispatch(Command),
    /// Call the DNS hook.
    SwitchDns {
        /// The leader's term.
        term: Term,
        /// What it is to do.
        order: DnsOrder,
    },
    /// Send a notification.
    Deliver {
        /// The leader's term.
        term: Term,
        /// What, and where.
        delivery: Box<Delivery>,
    },
    /// Answer a request.
    Reply {
        /// Where to.
        id: RequestId,
        /// The answer.
        result: Result<Applied, Refused>,
    },
    /// Revoked certificates changed: tell the TLS side and every agent.
    TrustChanged,
    /// Something that should be impossible was seen.
    Raise(Alarm),
    /// Call a fence hook.
    CallFence {
        /// The leader's term.
        term: Term,
        /// What it is to do.
        order: FenceOrder,
    },
}
