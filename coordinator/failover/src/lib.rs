//! The pure core: decides when a group moves from one site to another, and
//! carries the move through. Events in, effects out.
//!
//! Nothing here reads a clock, opens a socket, starts a thread or draws a
//! random number: time comes with every event, numbers come from the journal.
//! What an effect does in the world is the coordinator's driver's business.
//!
//! The way through: an [`Event`] enters [`Engine::step`]; heartbeats change the
//! *view* (opinion, never journaled), committed records change the [`State`]
//! (fact); `decision` looks at a [`Sight`] made of both and holds or opens a
//! plan; `runner` moves an open plan one step on. Only [`Effect::Append`],
//! [`Effect::ConfirmQuorum`] and lease replies leave before a commit (C1).
#![no_std]

extern crate alloc;

mod alarm;
mod approval;
mod decision;
mod doctor;
mod effect;
mod engine;
mod event;
mod explain;
mod failsafe;
mod feed;
mod fence;
mod hook;
mod incident;
mod lease;
mod lookout;
mod observers;
mod outbox;
mod plan;
mod policy;
mod record;
mod report;
mod request;
mod runner;
mod sight;
mod state;
mod suspicion;
mod view;

pub use alarm::Alarm;
pub use approval::{Approval, ApprovalId};
pub use decision::{Decision, Opening, Reason, decide};
pub use doctor::{Check, CheckResult, Readiness, examine};
pub use effect::{Delivery, DnsOrder, Effect, Round, Ticket};
pub use engine::{Engine, Settings};
pub use event::{AppendFailure, Asker, DeliveryResult, Event, HookResult, Now, RequestId};
pub use explain::{Explanation, explain_considered, explain_incident, explain_now};
pub use feed::FeedState;
pub use fence::{FenceProof, HostProof, ProofHow, ProofLevel};
pub use hook::{FenceHook, FenceOrder, HookVerdict};
pub use incident::{Cause, Incident, IncidentState, TimelineEntry};
pub use lookout::Lookout;
pub use outbox::{ChannelDelivery, ChannelState, Notification};
pub use plan::{Plan, PlanDraft, PlanKind, PlanState, Step, StepKind, StepState};
pub use policy::{
    Bound, GroupSpec, Minimums, OnFeedSilent, OnServiceFailed, ServiceSpec, SiteSpec, SpecFault,
    Timing,
};
pub use record::{Position, Record, StepResult};
pub use report::{Phases, Report};
pub use request::{PlanPreview, PlanRequest, Refused, Request};
pub use sight::{
    CopySight, DataSight, FeedSight, HostSight, ObserverSight, Opinion, ServiceFault, Sight,
    SiteSight,
};
pub use state::{
    Aim, Applied, Certificate, Considered, Group, Hold, State, TaskEntry, TaskOutcome, Token,
};
pub use suspicion::Standing;
pub use view::{HostView, View};
