//! What voters tell each other of what they see, and the bounds to compare.

use super::{WireError, bounded, missing, named, text};
use crate::v1;
use model::{Derived, HostId, HostSilence, Millis, Observation};

impl From<Derived> for v1::Derived {
    fn from(d: Derived) -> Self {
        Self {
            lease_ms: d.lease.0,
            heartbeat_ms: d.heartbeat.0,
            gate_margin_ms: d.gate_margin.0,
            rate_error_ms: d.rate_error.0,
            skew_margin_ms: d.skew_margin.0,
            suspicion_ms: d.suspicion.0,
        }
    }
}

impl From<v1::Derived> for Derived {
    fn from(d: v1::Derived) -> Self {
        Self {
            lease: Millis(d.lease_ms),
            heartbeat: Millis(d.heartbeat_ms),
            gate_margin: Millis(d.gate_margin_ms),
            rate_error: Millis(d.rate_error_ms),
            skew_margin: Millis(d.skew_margin_ms),
            suspicion: Millis(d.suspicion_ms),
        }
    }
}

impl From<Observation> for v1::Observation {
    fn from(o: Observation) -> Self {
        let one = |h: HostSilence| v1::HostSilence { host: h.host.into(), silence_ms: h.silence.0 };
        Self {
            observer: o.observer,
            watched_ms: o.watched.0,
            abstains: o.abstains,
            hosts: o.hosts.into_iter().map(one).collect(),
            derived: Some(o.derived.into()),
        }
    }
}

impl TryFrom<v1::Observation> for Observation {
    type Error = WireError;
    fn try_from(o: v1::Observation) -> Result<Self, WireError> {
        let one = |h: v1::HostSilence| {
            let host = named("HostSilence", HostId::new(h.host))?;
            Ok(HostSilence { host, silence: Millis(h.silence_ms) })
        };
        Ok(Self {
            observer: text(o.observer),
            watched: Millis(o.watched_ms),
            abstains: o.abstains,
            hosts: bounded("Observation", "hosts", o.hosts)?
                .into_iter()
                .map(one)
                .collect::<Result<_, WireError>>()?,
            derived: o.derived.ok_or(missing("Observation", "derived"))?.into(),
        })
    }
}
