//! What passes between nodes.

use crate::{raft::Talk, stage::Node};
use model::{
    Command, GroupAssignment, Heartbeat, LeaseReply, LeaseRequest, Observation, PromiseReply,
    PromiseRequest, StepReport, Term,
};
use std::rc::Rc;

/// One message.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// Between voters.
    Raft(Talk),
    /// An agent opens a session of this number.
    Hello(u64),
    /// A coordinator takes it.
    Welcome(u64),
    /// An agent speaks.
    Heartbeat(Rc<Heartbeat>),
    /// An agent tells what came of a command.
    Report(Rc<StepReport>),
    /// An agent asks for its lease.
    Ask(LeaseRequest),
    /// The answer, and whether another voter than the one that gave it hands it over.
    Answer(LeaseReply, bool),
    /// Where the host's groups stand: the session, a number in it, the term.
    Assign(u64, u64, Term, Rc<Vec<GroupAssignment>>),
    /// Something to do.
    Command(Rc<Command>),
    /// A coordinator knows no such session (any more).
    Bye,
    /// A voter wants to relay to the leader, by a stream of this number (C6).
    Link(u64),
    /// The leader takes it.
    Linked(u64),
    /// The leader knows no such stream (any more).
    Unlinked(u64),
    /// Up a stream.
    Up(u64, Up),
    /// Down a stream.
    Down(u64, Down),
    /// An agent asks another for a promise (A6).
    Promise(PromiseRequest),
    /// The answer.
    Promised(PromiseReply),
}

/// What a voter relays to the leader, and what it sees itself (C5).
#[derive(Debug, Clone)]
pub(crate) enum Up {
    /// This host has a session there.
    Session(Node),
    /// What the voter sees.
    Observation(Rc<Observation>),
    /// A host asks for its lease.
    Renewal(Node, LeaseRequest),
    /// A host's report.
    Report(Rc<StepReport>),
    /// A host speaks.
    Heartbeat(Rc<Heartbeat>),
}

/// What the leader has relayed to a host.
#[derive(Debug, Clone)]
pub(crate) enum Down {
    /// The answer to its renewal.
    Lease(Node, LeaseReply),
    /// Something to do.
    Command(Node, Rc<Command>),
    /// Where its groups stand: a number in the leader's order, the term.
    Assign(Node, u64, Term, Rc<Vec<GroupAssignment>>),
}

impl Message {
    /// Whether its connection sends it again when it is lost: all but what is
    /// worthless a moment later.
    #[must_use]
    pub(crate) const fn insists(&self) -> bool {
        match self {
            Self::Report(_)
            | Self::Assign(..)
            | Self::Command(_)
            | Self::Up(_, Up::Session(_) | Up::Report(_))
            | Self::Down(_, Down::Command(..) | Down::Assign(..)) => true,
            Self::Raft(_)
            | Self::Hello(_)
            | Self::Welcome(_)
            | Self::Heartbeat(_)
            | Self::Ask(_)
            | Self::Answer(..)
            | Self::Bye
            | Self::Link(_)
            | Self::Linked(_)
            | Self::Unlinked(_)
            | Self::Up(_, Up::Observation(_) | Up::Renewal(..) | Up::Heartbeat(_))
            | Self::Down(_, Down::Lease(..))
            | Self::Promise(_)
            | Self::Promised(_) => false,
        }
    }
}
