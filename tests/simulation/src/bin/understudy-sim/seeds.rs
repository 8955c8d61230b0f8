//! Runs by seed: one that is told, or many that are counted.

use anyhow::{Result, anyhow};
use serde_json::json;
use simulation::{
    run::{self, Outcome},
    scene,
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

/// Seeds that a thread takes at a time.
const SLICE: u64 = 16;

/// Tells the story of one run; whether every promise was kept.
pub(crate) fn one(seed: u64) -> Result<bool> {
    let outcome = run::seed(seed, true)?;
    for planned in &outcome.faults {
        println!("plan: {planned}");
    }
    print!("{}", scene::print(&outcome.lines));
    println!("{:?}", outcome.stats);
    report(&outcome);
    Ok(outcome.violations.is_empty())
}

fn report(outcome: &Outcome) {
    for violation in &outcome.violations {
        println!("VIOLATION seed {}: {violation}", outcome.seed);
    }
    if !outcome.violations.is_empty() {
        println!("again: {}", outcome.again());
    }
}

#[derive(Debug, Default)]
struct Sum {
    violations: u64,
    simulated: f64,
    events: u64,
    activations: u64,
}

/// Plays many on every core; whether every promise was kept.
pub(crate) fn many(first: u64, count: u64, json: bool) -> Result<bool> {
    let (begun, end) = (Instant::now(), first.saturating_add(count));
    let next = AtomicU64::new(first);
    let work = || -> Result<Sum> {
        let mut sum = Sum::default();
        loop {
            let from = next.fetch_add(SLICE, Ordering::Relaxed);
            if from >= end {
                return Ok(sum);
            }
            for seed in from..end.min(from + SLICE) {
                let outcome = run::seed(seed, false)?;
                sum.simulated += outcome.stats.simulated as f64 / 1e6;
                sum.activations += outcome.stats.epochs;
                sum.events += outcome.stats.steps;
                sum.violations += outcome.violations.len() as u64;
                report(&outcome);
            }
        }
    };
    let mut sum = Sum::default();
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..crate::cores()).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let part = thread.join().map_err(|_| anyhow!("a run panicked"))??;
            sum.violations += part.violations;
            sum.simulated += part.simulated;
            sum.events += part.events;
            sum.activations += part.activations;
        }
        Ok(())
    })?;
    let took = begun.elapsed().as_secs_f64();
    let cores = crate::cores();
    println!(
        "{count} seeds from {first}: {:.0} simulated s, {} events, {} activations, {} violations; \
         {took:.1} s on {cores} cores: {:.1} seeds/s, {:.0} simulated s/s",
        sum.simulated,
        sum.events,
        sum.activations,
        sum.violations,
        count as f64 / took,
        sum.simulated / took
    );
    if json {
        let object = json!({
            "benchmark": "simulate",
            "configuration": {"first_seed": first, "seeds": count, "cores": cores},
            "violations": sum.violations,
            "simulated_seconds": sum.simulated,
            "events": sum.events,
            "activations": sum.activations,
            "seconds": took,
            "seeds_per_second": count as f64 / took,
            "simulated_seconds_per_second": sum.simulated / took,
            "simulated_seconds_per_second_and_core": sum.simulated / took / cores as f64,
            "load": crate::load(),
        });
        println!("{object}");
    }
    Ok(sum.violations == 0)
}
