//! What the one knob `lease` (T) leads to on every node alike.
//!
//! Agents and coordinators each derive these for themselves and compare: nodes
//! that disagree about a bound must not trust each other's leases.

use crate::Millis;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Floor of the heartbeat interval.
const HEARTBEAT_MIN: Millis = Millis(50);
/// Floor of the skew margin m.
const SKEW_MIN: Millis = Millis(100);
/// Missed heartbeats that make a host suspect.
const MISSED_MAX: u64 = 5;

/// Every bound that follows from T alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derived {
    /// T.
    pub lease: Millis,
    /// `max(T/10, 50 ms)`: between two heartbeats, and between two renewals.
    pub heartbeat: Millis,
    /// `d_stop = T/20`, taken off the agent's deadline.
    pub gate_margin: Millis,
    /// `rho * T`, with rho = 1 %.
    pub rate_error: Millis,
    /// `m = max(100 ms, T/20)`.
    pub skew_margin: Millis,
    /// 5 heartbeats.
    pub suspicion: Millis,
}

impl Derived {
    /// Derives every bound from T, each rounded up.
    #[must_use]
    pub fn of(lease: Millis) -> Self {
        let heartbeat = lease.div_ceil(10).max(HEARTBEAT_MIN);
        Self {
            lease,
            heartbeat,
            gate_margin: lease.div_ceil(20),
            rate_error: lease.div_ceil(100),
            skew_margin: lease.div_ceil(20).max(SKEW_MIN),
            suspicion: heartbeat.times(MISSED_MAX),
        }
    }

    /// `T(1+rho)+m`: after this long without a grant no lease can live (C4),
    /// and for this long a promise binds (A6).
    #[must_use]
    pub fn lapse(&self) -> Millis {
        self.lease + self.rate_error + self.skew_margin
    }
}

impl fmt::Display for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "lease {}, heartbeat {}, gate margin {}, rate error {}, skew margin {}, suspicion {}",
            self.lease,
            self.heartbeat,
            self.gate_margin,
            self.rate_error,
            self.skew_margin,
            self.suspicion
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_bound_follows_from_the_lease() {
        let five = Derived::of(Millis(5000));
        assert_eq!((five.heartbeat, five.gate_margin), (Millis(500), Millis(250)));
        assert_eq!((five.rate_error, five.skew_margin), (Millis(50), Millis(250)));
        assert_eq!((five.suspicion, five.lapse()), (Millis(2500), Millis(5300)));
        let shortest = Derived::of(Millis(500));
        assert_eq!((shortest.heartbeat, shortest.skew_margin), (Millis(50), Millis(100)));
        assert!(five.to_string().starts_with("lease 5 s, heartbeat 500 ms"));
    }
}
