//! Schedules against the clock itself, over every change of a year's offsets.

use super::{Cron, Schedule};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use proptest::prelude::*;
use std::time::Duration;

/// Berlin's rule, without asking the host for its zones.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next turns after a moment, as UTC.
fn turns(cron: &str, zone: TimeZone, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::calendar(cron.parse().unwrap(), zone, Duration::ZERO);
    let mut now = at(after);
    let next = |_| {
        now = schedule.next(now, "").unwrap();
        now.to_string()
    };
    (0..count).map(next).collect()
}

#[test]
fn a_turn_in_the_hour_that_does_not_exist_comes_at_its_end() {
    // On 29 March 2026 Berlin goes from 02:00 to 03:00, at 01:00 UTC.
    assert_eq!(
        turns("30 2 * * *", berlin(), "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        turns("0,30 2,3 * * *", berlin(), "2026-03-29T00:00:00Z", 3),
        ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:00:00Z"],
        "one moment, one turn"
    );
    assert_eq!(
        turns("*/30 * * * *", berlin(), "2026-03-29T00:10:00Z", 3),
        ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]
    );
}

#[test]
fn a_turn_in_the_hour_that_comes_twice_is_taken_once_unless_it_is_for_every_hour() {
    // On 25 October 2026 Berlin goes from 03:00 back to 02:00, at 01:00 UTC.
    assert_eq!(
        turns("30 2 * * *", berlin(), "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    assert_eq!(
        turns("30 * * * *", berlin(), "2026-10-25T00:00:00Z", 3),
        ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"]
    );
}

#[test]
fn days_are_named_as_cron_names_them() {
    let utc = || TimeZone::UTC;
    let from = "2026-11-21T10:00:00Z"; // a Saturday
    assert_eq!(turns("0 3 * * sun", utc(), from, 1), ["2026-11-22T03:00:00Z"]);
    assert_eq!(turns("0 3 * * 7", utc(), from, 1), ["2026-11-22T03:00:00Z"]);
    assert_eq!(turns("0 3 1 * *", utc(), from, 1), ["2026-12-01T03:00:00Z"]);
    assert_eq!(turns("0 3 29 feb *", utc(), from, 1), ["2028-02-29T03:00:00Z"]);
    assert_eq!(
        turns("0 3 1 * mon", utc(), from, 3),
        ["2026-11-23T03:00:00Z", "2026-11-30T03:00:00Z", "2026-12-01T03:00:00Z"]
    );
    assert_eq!(
        turns("5/20 22-23 * * 1-5", utc(), from, 4),
        [
            "2026-11-23T22:05:00Z",
            "2026-11-23T22:25:00Z",
            "2026-11-23T22:45:00Z",
            "2026-11-23T23:05:00Z"
        ]
    );
    let never = Schedule::calendar("0 0 30 2 *".parse().unwrap(), utc(), Duration::ZERO);
    assert_eq!(never.next(at(from), ""), None);
}

#[test]
fn what_cannot_be_read_is_told_with_the_field() {
    for (text, word) in [
        ("", "five fields"),
        ("0 2 * *", "five fields"),
        ("60 2 * * *", "minute: `60`"),
        ("0 24 * * *", "hour"),
        ("0 2 0 * *", "day of the month"),
        ("0 2 * 13 *", "month"),
        ("0 2 * * fry", "day of the week"),
        ("*/0 * * * *", "minute"),
        ("30-10 * * * *", "minute"),
        ("-1 * * * *", "minute"),
        ("1, * * * *", "minute"),
        ("+5 * * * *", "minute"),
    ] {
        let error = text.parse::<Cron>().unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn the_form_is_checked() {
    let read = |text: &str| toml_like(text);
    assert!(read(r#"{"every":"15min"}"#).is_ok());
    assert!(read(r#"{"cron":"0 2 * * *","zone":"UTC","jitter":"5min"}"#).is_ok());
    for (text, word) in [
        (r"{}", "every = "),
        (r#"{"every":"1s"}"#, "between 10s"),
        (r#"{"every":"1h","cron":"0 2 * * *"}"#, "keep one"),
        (r#"{"every":"1h","zone":"UTC"}"#, "goes with `cron`"),
        (r#"{"cron":"0 2 * *"}"#, "five fields"),
        (r#"{"cron":"0 2 * * *","zone":"Mars/Base"}"#, "no time zone"),
        (r#"{"cron":"0 2 * * *","jitter":"7h"}"#, "more than 6h"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
}

fn toml_like(json: &str) -> Result<Schedule, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

proptest! {
    /// Every minute of three days around a change is asked what the wall's clock
    /// shows; that is the truth that the turns are held against.
    #[test]
    fn turns_are_what_the_clock_on_the_wall_shows(
        minute in prop_oneof![Just("0"), Just("*/7"), Just("15,45"), Just("59"), Just("30")],
        hour in prop_oneof![Just("*"), Just("*/2"), Just("2"), Just("1-3"), Just("0,2,23")],
        day in prop_oneof![Just("*"), Just("29"), Just("25-26"), Just("*/2")],
        weekday in prop_oneof![Just("*"), Just("sun"), Just("1-6")],
        spring: bool,
    ) {
        let cron: Cron = format!("{minute} {hour} {day} * {weekday}").parse().unwrap();
        let zone = berlin();
        let schedule = Schedule::calendar(cron.clone(), zone.clone(), Duration::ZERO);
        let begin = at(if spring { "2026-03-28T00:00:00Z" } else { "2026-10-24T00:00:00Z" });
        let end = begin + 72.hours();
        let mut shown = Vec::new();
        let mut moment = begin + 1.minute();
        while moment <= end {
            let clock = moment.to_zoned(zone.clone()).datetime();
            let before = (moment - 1.hour()).to_zoned(zone.clone()).datetime();
            let again = before == clock;
            if cron.shows(clock) && (cron.every_hour() || !again) {
                shown.push(moment);
            }
            // What the clock jumped over, where hours are named.
            let minute_ago = (moment - 1.minute()).to_zoned(zone.clone()).datetime();
            let mut skipped = minute_ago + 1.minute();
            while skipped < clock && !cron.every_hour() {
                if cron.shows(skipped) && shown.last() != Some(&moment) {
                    shown.push(moment);
                }
                skipped += 1.minute();
            }
            moment += 1.minute();
        }
        let mut turns = Vec::new();
        let mut now = begin;
        while let Some(next) = schedule.next(now, "").filter(|next| *next <= end) {
            prop_assert!(next > now);
            turns.push(next);
            now = next;
        }
        prop_assert_eq!(turns, shown);
    }

    /// Each host has its own delay, always the same, within the bound.
    #[test]
    fn the_jitter_is_bounded_and_stable(
        seconds in 10_u64..100_000, jitter in 0_u64..30_000, key in "[a-z0-9/]{1,20}",
        from in 0_i64..4_000_000_000,
    ) {
        let every = Duration::from_secs(seconds);
        let schedule = Schedule::every(every, Duration::from_secs(jitter));
        let now = Timestamp::from_second(from).unwrap();
        let first = schedule.next(now, &key).unwrap();
        let second = schedule.next(first, &key).unwrap();
        prop_assert!(first > now && first.duration_since(now).unsigned_abs() <= every);
        prop_assert_eq!(second.duration_since(first).unsigned_abs(), every);
        let delay = u128::from(first.as_millisecond().unsigned_abs()) % every.as_millis();
        prop_assert!(delay <= (every / 4).as_millis().min(u128::from(jitter) * 1000));
    }
}

#[test]
fn hosts_with_the_same_schedule_do_not_begin_together() {
    let schedule = Schedule::every(Duration::from_secs(3600), Duration::from_secs(600));
    let begin = |host: u32| schedule.next(Timestamp::UNIX_EPOCH, &format!("p{host}/db")).unwrap();
    let mut begins: Vec<i64> = (0..100).map(|host| begin(host).as_second() / 60).collect();
    begins.sort_unstable();
    begins.dedup();
    assert!(begins.len() >= 9, "a hundred hosts, ten minutes: {begins:?}");
}
