//! How long to wait before trying again: doubling, bounded, spread.
//!
//! Only counts; the caller waits and decides when to give up.

use crate::random::Random;
use std::time::Duration;

/// Doubles from `first` up to `cap`; each wait is shortened by up to `jitter`
/// percent, so that many that failed together do not return together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    jitter: u8,
    next: Duration,
    random: Random,
}

impl Backoff {
    /// `jitter` is a percentage; above 100 counts as 100. A `cap` below `first` counts as `first`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration, jitter: u8, random: Random) -> Self {
        Self { first, cap: cap.max(first), jitter: jitter.min(100), next: first, random }
    }

    /// Seeded by the operating system.
    #[must_use]
    pub fn from_os(first: Duration, cap: Duration, jitter: u8) -> Self {
        Self::new(first, cap, jitter, Random::from_os())
    }

    /// The wait before the next try; never longer than `cap`.
    pub fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = self.next.saturating_mul(2).min(self.cap);
        let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
        let spread = u128::from(nanos) * u128::from(self.jitter) / 100;
        let spread = u64::try_from(spread).unwrap_or(u64::MAX);
        whole.saturating_sub(Duration::from_nanos(self.random.below(spread.saturating_add(1))))
    }

    /// It worked: begin again from `first`.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn it_doubles_to_its_cap_and_begins_again() {
        let mut plain = Backoff::new(MS(100), MS(500), 0, Random::seeded(1));
        let waits: Vec<_> = (0..5).map(|_| plain.wait()).collect();
        assert_eq!(waits, [MS(100), MS(200), MS(400), MS(500), MS(500)]);
        plain.reset();
        assert_eq!(plain.wait(), MS(100));
    }

    #[test]
    fn jitter_only_shortens_and_only_so_far() {
        let mut spread = Backoff::new(MS(100), MS(100), 30, Random::seeded(1));
        let waits: Vec<_> = (0..200).map(|_| spread.wait()).collect();
        assert!(waits.iter().all(|wait| (MS(70)..=MS(100)).contains(wait)));
        assert!(waits.iter().max() > waits.iter().min());
        let mut odd = Backoff::new(MS(9), MS(1), 255, Random::from_os());
        assert!((0..100).all(|_| odd.wait() <= MS(9)));
        let mut huge = Backoff::from_os(Duration::MAX, Duration::MAX, 100);
        assert!(huge.wait() <= Duration::MAX && huge.wait() <= Duration::MAX);
    }
}
