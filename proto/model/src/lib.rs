//! The words that every part of Understudy shares: names, numbers that only
//! grow, time, health, heartbeats, leases and commands.
//!
//! Plain data with its own validation and no behaviour beyond it; `no_std`,
//! so that the pure core can use it. The wire form is made in `proto`, never here.
#![no_std]

extern crate alloc;

mod command;
mod health;
mod heartbeat;
mod id;
mod lease;
mod time;

pub use command::{
    Action, Command, CommandId, GroupAssignment, Outcome, Refusal, StepReport, VerifyEvidence,
};
pub use health::{ProbeKind, Reading, Severity, Verdict};
pub use heartbeat::{GateState, GroupStanding, Heartbeat, ServiceState, ServiceStatus};
pub use id::{
    AttemptId, Epoch, GroupId, HostId, IncidentId, NameError, NotificationId, PlanId, ProbeName,
    ServiceName, SiteId, StepId, Term,
};
pub use lease::{LeaseGrant, LeaseRefusal, LeaseReply, LeaseRequest, Nonce};
pub use time::{Millis, Mono, Wall};
