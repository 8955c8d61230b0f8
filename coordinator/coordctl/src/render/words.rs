//! Numbers as a person says them. Times are UTC, because the hosts, the venue
//! and the operator are rarely in one zone.

use model::Millis;

/// `1.25 s` below a minute, whole words above.
pub(crate) fn seconds(ms: u64) -> String {
    if (1000..60_000).contains(&ms) {
        format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
    } else {
        Millis(ms).to_string()
    }
}

/// `250 ms`, `2.5 s`, `3 min 20 s`.
pub(crate) fn span(ms: u64) -> String {
    Millis(ms).to_string()
}

/// A span, or `-` when there is none.
pub(crate) fn span_or_dash(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".into(), span)
}

fn formatted(unix_ms: u64, format: &str) -> String {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{unix_ms} ms since 1970"), |at| at.strftime(format).to_string())
}

/// `2026-03-01 03:12:07 UTC`.
pub(crate) fn instant(unix_ms: u64) -> String {
    formatted(unix_ms, "%Y-%m-%d %H:%M:%S UTC")
}

/// `2026-03-01 03:12:07.250`, for timelines.
pub(crate) fn precise(unix_ms: u64) -> String {
    formatted(unix_ms, "%Y-%m-%d %H:%M:%S.%3f")
}

/// `yes` or `no`.
pub(crate) const fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// `1 step`, `3 steps`.
pub(crate) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_instants() {
        assert_eq!(seconds(999), "999 ms");
        assert_eq!(seconds(8345), "8.34 s");
        assert_eq!(seconds(61_000), "1 min 1 s");
        assert_eq!(span_or_dash(None), "-");
        assert_eq!(instant(1_772_334_727_250), "2026-03-01 03:12:07 UTC");
        assert_eq!(precise(1_772_334_727_250), "2026-03-01 03:12:07.250");
        assert!(instant(u64::MAX).contains("since 1970"));
        assert_eq!((count(1, "fault"), count(2, "fault")), ("1 fault".into(), "2 faults".into()));
    }
}
