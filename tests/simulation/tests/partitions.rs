//! A slice of the exhaustive partitions: 2^14 patterns and a few, spread evenly
//! over all of them and over the three phases. The rest is
//! `cargo xtask bench partitions`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "all of this is test code")]

use simulation::{
    partitions::{self, Phase},
    scene,
};

/// Patterns of one test; twelve tests make 16 392, which is more than 2^14.
const SLICE: u32 = 1366;

fn slice(phase: Phase, part: u32) {
    let mut failed = Vec::new();
    for index in part * SLICE..(part + 1) * SLICE {
        let outcome = partitions::play(phase, partitions::pattern(index), false).unwrap();
        if !outcome.violations.is_empty() {
            failed.push(index);
        }
    }
    let mut story = String::new();
    if let Some(index) = failed.first() {
        let outcome = partitions::play(phase, partitions::pattern(*index), true).unwrap();
        story.push_str(&scene::print(&outcome.lines));
        for violation in &outcome.violations {
            story.push_str(&format!("VIOLATION {violation}\n"));
        }
        story.push_str(&format!("again: {}\n", partitions::again(phase, *index)));
    }
    assert!(failed.is_empty(), "{story}patterns that failed, as they are visited: {failed:?}");
}

macro_rules! slices {
    ($($name:ident = $phase:ident, $part:literal;)*) => {$(
        #[test]
        fn $name() {
            slice(Phase::$phase, $part);
        }
    )*};
}

slices! {
    no_partition_of_a_steady_group_breaks_an_invariant_1 = Steady, 0;
    no_partition_of_a_steady_group_breaks_an_invariant_2 = Steady, 1;
    no_partition_of_a_steady_group_breaks_an_invariant_3 = Steady, 2;
    no_partition_of_a_steady_group_breaks_an_invariant_4 = Steady, 3;
    no_partition_in_a_failover_breaks_an_invariant_1 = Failover, 0;
    no_partition_in_a_failover_breaks_an_invariant_2 = Failover, 1;
    no_partition_in_a_failover_breaks_an_invariant_3 = Failover, 2;
    no_partition_in_a_failover_breaks_an_invariant_4 = Failover, 3;
    no_partition_in_a_failback_breaks_an_invariant_1 = Failback, 0;
    no_partition_in_a_failback_breaks_an_invariant_2 = Failback, 1;
    no_partition_in_a_failback_breaks_an_invariant_3 = Failback, 2;
    no_partition_in_a_failback_breaks_an_invariant_4 = Failback, 3;
}
