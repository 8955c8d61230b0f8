//! The two clocks, read in one place: one for deadlines, one for people.

use rustix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the machine started, counting through suspension
/// (`CLOCK_BOOTTIME`): never goes back, means nothing on another machine.
#[must_use]
pub fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
}

/// Milliseconds since 1970-01-01T00:00Z by the wall clock, which may step:
/// for people and reports only. A clock set before 1970 reads as 0.
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_run() {
        let (a, b) = (boottime_ms(), boottime_ms());
        assert!(a > 0 && b >= a && b - a < 10_000);
        // 2020-01-01, to tell seconds from milliseconds.
        assert!(wall_ms() > 1_577_836_800_000);
    }
}
