//! Runs are worth something only if what they are about happens in them: over
//! some hundred seeds every kind of move, every way of a lease and every way of
//! stopping comes about many times.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "all of this is test code")]

use simulation::{history::Counts, run};

/// So many seeds are looked at.
const SEEDS: u64 = 400;

#[test]
fn the_runs_reach_what_they_are_about() {
    let mut sum = Counts::default();
    for seed in 0..SEEDS {
        sum.add(&run::seed(seed, false).unwrap().stats.counts);
    }
    let reached = [
        ("failovers", sum.failovers, 100),
        ("switchovers", sum.switchovers, 30),
        ("failbacks", sum.failbacks, 10),
        ("plans that wait for a person", sum.held, 3),
        ("troubles that led to nothing", sum.considered, 100),
        ("leases by relay", sum.relayed, 5000),
        ("leases by promises", sum.promised, 200),
    ];
    let poor: Vec<_> = reached.iter().filter(|(_, count, least)| count < least).collect();
    assert!(poor.is_empty(), "{poor:?} of {reached:?}");
}
