//! The eight invariants of safety.md, one checker each, and a ninth for runs in
//! which nothing may lead to a failover. Each looks at the history of a whole
//! run; each has a test that shows that it can fail.

mod alarms;
mod commands;
mod false_failover;
mod incidents;
mod one_gate;
mod outbox;
mod proof;
mod replay;
mod terms;

use crate::{clock::Us, history::History};
use std::fmt;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which: 1 to 8 as in safety.md, 9 for a false failover, 0 for the simulation itself.
    pub invariant: u8,
    /// When.
    pub at: Us,
    /// In words.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} at {:.6} s: {}", self.invariant, seconds(self.at), self.what)
    }
}

fn seconds(at: Us) -> f64 {
    at as f64 / 1e6
}

fn broken(invariant: u8, at: Us, what: impl Into<String>) -> Violation {
    Violation { invariant, at, what: what.into() }
}

/// Everything that is wrong with a history, in the order of time.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut found: Vec<Violation> =
        history.forks.iter().map(|fork| broken(0, history.calm, fork)).collect();
    found.extend(one_gate::check(history));
    found.extend(proof::check(history));
    found.extend(terms::check(history));
    found.extend(commands::check(history));
    found.extend(incidents::check(history));
    found.extend(replay::check(history));
    found.extend(alarms::check(history));
    found.extend(outbox::check(history));
    found.extend(false_failover::check(history));
    found.sort_by_key(|violation| violation.at);
    found
}
