//! Every directed cut pattern between the five nodes: 2^20 of them, each laid
//! over one of three phases, held for several leases, and healed.

use crate::{
    checkers::{self, Violation},
    clock::{MS, Us},
    draw::Plan,
    fault::Wish,
    rng::Rng,
    scene::Line,
    stage::{C1, C2, NODES, Node, P1, Setting},
    world::{Stats, World},
};
use model::{Millis, NameError};
use std::fmt;

/// How many patterns there are: one bit for each direction of each pair.
pub const PATTERNS: u32 = 1 << (NODES * (NODES - 1));
/// The lease of these runs: the shortest there is, so that they are short.
const LEASE: Millis = Millis(500);
/// How long a pattern lasts, in leases: beyond every bound that a lease leads to.
const LEASES: u64 = 5;
/// How long a phase may take to come about.
const PHASE_MAX: Us = 30_000 * MS;
/// An odd stride visits every pattern once, and any stretch of it evenly.
const STRIDE: u32 = 0x0009_E375;

/// What is going on when the links are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The primary serves.
    Steady,
    /// A failover is somewhere in its steps.
    Failover,
    /// A planned return is.
    Failback,
}

impl Phase {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Steady, Self::Failover, Self::Failback];

    /// The word used everywhere for this phase.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Failover => "failover",
            Self::Failback => "failback",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The `index`th pattern in the order in which they are visited.
#[must_use]
pub const fn pattern(index: u32) -> u32 {
    index.wrapping_mul(STRIDE) % PATTERNS
}

/// The one command that plays the `index`th pattern again and tells its story.
#[must_use]
pub fn again(phase: Phase, index: u32) -> String {
    format!(
        "cargo run -p simulation --bin understudy-sim -- partitions --phase {phase} \
         --from {index} --tell"
    )
}

/// The directions that a pattern cuts.
pub fn cuts(pattern: u32) -> impl Iterator<Item = (Node, Node)> {
    let pairs = (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to)));
    let pairs = pairs.filter(|(from, to)| from != to);
    pairs.enumerate().filter(move |(bit, _)| pattern >> bit & 1 == 1).map(|(_, pair)| pair)
}

/// What came of one pattern.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Promises that were not kept.
    pub violations: Vec<Violation>,
    /// In numbers.
    pub stats: Stats,
    /// The timeline, where it was asked for.
    pub lines: Vec<Line>,
}

/// Plays one pattern over one phase.
///
/// # Errors
/// None with the names that the simulation has.
pub fn play(phase: Phase, pattern: u32, told: bool) -> Result<Outcome, NameError> {
    let seed = u64::from(pattern) << 2 | phase as u64;
    let mut rng = Rng::new(seed);
    let setting = Setting::plain(LEASE);
    let plan = Plan { seed, setting, faults: Vec::new(), length: 0, mild: false };
    let mut world = World::new(plan, told)?;
    if world.begin_well() && reach(&mut world, phase, &mut rng) {
        world.cut(cuts(pattern));
        world.run_until(world.now() + LEASES * LEASE.0 * MS);
        world.heal();
        world.calm_down();
    }
    let stats = world.finish();
    let (history, lines) = world.into_history();
    Ok(Outcome { violations: checkers::check(&history), stats, lines })
}

/// Brings the phase about, to a moment that differs from pattern to pattern.
fn reach(world: &mut World, phase: Phase, rng: &mut Rng) -> bool {
    match phase {
        Phase::Steady => {
            world.run_until(world.now() + rng.between(0, 300 * MS));
            true
        }
        Phase::Failover => {
            world.cut((0..NODES).filter(|node| *node != P1).flat_map(|n| [(n, P1), (P1, n)]));
            let found = until_planned(world);
            world.run_until(world.now() + rng.between(0, 1000 * MS));
            world.mend();
            found
        }
        Phase::Failback => {
            ask(world, Wish::Switchover);
            let moved = until_planned(world) && until_well(world);
            ask(world, Wish::Failback);
            let found = moved && until_planned(world);
            world.run_until(world.now() + rng.between(0, 400 * MS));
            found
        }
    }
}

fn ask(world: &mut World, wish: Wish) {
    world.wish(C1, wish);
    world.wish(C2, wish);
}

fn until_planned(world: &mut World) -> bool {
    until(world, |world| {
        let planned = |group: &failover::Group| group.plan.is_some();
        world.state().is_some_and(|state| state.groups.values().any(planned))
    })
}

fn until_well(world: &mut World) -> bool {
    until(world, |world| world.unrest().is_none())
}

fn until(world: &mut World, done: impl Fn(&World) -> bool) -> bool {
    let end = world.now() + PHASE_MAX;
    while world.now() < end {
        world.run_until(world.now() + 5 * MS);
        if done(world) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_pattern_is_visited_once_and_cuts_what_its_bits_say() {
        let mut seen = vec![false; PATTERNS as usize];
        (0..PATTERNS).for_each(|index| seen[pattern(index) as usize] = true);
        assert!(seen.into_iter().all(|seen| seen));
        assert_eq!(cuts(0).count(), 0);
        let all: BTreeSet<_> = cuts(PATTERNS - 1).collect();
        assert_eq!(all.len(), 20);
        assert_eq!(cuts(1 << 4).collect::<Vec<_>>(), [(1, 0)]);
    }
}
