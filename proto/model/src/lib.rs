//! The words that every part of Understudy shares: names, numbers that only
//! grow, time, health, heartbeats, leases and commands.
//!
//! Plain data with its own validation and no behaviour beyond it; `no_std`,
//! so that the pure core can use it. The wire form is made in `proto`, never here.
#![no_std]

extern crate alloc;

mod backup;
mod command;
mod copies;
pub mod evidence;
mod health;
mod heartbeat;
mod id;
mod lease;
mod observation;
mod order;
mod promise;
mod task;
mod time;
mod timing;

pub use backup::{AttemptRate, BackupStanding, CopyAge};
pub use command::{
    Action, Command, CommandId, GroupAssignment, Outcome, PeerAddress, Refusal, StepReport,
    VerifyEvidence,
};
pub use copies::{CopyKind, CopyName, CopyNameError, repository_name};
pub use health::{ProbeKind, Reading, Severity, Verdict};
pub use heartbeat::{
    GateState, GroupStanding, Heartbeat, ServiceState, ServiceStatus, StandbyMode, WATCHDOG_MAX,
    WatchdogState,
};
pub use id::{
    AttemptId, Epoch, GroupId, HostId, IncidentId, NameError, NotificationId, PlanId, ProbeName,
    ServiceName, SiteId, SourceName, StepId, Term,
};
pub use lease::{LeaseGrant, LeaseRefusal, LeaseReply, LeaseRequest, Nonce};
pub use observation::{HostSilence, Observation};
pub use order::{
    HostDeed, HostOrder, IsolationProfile, OrderId, OrderOutcome, StopDeed, StopOrder,
};
pub use promise::{PromiseRefusal, PromiseReply, PromiseRequest};
pub use task::{Restore, Task, TaskKind, TaskOrder};
pub use time::{Millis, Mono, Wall};
pub use timing::Derived;
