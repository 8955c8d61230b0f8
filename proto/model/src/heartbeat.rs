//! What an agent says of itself, several times a second.

use crate::{
    BackupStanding, Derived, Epoch, GroupId, HostId, Millis, OrderId, OrderOutcome, Reading,
    ServiceName, Term,
};
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

/// The host's watchdog device, which resets it when the agent's lease loop stops.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum WatchdogState {
    /// None is configured, or it could not be opened.
    #[default]
    Absent,
    /// Configured, and not running at the moment.
    Disarmed,
    /// Running, and fed by the lease loop.
    Armed,
}

impl WatchdogState {
    /// The word used everywhere for this state.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Disarmed => "disarmed",
            Self::Armed => "armed",
        }
    }
}

/// The longest watchdog timeout of the product: agent.toml takes no longer one.
pub const WATCHDOG_MAX: Millis = Millis::from_secs(60);

/// How an exclusive service waits on a standby.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum StandbyMode {
    /// Not running.
    #[default]
    Stopped,
    /// Running behind the closed gate, so that activation is the opening of the gate.
    Gated,
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
    /// How it waits on a standby.
    pub standby: StandbyMode,
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
    /// Why the gate is absent, or what happened to it; empty otherwise.
    pub gate_detail: String,
    /// Whether it goes on by the other sites' promises, without a quorum (A6).
    pub failsafe: bool,
    /// What is left of a promise of this host's own, or of the time after its
    /// start in which it may have forgotten one (A6); `None` when it is free.
    pub promised: Option<Millis>,
    /// Why somebody on the host decided that it must not be active; empty when
    /// nobody did.
    #[serde(default)]
    pub barred: String,
    /// Whether that is an emergency stop: then no other site is to be started by
    /// itself either.
    #[serde(default)]
    pub stopped: bool,
    /// The newest emergency stop, or release, through the coordinators that was
    /// taken up here and is durable.
    #[serde(default)]
    pub stop_order: Option<OrderId>,
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
    /// Its watchdog device.
    pub watchdog: WatchdogState,
    /// The time after its newest feed at which the watchdog resets the host, as
    /// the device has it; absent while that is not known.
    #[serde(default)]
    pub watchdog_timeout: Option<Millis>,
    /// Where other agents reach it, "host:port"; empty when it serves none (A6).
    pub peer: String,
    /// How it is isolated, in words; empty when it is not.
    #[serde(default)]
    pub isolation: String,
    /// What came of the newest order for this host, if there was one.
    #[serde(default)]
    pub order: Option<OrderOutcome>,
    /// One entry for every group with a service on this host.
    pub groups: Vec<GroupStanding>,
    /// Every service in agent.toml.
    pub services: Vec<ServiceStatus>,
    /// Every probe's newest reading.
    pub readings: Vec<Reading>,
    /// Every source of backups in agent.toml.
    #[serde(default)]
    pub backups: Vec<BackupStanding>,
}

impl Heartbeat {
    /// The time after which an armed watchdog has certainly reset the host, from
    /// the moment at which its lease loop stood still, on the listener's clock
    /// (C4). `None` where it is not armed, or its time is unknown or beyond
    /// [`WATCHDOG_MAX`]: then nothing may be concluded from it.
    #[must_use]
    pub fn resets_within(&self) -> Option<Millis> {
        match self.watchdog {
            WatchdogState::Armed => self
                .watchdog_timeout
                .filter(|timeout| *timeout <= WATCHDOG_MAX)
                // Two clocks that run differently, as with a lease.
                .map(|timeout| Derived::of(timeout).lapse()),
            WatchdogState::Absent | WatchdogState::Disarmed => None,
        }
    }
}
