//! Which copies of one source stay, and which rule says so. Pure.
//!
//! The newest verified copy always stays, and the newest of all: whatever the
//! rules say, something to restore is left.

use crate::config::Keep;
use jiff::{Timestamp, tz::TimeZone};

/// A copy, as retention sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy {
    pub(crate) at: Timestamp,
    pub(crate) verified: bool,
}

/// Why a copy stays; empty when it goes.
pub(crate) type Reasons = Vec<&'static str>;

/// A period's number: equal for two times within the same one.
type Period = fn(&jiff::Zoned) -> i64;

/// The rules for `copies`, in the same order; periods are those of `zone`.
pub(crate) fn apply(copies: &[Copy], keep: &Keep, zone: &TimeZone) -> Vec<Reasons> {
    let mut reasons: Vec<Reasons> = vec![Vec::new(); copies.len()];
    let mut newest_first: Vec<usize> = (0..copies.len()).collect();
    newest_first.sort_by_key(|&at| std::cmp::Reverse(copies[at].at));
    for &at in newest_first.iter().take(keep.last as usize) {
        reasons[at].push("last");
    }
    let day = |at: &jiff::Zoned| i64::from(at.year()) * 366 + i64::from(at.day_of_year());
    let rules: [(&'static str, u32, Period); 5] = [
        ("hourly", keep.hourly, |at| at.timestamp().as_second().div_euclid(3600)),
        ("daily", keep.daily, day),
        ("weekly", keep.weekly, |at| {
            let week = at.date().iso_week_date();
            i64::from(week.year()) * 54 + i64::from(week.week())
        }),
        ("monthly", keep.monthly, |at| i64::from(at.year()) * 12 + i64::from(at.month())),
        ("yearly", keep.yearly, |at| i64::from(at.year())),
    ];
    for (word, count, period) in rules {
        let mut seen = None;
        let mut left = count;
        for &at in &newest_first {
            let number = period(&copies[at].at.to_zoned(zone.clone()));
            if left > 0 && seen != Some(number) {
                (seen, left) = (Some(number), left - 1);
                reasons[at].push(word);
            }
        }
    }
    if let Some(&newest) = newest_first.first() {
        reasons[newest].push("newest");
    }
    if let Some(&at) = newest_first.iter().find(|&&at| copies[at].verified) {
        reasons[at].push("newest verified");
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Keep = Keep { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 };

    fn copies(times: &[&str]) -> Vec<Copy> {
        times.iter().map(|at| Copy { at: at.parse().unwrap(), verified: false }).collect()
    }

    fn kept(copies: &[Copy], keep: &Keep) -> Vec<usize> {
        let reasons = apply(copies, keep, &TimeZone::UTC);
        (0..copies.len()).filter(|&at| !reasons[at].is_empty()).collect()
    }

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        let list = copies(&[
            "2026-01-31T23:59:00Z",
            "2026-02-01T00:01:00Z",
            "2026-02-01T00:59:00Z",
            "2026-02-01T01:00:00Z",
            "2026-02-02T10:00:00Z",
        ]);
        assert_eq!(kept(&list, &NONE), [4], "the newest stays");
        assert_eq!(kept(&list, &Keep { last: 2, ..NONE }), [3, 4]);
        assert_eq!(kept(&list, &Keep { hourly: 3, ..NONE }), [2, 3, 4]);
        assert_eq!(kept(&list, &Keep { daily: 3, ..NONE }), [0, 3, 4]);
        // 2026-02-01 is a Sunday, 2026-02-02 a Monday.
        assert_eq!(kept(&list, &Keep { weekly: 2, ..NONE }), [3, 4]);
        assert_eq!(kept(&list, &Keep { monthly: 2, ..NONE }), [0, 4]);
        assert_eq!(kept(&list, &Keep { yearly: 5, ..NONE }), [4]);
        let reasons = apply(&list, &Keep { last: 1, daily: 1, ..NONE }, &TimeZone::UTC);
        assert_eq!(reasons[4], ["last", "daily", "newest"]);
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let list = copies(&["2026-02-01T22:30:00Z", "2026-02-01T23:30:00Z"]);
        let keep = Keep { daily: 2, ..NONE };
        assert_eq!(kept(&list, &keep), [1]);
        let reasons = apply(&list, &keep, &TimeZone::fixed(jiff::tz::offset(1)));
        assert!(reasons.iter().all(|reasons| reasons.contains(&"daily")), "{reasons:?}");
    }

    #[test]
    fn the_only_verified_copy_stays_however_old() {
        let mut list =
            copies(&["2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]);
        list[0].verified = true;
        let reasons = apply(&list, &Keep { last: 1, ..NONE }, &TimeZone::UTC);
        assert_eq!(reasons[0], ["newest verified"]);
        assert!(reasons[1].is_empty());
        list[1].verified = true;
        assert_eq!(kept(&list, &Keep { last: 1, ..NONE }), [1, 2], "a newer proof frees the older");
    }

    #[test]
    fn nothing_is_kept_of_nothing() {
        assert!(apply(&[], &Keep::default(), &TimeZone::UTC).is_empty());
    }
}
