//! The gate: the kernel rule that lets a protected service's traffic leave the
//! host only while a lease is live (A1, A2).
//!
//! This agent arms none. It says so in every heartbeat, so that nobody counts
//! on it: a lease that lapsed here is proof of level 1, no more. What stands
//! in for it is the agent's own timer and, for processes, their holder's.

use model::GateState;

/// The gate of one group on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate;

impl Gate {
    /// As the heartbeat says it.
    #[must_use]
    pub const fn state(self) -> GateState {
        GateState::Absent
    }

    /// Why, for a person.
    #[must_use]
    pub const fn why(self) -> &'static str {
        "this agent arms no kernel gate: services are stopped at the lease's end, \
         and their traffic is not held back before that"
    }

    /// Whether it is armed and closed: what a fence may report.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        match self.state() {
            GateState::Closed => true,
            GateState::Absent | GateState::Open => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_called_closed() {
        assert_eq!(Gate.state(), GateState::Absent);
        assert!(!Gate.is_closed() && Gate.why().contains("no kernel gate"));
    }
}
