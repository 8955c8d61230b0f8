//! Every bound of a group, each with its formula, from the one knob `lease` (T).

use crate::suspicion::FIRST_CONTACT;
use alloc::{vec, vec::Vec};
use model::{Derived, Millis};
use serde::{Deserialize, Serialize};

/// The gap between two ticks of an agent that closes its gate (A5); the same on
/// every host, whatever T is.
const AGENT_STALL: Millis = Millis(250);
/// A tick of a coordinator that is this late makes it abstain (C5).
pub(crate) const OBSERVER_LATE: Millis = Millis(200);

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
    /// How long a host must have been silent, from its last word on.
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
        let Derived { lease, heartbeat, gate_margin, rate_error, skew_margin, suspicion } =
            Derived::of(lease);
        Self { lease, heartbeat, gate_margin, rate_error, skew_margin, suspicion, dwell }
    }

    /// The part that follows from T alone, which every node derives for itself.
    #[must_use]
    pub const fn derived(&self) -> Derived {
        let Self { lease, heartbeat, gate_margin, rate_error, skew_margin, suspicion, dwell: _ } =
            *self;
        Derived { lease, heartbeat, gate_margin, rate_error, skew_margin, suspicion }
    }

    /// `T(1+rho)+m`: after this long without a grant no lease of the group can live (C4).
    #[must_use]
    pub fn lapse(&self) -> Millis {
        self.derived().lapse()
    }

    /// From the last heartbeat to the automatic decision. The dwell counts from
    /// that word on, not from the suspicion: with a dwell of T the host's own lease
    /// ends by then, and a longer wait would only lengthen an outage that is there.
    #[must_use]
    pub fn detection(&self) -> Millis {
        self.suspicion.max(self.dwell)
    }

    /// How long the active host goes without a grant before it asks the other
    /// sites for promises (A6): half a lease, so that two rounds fit before its end.
    #[must_use]
    pub const fn failsafe_ask(&self) -> Millis {
        Millis(self.lease.0 / 2)
    }

    /// Every bound with its formula, in the order in which they come to bear.
    #[must_use]
    pub fn bounds(&self) -> Vec<Bound> {
        let mut bounds = self.of_lease();
        bounds.extend(self.of_failsafe());
        bounds.extend(self.of_failover());
        bounds
    }

    /// What keeps a host active, and what stops it.
    fn of_lease(&self) -> Vec<Bound> {
        vec![
            bound(
                "lease",
                self.lease,
                "T, set by the operator",
                "how long a host may act without hearing from a quorum",
            ),
            bound("heartbeat", self.heartbeat, "max(T/10, 50 ms)", "how often an agent speaks"),
            bound(
                "renewal",
                self.heartbeat,
                "heartbeat",
                "how often an active host asks for its lease (A2)",
            ),
            bound(
                "gate_margin",
                self.gate_margin,
                "T/20",
                "how long before the lease's end the host stops",
            ),
            bound(
                "stop",
                self.lease.saturating_sub(self.gate_margin),
                "T - gate margin",
                "from sending the last renewal that was granted to the closed gate (A2, A3)",
            ),
            bound(
                "agent_stall",
                AGENT_STALL,
                "fixed",
                "a gap in an agent's own time that closes its gate until a new grant (A5)",
            ),
        ]
    }

    /// What promises between agents are worth.
    fn of_failsafe(&self) -> Vec<Bound> {
        vec![
            bound(
                "failsafe_ask",
                self.failsafe_ask(),
                "T/2",
                "without a grant for this long the active host asks the other sites to promise (A6)",
            ),
            bound(
                "promise",
                self.lapse(),
                "T * 1.01 + skew margin",
                "how long a promise binds, and how long a restarted agent refuses to become active (A6)",
            ),
        ]
    }

    /// What a failover waits for.
    fn of_failover(&self) -> Vec<Bound> {
        vec![
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
                "observer_late",
                OBSERVER_LATE,
                "fixed",
                "a coordinator whose own tick is this late abstains: it counts nobody's silence (C5)",
            ),
            bound(
                "dwell",
                self.dwell,
                "T unless set",
                "how long a host must have been silent before failover starts",
            ),
            bound(
                "detection",
                self.detection(),
                "max(suspicion, dwell)",
                "from the last heartbeat to the decision",
            ),
            bound(
                "first_contact",
                FIRST_CONTACT + self.detection(),
                "5 s + detection",
                "how long a new leader waits for a host that it has never heard",
            ),
            bound(
                "lapse",
                self.lapse(),
                "T * 1.01 + skew margin",
                "from the last grant, or the leader's election, to a proven lapse (C4)",
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

const fn bound(
    name: &'static str,
    value: Millis,
    formula: &'static str,
    meaning: &'static str,
) -> Bound {
    Bound { name, value, formula, meaning }
}
