//! Figures over trials: minimum, percentiles, maximum, and the machine's load.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;

/// The figures of one benchmark's trials, in the trials' own unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// How many trials.
    pub trials: usize,
    /// The least.
    pub min: f64,
    /// Half of the trials are at or below it.
    pub p50: f64,
    /// Of a hundred trials ninety-nine are at or below it (nearest rank: with
    /// fewer than a hundred it is the maximum).
    pub p99: f64,
    /// The most.
    pub max: f64,
}

impl Figures {
    /// Of these trials.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(trials: &[f64]) -> Result<Self> {
        ensure!(!trials.is_empty(), "no trial was made");
        let mut sorted = trials.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(at).copied().unwrap_or(f64::NAN)
        };
        Ok(Self {
            trials: sorted.len(),
            min: rank(0),
            p50: rank(50),
            p99: rank(99),
            max: rank(100),
        })
    }

    /// As one JSON object, rounded to hundredths.
    #[must_use]
    pub fn json(&self) -> Value {
        let round = |value: f64| (value * 100.0).round() / 100.0;
        json!({
            "trials": self.trials,
            "min": round(self.min),
            "p50": round(self.p50),
            "p99": round(self.p99),
            "max": round(self.max),
        })
    }
}

/// The machine's load averages over 1, 5 and 15 minutes.
///
/// # Errors
/// When the kernel does not tell.
pub fn load_average() -> Result<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").context("could not read /proc/loadavg")?;
    let mut words = text.split(' ');
    let mut next = || -> Result<f64> { Ok(words.next().context("a short loadavg")?.parse()?) };
    Ok([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let trials: Vec<f64> = (1..=200).map(f64::from).collect();
        let figures = Figures::of(&trials).unwrap();
        assert_eq!(
            (figures.min, figures.p50, figures.p99, figures.max),
            (1.0, 100.0, 198.0, 200.0)
        );
        let few = Figures::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((few.min, few.p50, few.p99, few.max), (1.0, 2.0, 3.0, 3.0));
        assert!(Figures::of(&[]).is_err());
    }
}
