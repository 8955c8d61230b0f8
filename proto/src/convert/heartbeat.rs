//! Heartbeats, readings and assignments.

use super::{WireError, bounded, named, text, unknown};
use crate::v1;
use model::{
    Epoch, GateState, GroupAssignment, GroupId, GroupStanding, Heartbeat, HostId, Millis, OrderId,
    PeerAddress, ProbeKind, ProbeName, Reading, ServiceName, ServiceState, ServiceStatus, SiteId,
    StandbyMode, Term, Verdict, Wall, WatchdogState,
};

impl From<Heartbeat> for v1::Heartbeat {
    fn from(h: Heartbeat) -> Self {
        Self {
            host: h.host.into(),
            boot: h.boot,
            sequence: h.sequence,
            term: h.term.0,
            watchdog: match h.watchdog {
                WatchdogState::Absent => v1::WatchdogState::Absent,
                WatchdogState::Disarmed => v1::WatchdogState::Disarmed,
                WatchdogState::Armed => v1::WatchdogState::Armed,
            }
            .into(),
            watchdog_timeout_ms: h.watchdog_timeout.map(|timeout| timeout.0),
            peer: h.peer,
            isolation: h.isolation,
            order: h.order.map(Into::into),
            groups: h.groups.into_iter().map(Into::into).collect(),
            services: h.services.into_iter().map(Into::into).collect(),
            readings: h.readings.into_iter().map(Into::into).collect(),
            backups: h.backups.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Heartbeat> for Heartbeat {
    type Error = WireError;
    fn try_from(h: v1::Heartbeat) -> Result<Self, WireError> {
        let groups = bounded("Heartbeat", "groups", h.groups)?;
        let services = bounded("Heartbeat", "services", h.services)?;
        let readings = bounded("Heartbeat", "readings", h.readings)?;
        let backups = bounded("Heartbeat", "backups", h.backups)?;
        Ok(Self {
            host: named("Heartbeat", HostId::new(h.host))?,
            boot: h.boot,
            sequence: h.sequence,
            term: Term(h.term),
            watchdog: match v1::WatchdogState::try_from(h.watchdog) {
                Ok(v1::WatchdogState::Absent) => WatchdogState::Absent,
                Ok(v1::WatchdogState::Disarmed) => WatchdogState::Disarmed,
                Ok(v1::WatchdogState::Armed) => WatchdogState::Armed,
                Err(_) => return Err(unknown("Heartbeat", "watchdog", h.watchdog)),
            },
            watchdog_timeout: h.watchdog_timeout_ms.map(Millis),
            peer: text(h.peer),
            isolation: text(h.isolation),
            order: h.order.map(Into::into),
            groups: groups.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            services: services.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            readings: readings.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            backups: backups.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<GroupStanding> for v1::GroupStanding {
    fn from(g: GroupStanding) -> Self {
        let gate = match g.gate {
            GateState::Absent => v1::GateState::Absent,
            GateState::Closed => v1::GateState::Closed,
            GateState::Open => v1::GateState::Open,
        };
        Self {
            group: g.group.into(),
            epoch: g.epoch.0,
            lease_left_ms: g.lease_left.map(|left| left.0),
            gate: gate.into(),
            gate_detail: g.gate_detail,
            failsafe: g.failsafe,
            promised_ms: g.promised.map(|left| left.0),
            barred: g.barred,
            stopped: g.stopped,
            stop_order: g.stop_order.map_or(0, |order| order.number),
            stop_order_at_unix_ms: g.stop_order.map_or(0, |order| order.at.0),
        }
    }
}

impl TryFrom<v1::GroupStanding> for GroupStanding {
    type Error = WireError;
    fn try_from(g: v1::GroupStanding) -> Result<Self, WireError> {
        Ok(Self {
            group: named("GroupStanding", GroupId::new(g.group))?,
            epoch: Epoch(g.epoch),
            lease_left: g.lease_left_ms.map(Millis),
            gate: match v1::GateState::try_from(g.gate) {
                Ok(v1::GateState::Absent) => GateState::Absent,
                Ok(v1::GateState::Closed) => GateState::Closed,
                Ok(v1::GateState::Open) => GateState::Open,
                Ok(v1::GateState::Unspecified) | Err(_) => {
                    return Err(unknown("GroupStanding", "gate", g.gate));
                }
            },
            gate_detail: text(g.gate_detail),
            failsafe: g.failsafe,
            promised: g.promised_ms.map(Millis),
            barred: text(g.barred),
            stopped: g.stopped,
            stop_order: (g.stop_order > 0)
                .then_some(OrderId { number: g.stop_order, at: Wall(g.stop_order_at_unix_ms) }),
        })
    }
}

impl From<ServiceStatus> for v1::ServiceStatus {
    fn from(s: ServiceStatus) -> Self {
        let state = match s.state {
            ServiceState::Stopped => v1::ServiceState::Stopped,
            ServiceState::Starting => v1::ServiceState::Starting,
            ServiceState::Running => v1::ServiceState::Running,
            ServiceState::Unhealthy => v1::ServiceState::Unhealthy,
            ServiceState::Failed => v1::ServiceState::Failed,
            ServiceState::Unknown => v1::ServiceState::Unknown,
        };
        Self {
            service: s.service.into(),
            group: s.group.into(),
            exclusive: s.exclusive,
            standby: match s.standby {
                StandbyMode::Stopped => v1::StandbyMode::Stopped,
                StandbyMode::Gated => v1::StandbyMode::Gated,
            }
            .into(),
            state: state.into(),
            detail: s.detail,
        }
    }
}

impl TryFrom<v1::ServiceStatus> for ServiceStatus {
    type Error = WireError;
    fn try_from(s: v1::ServiceStatus) -> Result<Self, WireError> {
        Ok(Self {
            service: named("ServiceStatus", ServiceName::new(s.service))?,
            group: named("ServiceStatus", GroupId::new(s.group))?,
            exclusive: s.exclusive,
            standby: match v1::StandbyMode::try_from(s.standby) {
                Ok(v1::StandbyMode::Stopped) => StandbyMode::Stopped,
                Ok(v1::StandbyMode::Gated) => StandbyMode::Gated,
                Err(_) => return Err(unknown("ServiceStatus", "standby", s.standby)),
            },
            state: match v1::ServiceState::try_from(s.state) {
                Ok(v1::ServiceState::Stopped) => ServiceState::Stopped,
                Ok(v1::ServiceState::Starting) => ServiceState::Starting,
                Ok(v1::ServiceState::Running) => ServiceState::Running,
                Ok(v1::ServiceState::Unhealthy) => ServiceState::Unhealthy,
                Ok(v1::ServiceState::Failed) => ServiceState::Failed,
                Ok(v1::ServiceState::Unknown) => ServiceState::Unknown,
                Ok(v1::ServiceState::Unspecified) | Err(_) => {
                    return Err(unknown("ServiceStatus", "state", s.state));
                }
            },
            detail: text(s.detail),
        })
    }
}

impl From<Reading> for v1::Reading {
    fn from(r: Reading) -> Self {
        let kind = match r.kind {
            ProbeKind::Container => v1::ProbeKind::Container,
            ProbeKind::Disk => v1::ProbeKind::Disk,
            ProbeKind::Host => v1::ProbeKind::Host,
            ProbeKind::Zeromq => v1::ProbeKind::Zeromq,
            ProbeKind::Watermark => v1::ProbeKind::Watermark,
            ProbeKind::Tcp => v1::ProbeKind::Tcp,
            ProbeKind::Recovery => v1::ProbeKind::Recovery,
        };
        let verdict = match r.verdict {
            Verdict::Ok => v1::Verdict::Ok,
            Verdict::Unknown => v1::Verdict::Unknown,
            Verdict::Warn => v1::Verdict::Warn,
            Verdict::Critical => v1::Verdict::Critical,
        };
        Self {
            probe: r.probe.into(),
            kind: kind.into(),
            verdict: verdict.into(),
            summary: r.summary,
            measures: r.measures.into_iter().collect(),
            age_ms: r.age.0,
        }
    }
}

impl TryFrom<v1::Reading> for Reading {
    type Error = WireError;
    fn try_from(r: v1::Reading) -> Result<Self, WireError> {
        Ok(Self {
            probe: named("Reading", ProbeName::new(r.probe))?,
            kind: match v1::ProbeKind::try_from(r.kind) {
                Ok(v1::ProbeKind::Container) => ProbeKind::Container,
                Ok(v1::ProbeKind::Disk) => ProbeKind::Disk,
                Ok(v1::ProbeKind::Host) => ProbeKind::Host,
                Ok(v1::ProbeKind::Zeromq) => ProbeKind::Zeromq,
                Ok(v1::ProbeKind::Watermark) => ProbeKind::Watermark,
                Ok(v1::ProbeKind::Tcp) => ProbeKind::Tcp,
                Ok(v1::ProbeKind::Recovery) => ProbeKind::Recovery,
                Ok(v1::ProbeKind::Unspecified) | Err(_) => {
                    return Err(unknown("Reading", "kind", r.kind));
                }
            },
            verdict: match v1::Verdict::try_from(r.verdict) {
                Ok(v1::Verdict::Ok) => Verdict::Ok,
                Ok(v1::Verdict::Unknown) => Verdict::Unknown,
                Ok(v1::Verdict::Warn) => Verdict::Warn,
                Ok(v1::Verdict::Critical) => Verdict::Critical,
                Ok(v1::Verdict::Unspecified) | Err(_) => {
                    return Err(unknown("Reading", "verdict", r.verdict));
                }
            },
            summary: text(r.summary),
            measures: r.measures.into_iter().take(super::LIST_MAX).collect(),
            age: Millis(r.age_ms),
        })
    }
}

impl From<GroupAssignment> for v1::GroupAssignment {
    fn from(a: GroupAssignment) -> Self {
        Self {
            group: a.group.into(),
            site: a.site.into(),
            active_site: a.active.map(Into::into).unwrap_or_default(),
            epoch: a.epoch.0,
            lease_ms: a.lease.0,
            fencing: a.fencing,
            failsafe: a.failsafe.is_some(),
            peers: a.failsafe.into_iter().flatten().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::GroupAssignment> for GroupAssignment {
    type Error = WireError;
    fn try_from(a: v1::GroupAssignment) -> Result<Self, WireError> {
        let active = match a.active_site.as_str() {
            "" => None,
            _ => Some(named("GroupAssignment", SiteId::new(a.active_site))?),
        };
        Ok(Self {
            group: named("GroupAssignment", GroupId::new(a.group))?,
            site: named("GroupAssignment", SiteId::new(a.site))?,
            active,
            epoch: Epoch(a.epoch),
            lease: Millis(a.lease_ms),
            fencing: a.fencing,
            failsafe: match a.failsafe {
                false => None,
                true => Some(
                    bounded("GroupAssignment", "peers", a.peers)?
                        .into_iter()
                        .map(TryInto::try_into)
                        .collect::<Result<_, _>>()?,
                ),
            },
        })
    }
}

impl From<PeerAddress> for v1::PeerAddress {
    fn from(peer: PeerAddress) -> Self {
        Self { host: peer.host.into(), address: peer.address }
    }
}

impl TryFrom<v1::PeerAddress> for PeerAddress {
    type Error = WireError;
    fn try_from(peer: v1::PeerAddress) -> Result<Self, WireError> {
        let host = named("PeerAddress", HostId::new(peer.host))?;
        Ok(Self { host, address: text(peer.address) })
    }
}
