//! Waiting for a condition with a deadline: the only place here that sleeps.

use anyhow::{Context, Result};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How often a condition is looked at. Short enough not to add to a measured
/// time that matters, long enough to leave two cores to what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `probe` answers, at most for `limit`.
///
/// A probe says "not yet" with an error in words.
///
/// # Errors
/// When the limit has passed: what was waited for, and the probe's last words.
pub fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Result<T>) -> Result<T> {
    every(LOOK_EVERY, what, limit, probe)
}

/// As [`until`], looking every `pause`.
///
/// # Errors
/// When the limit has passed: what was waited for, and the probe's last words.
pub fn every<T>(
    pause: Duration,
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(found) => return Ok(found),
            Err(not_yet) if Instant::now() >= deadline => {
                return Err(not_yet)
                    .with_context(|| format!("waited {} ms for {what}", limit.as_millis()));
            }
            Err(_) => thread::sleep(pause),
        }
    }
}

/// Watches that `probe` stays true for all of `span`: for what must not happen.
///
/// # Errors
/// The first time that the probe fails, at once.
pub fn throughout(what: &str, span: Duration, mut probe: impl FnMut() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    let deadline = started + span;
    loop {
        probe().with_context(|| {
            format!("{what} held for only {} ms", started.elapsed().as_millis())
        })?;
        if Instant::now() >= deadline {
            return Ok(());
        }
        thread::sleep(LOOK_EVERY);
    }
}
