//! Clocks: each node has its own, wrong by a rate, by an offset and by steps.
//!
//! True time is counted in microseconds from the run's start, and no node sees it.

use model::{Mono, Wall};

/// An instant of true time, or a length of it, in microseconds.
pub type Us = u64;
/// A millisecond of true time.
pub const MS: Us = 1000;
/// A second of true time.
pub const SECOND: Us = 1_000_000;
const MILLION: u64 = 1_000_000;
/// Wall clocks begin here: 2026-01-01T00:00Z, in milliseconds.
const WALL_BASE: i64 = 1_767_225_600_000;

/// One node's clock.
#[derive(Debug, Clone)]
pub struct Clock {
    booted: Us,
    base: Us,
    rate: u64,
    wall: i64,
}

impl Clock {
    /// A clock that shows `base` at the start of the run and is wrong by `ppm`
    /// millionths: 10 000 is the 1 % that the bounds allow for.
    #[must_use]
    pub fn new(base: Us, ppm: i64, wall: i64) -> Self {
        Self { booted: 0, base, rate: MILLION.saturating_add_signed(ppm), wall }
    }

    /// What `CLOCK_BOOTTIME` shows at the true time `now`.
    #[must_use]
    pub fn mono(&self, now: Us) -> Mono {
        let run = now.saturating_sub(self.booted) * self.rate / MILLION;
        Mono((self.base + run) / MS)
    }

    /// The first true instant at which it shows `mono`.
    #[must_use]
    pub fn when(&self, mono: Mono) -> Us {
        let run = mono.0.saturating_mul(MS).saturating_sub(self.base);
        // Far enough for "never", near enough to calculate with.
        let run = run.min(1 << 40);
        self.booted + (run * MILLION).div_ceil(self.rate)
    }

    /// What the wall clock shows.
    #[must_use]
    pub fn wall(&self, now: Us) -> Wall {
        let now = i64::try_from(now / MS).unwrap_or(i64::MAX);
        Wall(u64::try_from(WALL_BASE + now + self.wall).unwrap_or(0))
    }

    /// The wall clock is set.
    pub fn step(&mut self, by: i64) {
        self.wall += by;
    }

    /// The machine starts anew: `CLOCK_BOOTTIME` begins at nearly nothing.
    pub fn reboot(&mut self, now: Us) {
        (self.booted, self.base) = (now, 3 * SECOND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_found_again_whatever_the_rate() {
        for ppm in [-10_000, -1, 0, 77, 10_000] {
            let clock = Clock::new(5_000_000, ppm, 0);
            for ms in (5000..20_000).step_by(7) {
                let at = clock.when(Mono(ms));
                assert_eq!(clock.mono(at), Mono(ms), "{ppm}");
                assert!(at == 0 || clock.mono(at - 1) < Mono(ms), "{ppm}");
            }
        }
    }
}
