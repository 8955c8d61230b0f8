//! The fixed budget of seeds: 20 000, in slices that run side by side. A seed
//! that fails is played again with its timeline, and named with the one command
//! that does the same.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "all of this is test code")]

use simulation::{draw::Plan, run, scene};

/// Seeds in one slice.
const SLICE: u64 = 1000;
/// Timelines that are told of one slice; the rest is only named.
const TOLD: usize = 1;

fn slice(number: u64) {
    let mut failed = Vec::new();
    for seed in number * SLICE..(number + 1) * SLICE {
        let outcome = run::seed(seed, false).unwrap();
        if !outcome.violations.is_empty() {
            failed.push(seed);
        }
    }
    let mut story = String::new();
    for seed in failed.iter().take(TOLD) {
        let outcome = run::seed(*seed, true).unwrap();
        for planned in &outcome.faults {
            story.push_str(&format!("plan: {planned}\n"));
        }
        story.push_str(&scene::print(&outcome.lines));
        for violation in &outcome.violations {
            story.push_str(&format!("VIOLATION {violation}\n"));
        }
        story.push_str(&format!("again: {}\n", outcome.again()));
    }
    assert!(failed.is_empty(), "{story}seeds that failed: {failed:?}");
}

macro_rules! slices {
    ($($name:ident = $number:literal;)*) => {$(
        #[test]
        fn $name() {
            slice($number);
        }
    )*};
}

slices! {
    every_invariant_holds_in_seeds_from_00000 = 0;
    every_invariant_holds_in_seeds_from_01000 = 1;
    every_invariant_holds_in_seeds_from_02000 = 2;
    every_invariant_holds_in_seeds_from_03000 = 3;
    every_invariant_holds_in_seeds_from_04000 = 4;
    every_invariant_holds_in_seeds_from_05000 = 5;
    every_invariant_holds_in_seeds_from_06000 = 6;
    every_invariant_holds_in_seeds_from_07000 = 7;
    every_invariant_holds_in_seeds_from_08000 = 8;
    every_invariant_holds_in_seeds_from_09000 = 9;
    every_invariant_holds_in_seeds_from_10000 = 10;
    every_invariant_holds_in_seeds_from_11000 = 11;
    every_invariant_holds_in_seeds_from_12000 = 12;
    every_invariant_holds_in_seeds_from_13000 = 13;
    every_invariant_holds_in_seeds_from_14000 = 14;
    every_invariant_holds_in_seeds_from_15000 = 15;
    every_invariant_holds_in_seeds_from_16000 = 16;
    every_invariant_holds_in_seeds_from_17000 = 17;
    every_invariant_holds_in_seeds_from_18000 = 18;
    every_invariant_holds_in_seeds_from_19000 = 19;
}

#[test]
fn a_gate_that_closes_two_leases_late_is_found() {
    let broken = |seed| {
        let mut plan = Plan::draw(seed);
        plan.setting.late_gate = plan.setting.lease.times(2);
        let outcome = run::play(plan, false).unwrap();
        outcome.violations.iter().any(|violation| violation.invariant == 1)
    };
    assert!((0..400).any(broken));
}

#[test]
fn a_seed_gives_the_same_run_whether_it_is_told_or_not() {
    for seed in 0..20 {
        let (one, other) = (run::seed(seed, false).unwrap(), run::seed(seed, true).unwrap());
        assert_eq!(one.stats, other.stats, "{seed}");
        assert_eq!(one.violations, other.violations, "{seed}");
        assert!(one.lines.is_empty() && !other.lines.is_empty());
    }
}
