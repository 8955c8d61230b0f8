//! Every bound of a group, each with its formula, from the one knob `lease` (T).

use alloc::{vec, vec::Vec};
use model::Millis;
use serde::{Deserialize, Serialize};

/// Floor of the heartbeat interval.
const HEARTBEAT_MIN: Millis = Millis(50);
/// Floor of the skew margin m.
const SKEW_MIN: Millis = Millis(100);
/// Missed heartbeats that make a host suspect.
const MISSED_MAX: u64 = 5;
/// Every bound of a group, derived from T.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// T.
    pub lease: Millis,
    /// `max(T/10, 50 ms)`.
    pub heartbeat: Millis,
    /// `d_stop = T/20`, taken off the agent's deadline.
    pub gate_margin: Millis,
    /// `rho * T`, with rho = 1 %.
    pub rate_error: Millis,
    /// `m = max(100 ms, T/20)`.
    pub skew_margin: Millis,
    /// 5 heartbeats.
    pub suspicion: Millis,
    /// How long a suspect must stay silent.
    pub dwell: Millis,
}

/// One line of `coordctl timing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Stable name.
    pub name: &'static str,
    /// Its value.
    pub value: Millis,
    /// How it follows from the lease.
    pub formula: &'static str,
    /// What it means for a person.
    pub meaning: &'static str,
}

impl Timing {
    /// Derives every bound from T and the dwell.
    #[must_use]
    pub fn derive(lease: Millis, dwell: Millis) -> Self {
        let heartbeat = lease.div_ceil(10).max(HEARTBEAT_MIN);
        Self {
            lease,
            heartbeat,
            gate_margin: lease.div_ceil(20),
            rate_error: lease.div_ceil(100),
            skew_margin: lease.div_ceil(20).max(SKEW_MIN),
            suspicion: heartbeat.times(MISSED_MAX),
            dwell,
        }
    }

    /// `T(1+rho)+m`: after this long without a grant no lease of the group can live (C4).
    #[must_use]
    pub fn lapse(&self) -> Millis {
        self.lease + self.rate_error + self.skew_margin
    }

    /// From the last heartbeat to the automatic decision.
    #[must_use]
    pub fn detection(&self) -> Millis {
        self.suspicion + self.dwell
    }

    /// Every bound with its formula, in the order in which they come to bear.
    #[must_use]
    pub fn bounds(&self) -> Vec<Bound> {
        let bound = |name, value, formula, meaning| Bound { name, value, formula, meaning };
        vec![
            bound(
                "lease",
                self.lease,
                "T, set by the operator",
                "how long a host may act without hearing from a quorum",
            ),
            bound(
                "heartbeat",
                self.heartbeat,
                "max(T/10, 50 ms)",
                "how often an agent speaks and renews",
            ),
            bound(
                "gate_margin",
                self.gate_margin,
                "T/20",
                "how long before the lease's end the host stops",
            ),
            bound(
                "rate_error",
                self.rate_error,
                "T * 1 %",
                "how much two clocks may drift apart during a lease",
            ),
            bound(
                "skew_margin",
                self.skew_margin,
                "max(100 ms, T/20)",
                "added before a lapse is believed",
            ),
            bound("suspicion", self.suspicion, "5 heartbeats", "silence that makes a host suspect"),
            bound(
                "dwell",
                self.dwell,
                "T unless set",
                "how long a suspect must stay silent before failover starts",
            ),
            bound(
                "detection",
                self.detection(),
                "suspicion + dwell",
                "from the last heartbeat to the decision",
            ),
            bound(
                "lapse",
                self.lapse(),
                "T * 1.01 + skew margin",
                "from the last grant to a proven lapse",
            ),
            bound(
                "activation",
                self.detection().max(self.lapse()),
                "max(detection, lapse)",
                "from the last heartbeat to the standby's permission to start, at most one tick later",
            ),
        ]
    }
}
