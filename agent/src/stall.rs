//! Stalls (A5): was this agent, or the whole machine, out of action for longer
//! than a lease's user may be without noticing?
//!
//! Pure: told the time of each round of the agent's loop and, now and then, what
//! the hardware clock says, it tells a stall once. Two signs: more than 250 ms of
//! `CLOCK_BOOTTIME` between two rounds (the process was stopped or starved, the
//! machine was suspended), or the hardware clock ran ahead of boottime by more
//! than that (the hypervisor held the guest, whose own clocks did not run).
//!
//! What follows a stall, and why:
//! - every request and every question to other agents that was sent before it
//!   counts for nothing: an answer that waited through a stall is of unknown age;
//! - where a gate is armed it closes, until a renewal or a complete round of
//!   promises (A6) that was *sent after* the stall extends the lease;
//! - services go on while their lease is live. With a gate they are behind it,
//!   closed, meanwhile. Without one there is nothing to close: stopping them for
//!   a quarter of a second of a lease that is still good would turn each busy
//!   moment into an outage, and the lease's own deadline, which is counted on a
//!   clock that went on, still holds. The proof of such a host says level 1.
//!
//! Where nothing is at stake (no lease, none asked for) the loop rests and no gap
//! counts: [`Stall::rest`].
//!
//! The hardware clock is read with a resolution of a second and set by the
//! kernel now and then, so a hold of less than 2.5 s may escape this second
//! sign, and a correction by seconds forwards counts as one: the price is a gate
//! that is closed for one renewal.

use model::{Millis, Mono};
use std::{collections::VecDeque, fmt};

/// The longest gap that is none.
pub const GAP_MAX: Millis = Millis(250);
/// How often the loop comes round while something is at stake, so that a gap
/// says something: twice and a half in [`GAP_MAX`].
pub const ROUND_EVERY: Millis = Millis(100);
/// Readings of the hardware clock that a new one is compared with: at two a
/// second ten seconds, in which every reading's second has turned several times.
const READINGS_KEPT: usize = 20;
/// The hardware clock's resolution.
const SECOND: Millis = Millis(1000);
/// Percent by which the two clocks' rates may differ (rho).
const RATE_PERCENT: u64 = 1;

/// The hardware clock as it was read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_BOOTTIME` just before it was read.
    pub before: Mono,
    /// `CLOCK_BOOTTIME` just after it was read.
    pub after: Mono,
    /// Its whole seconds, since whenever.
    pub seconds: u64,
}

/// What gave the stall away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stalled {
    /// The loop did not come round for so long.
    Gap(Millis),
    /// The hardware clock ran ahead of this machine's by at least so much.
    Clock(Millis),
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap(gap) => write!(f, "the agent did nothing for {gap}"),
            Self::Clock(ahead) => {
                write!(f, "the machine was held: its hardware clock is {ahead} ahead")
            }
        }
    }
}

/// Watches for stalls.
#[derive(Debug, Clone, Default)]
pub struct Stall {
    last: Option<Mono>,
    readings: VecDeque<Reading>,
}

impl Stall {
    /// The loop has come round; tells a stall that ended with this round. To be
    /// called before anything that arrived meanwhile is looked at.
    pub fn round(&mut self, now: Mono) -> Option<Stalled> {
        let gap = now.since(self.last.replace(now)?);
        (gap > GAP_MAX).then_some(Stalled::Gap(gap))
    }

    /// Nothing is at stake until the next round: the loop may sleep for long.
    pub fn rest(&mut self) {
        self.last = None;
    }

    /// When the loop has to come round at the latest; `None` while it rests.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        self.last.map(|last| last + ROUND_EVERY)
    }

    /// The hardware clock was read; tells a stall that this reading shows. One
    /// that cannot be compared (it was set back) begins anew.
    pub fn hardware(&mut self, reading: Reading) -> Option<Stalled> {
        let ahead = self.readings.iter().map(|earlier| earlier.ahead(&reading)).max();
        let behind = self.readings.iter().any(|earlier| earlier.is_set_back(&reading));
        let stalled = ahead.filter(|ahead| *ahead > GAP_MAX).map(Stalled::Clock);
        if behind || stalled.is_some() {
            self.readings.clear();
        }
        if self.readings.len() == READINGS_KEPT {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
        stalled
    }
}

impl Reading {
    /// How long, at least, the hardware clock ran between two readings in which
    /// boottime did not: seconds are whole, so up to one less than their difference.
    fn ahead(&self, later: &Self) -> Millis {
        let ran = SECOND.times(later.seconds.saturating_sub(self.seconds)).saturating_sub(SECOND);
        let counted = later.after.since(self.before);
        let tolerance = Millis(counted.0.saturating_mul(RATE_PERCENT).div_ceil(100));
        ran.saturating_sub(counted + tolerance)
    }

    /// Whether the hardware clock ran for less than boottime: it was set back.
    fn is_set_back(&self, later: &Self) -> bool {
        let most = SECOND.times(later.seconds.saturating_sub(self.seconds) + 1);
        let counted = later.before.since(self.after);
        let tolerance = Millis(counted.0.saturating_mul(RATE_PERCENT).div_ceil(100));
        later.seconds < self.seconds || most + tolerance < counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a5_a_gap_of_more_than_250_ms_is_a_stall_told_once() {
        let mut stall = Stall::default();
        assert_eq!(stall.round(Mono(5000)), None, "the first round has none before it");
        assert_eq!(stall.due(), Some(Mono(5100)));
        assert_eq!(stall.round(Mono(5250)), None);
        assert_eq!(stall.round(Mono(5501)), Some(Stalled::Gap(Millis(251))));
        assert_eq!(stall.round(Mono(5502)), None);
        stall.rest();
        assert_eq!((stall.due(), stall.round(Mono(9000))), (None, None), "it had nothing to do");
        assert_eq!(stall.round(Mono(9251)), Some(Stalled::Gap(Millis(251))));
    }

    fn read(at: u64, seconds: u64) -> Reading {
        Reading { before: Mono(at), after: Mono(at), seconds }
    }

    #[test]
    fn a5_a_guest_that_was_held_is_seen_by_the_hardware_clock() {
        let mut stall = Stall::default();
        for step in 0..30 {
            assert_eq!(stall.hardware(read(step * 500, 100 + step / 2)), None);
        }
        // Held for 3 s: the hardware clock went on. How much of it is certain
        // depends on where in their seconds the readings were taken.
        let told = stall.hardware(read(15_000, 118));
        let Some(Stalled::Clock(ahead)) = told else { panic!("{told:?}") };
        assert!(ahead > Millis(1400) && ahead <= Millis(3000), "{ahead}");
        assert_eq!(stall.hardware(read(15_500, 118)), None, "told once");
    }

    #[test]
    fn a_hardware_clock_that_is_set_back_is_no_stall_and_hides_none_after() {
        let mut stall = Stall::default();
        assert_eq!(stall.hardware(read(0, 1000)), None);
        assert_eq!(stall.hardware(read(1000, 400)), None);
        assert_eq!(stall.hardware(read(2000, 401)), None);
        assert!(stall.hardware(read(3000, 407)).is_some());
    }

    proptest! {
        #[test]
        fn a5_no_stall_is_seen_where_there_was_none(
            start in 0..1_000_000_u64,
            rate in -100..=100_i64,
            steps in proptest::collection::vec(1..3000_u64, 1..60),
        ) {
            // A clock that is wrong by up to 1 % and read at any moments.
            let mut stall = Stall::default();
            let mut at = 0_u64;
            for step in steps {
                at += step;
                let off = i64::try_from(at).unwrap() * rate / 10_000;
                let true_ms = (start + at).checked_add_signed(off).unwrap();
                prop_assert_eq!(stall.hardware(read(at, true_ms / 1000)), None);
            }
        }

        #[test]
        fn a5_a_hold_of_two_and_a_half_seconds_is_always_seen(
            phase in 0..1000_u64,
            held in 1600..600_000_u64,
            steps in proptest::collection::vec(400..600_u64, 1..40),
        ) {
            let mut stall = Stall::default();
            let mut at = 0;
            stall.hardware(read(0, phase / 1000));
            for step in steps {
                at += step;
                prop_assert_eq!(stall.hardware(read(at, (phase + at) / 1000)), None);
            }
            at += 50;
            let told = stall.hardware(read(at, (phase + at + held) / 1000));
            let certain = matches!(told, Some(Stalled::Clock(ahead)) if ahead.0 <= held);
            // Whole seconds hide up to two.
            prop_assert!(certain || held < 2500, "held {held}, told {told:?}");
        }
    }
}
