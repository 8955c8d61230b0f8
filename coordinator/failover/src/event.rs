//! What can happen to the core. A closed set: every input of the engine is here.

use crate::{
    hook::HookVerdict,
    record::{Position, Record},
    request::Request,
    state::State,
};
use alloc::{boxed::Box, string::String, vec::Vec};
use model::{
    AttemptId, Epoch, Heartbeat, HostId, LeaseRequest, Millis, Mono, NotificationId, Observation,
    PlanId, StepId, StepReport, Term, Wall,
};

use crate::effect::{Round, Ticket};

/// The time at which an event is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// This coordinator's monotonic clock: every bound is measured on it.
    pub mono: Mono,
    /// Its wall clock: for people only.
    pub wall: Wall,
}

/// Ties a lease's answer to the connection that asked. Given out by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker(pub u64);

/// Ties a reply to an operator's call. Given out by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Why an append brought no position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendFailure {
    /// This coordinator does not lead: the record was not written.
    NotLeader,
    /// No answer in time: it may yet be committed.
    Unknown(String),
}

/// What came of a call of the DNS hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookResult {
    /// Whether the addresses are switched.
    pub switched: bool,
    /// The hook's own words, and the resolvers'.
    pub detail: String,
}

/// What came of one try to send a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryResult {
    /// The channel took it.
    Accepted,
    /// It did not.
    Failed {
        /// In words.
        detail: String,
        /// How long to wait at least before another try; `None` when none may help.
        retry_after: Option<Millis>,
    },
}

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// Time passed.
    Tick,
    /// This coordinator leads in `term`, and everything committed before is applied.
    Elected {
        /// The term.
        term: Term,
    },
    /// It does not lead (any more).
    Deposed {
        /// The highest term known.
        term: Term,
    },
    /// A record was committed.
    Committed {
        /// Where.
        position: Position,
        /// What.
        record: Box<Record>,
    },
    /// The state as of a snapshot: at a start, or sent by the leader.
    Restored {
        /// The whole state.
        state: Box<State>,
    },
    /// An append has ended.
    Appended {
        /// Which.
        ticket: Ticket,
        /// Where it was committed, or why not.
        result: Result<Position, AppendFailure>,
    },
    /// A quorum round has ended.
    RoundEnded {
        /// Which.
        round: Round,
        /// Whether a quorum confirmed that this coordinator leads.
        confirmed: bool,
    },
    /// An agent spoke.
    Heartbeat(Box<Heartbeat>),
    /// An agent opened a session.
    SessionOpened {
        /// Whose.
        host: HostId,
    },
    /// An agent asks for its lease.
    Renewal {
        /// Where the answer goes.
        asker: Asker,
        /// What it asks.
        request: LeaseRequest,
    },
    /// An agent reports on a command.
    Report(Box<StepReport>),
    /// The DNS hook has ended.
    HookEnded {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepId,
        /// The try.
        attempt: AttemptId,
        /// What came of it.
        result: HookResult,
    },
    /// A try to send a notification has ended.
    DeliveryEnded {
        /// Which.
        notification: NotificationId,
        /// Where.
        channel: String,
        /// The try.
        attempt: AttemptId,
        /// What came of it.
        result: DeliveryResult,
    },
    /// An operator, or the enrolment service, asks for a change.
    Request {
        /// Where the reply goes.
        id: RequestId,
        /// What.
        request: Box<Request>,
    },
    /// Another voter says what it sees (C5).
    Observed(Observation),
    /// Who votes, as far as this node knows; at the start and at every change.
    Voters {
        /// This node's own name.
        own: String,
        /// The name of every voter, this node's among them when it is one.
        voters: Vec<String>,
    },
    /// A fence hook has ended, or could not be understood.
    FenceEnded {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepId,
        /// The try.
        attempt: AttemptId,
        /// The hook's name.
        hook: String,
        /// The host that it speaks of; where it names none, the one it was asked about.
        host: HostId,
        /// The epoch that it speaks of; likewise.
        epoch: Epoch,
        /// Its word.
        verdict: HookVerdict,
        /// In its own words.
        detail: String,
    },
}
