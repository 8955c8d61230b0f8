//! One run: a plan is played to its end, and its history checked.

use crate::{
    checkers::{self, Violation},
    draw::Plan,
    fault::Planned,
    scene::Line,
    world::{Stats, World},
};
use model::NameError;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The faults.
    pub faults: Vec<Planned>,
    /// Promises that were not kept.
    pub violations: Vec<Violation>,
    /// In numbers.
    pub stats: Stats,
    /// The timeline, where it was asked for.
    pub lines: Vec<Line>,
}

impl Outcome {
    /// The one command that plays the run again and tells its story.
    #[must_use]
    pub fn again(&self) -> String {
        format!("cargo run -p simulation --bin understudy-sim -- --seed {}", self.seed)
    }
}

/// Plays the run of a seed.
///
/// # Errors
/// None with the names that the simulation has.
pub fn seed(seed: u64, told: bool) -> Result<Outcome, NameError> {
    play(Plan::draw(seed), told)
}

/// Plays a plan.
///
/// # Errors
/// None with the names that the simulation has.
pub fn play(plan: Plan, told: bool) -> Result<Outcome, NameError> {
    let (seed, faults, length, mild) = (plan.seed, plan.faults.clone(), plan.length, plan.mild);
    let mut world = World::new(plan, told)?;
    if world.begin_well() {
        world.expect_no_failover(mild);
        world.arm();
        world.run_until(world.now() + length);
        world.heal();
        world.calm_down();
    }
    let stats = world.finish();
    let (history, lines) = world.into_history();
    let violations = checkers::check(&history);
    Ok(Outcome { seed, faults, violations, stats, lines })
}
