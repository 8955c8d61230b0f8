//! What an agent says of itself, several times a second.

use crate::{Epoch, GroupId, HostId, Millis, Reading, ServiceName, Term};
use alloc::{string::String, vec::Vec};
use core::fmt;
use serde::{Deserialize, Serialize};

/// The kernel gate as the agent last saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateState {
    /// This host has no kernel gate: only the agent keeps the lease (proof level 1).
    Absent,
    /// Armed and closed.
    Closed,
    /// Armed and open until the lease's deadline.
    Open,
}

impl GateState {
    /// The word used everywhere for this state.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for GateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// Not running, as a waiting service should be.
    Stopped,
    /// Started, and not healthy yet.
    Starting,
    /// Running and, where it can tell, healthy.
    Running,
    /// It runs and says that it is not healthy.
    Unhealthy,
    /// It ended by itself, or could not be started.
    Failed,
    /// Its driver could not tell.
    Unknown,
}

impl ServiceState {
    /// The word used everywhere for this state.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Unhealthy => "unhealthy",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One service of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name in agent.toml.
    pub service: ServiceName,
    /// The group that protects it.
    pub group: GroupId,
    /// Whether it may act on one site only.
    pub exclusive: bool,
    /// How it is now.
    pub state: ServiceState,
    /// One line for a person: container id, pid, exit code, the driver's error.
    pub detail: String,
}

/// Where this host stands in one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStanding {
    /// The group.
    pub group: GroupId,
    /// The highest epoch this host has ever seen for it (A1).
    pub epoch: Epoch,
    /// What remains of the lease by this host's own clock; `None` without one.
    pub lease_left: Option<Millis>,
    /// The kernel gate.
    pub gate: GateState,
}

/// One heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who speaks; the certificate must say the same.
    pub host: HostId,
    /// A random number of this start of the agent: tells a restart from a pause.
    pub boot: u64,
    /// Counts up from 1 within one `boot`; an older one is dropped.
    pub sequence: u64,
    /// The highest coordinators' term this agent has seen.
    pub term: Term,
    /// One entry for every group with a service on this host.
    pub groups: Vec<GroupStanding>,
    /// Every service in agent.toml.
    pub services: Vec<ServiceStatus>,
    /// Every probe's newest reading.
    pub readings: Vec<Reading>,
}
