//! When a backup or a verification is due: every so often, or by the calendar
//! of a named time zone. Pure: the time is an argument.
//!
//! Where the clock is put forward, a turn at an hour that does not exist comes at
//! the first moment after the gap; where it is put back, a turn at an hour that
//! comes twice is taken the first time. A schedule for every hour (`*`) follows
//! the time that really passes: none is left out and none is taken twice.

mod cron;

pub use cron::{Cron, CronError};

use daemon::config::Span;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde::Deserialize;
use std::time::Duration;

/// The shortest `every`: a backup's own cost is some tenths of a second.
const EVERY_MIN: Duration = Duration::from_secs(10);
/// The longest: a year.
const EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);
/// How far apart hosts with the same schedule begin, where the file does not say.
const JITTER: Duration = Duration::from_secs(60);
/// The most: later, the schedule would say something else than what happens.
const JITTER_MAX: Duration = Duration::from_secs(6 * 3600);
/// Part of `every` that the jitter may take at most.
const JITTER_PART: u32 = 4;
/// How many days a calendar is searched: 29 February comes after 8 years at the latest.
const SEARCH_DAYS: u32 = 9 * 366;

/// A schedule, checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Schedule {
    turns: Turns,
    jitter: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Turns {
    Every(Duration),
    Calendar(Box<Cron>, TimeZone),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    every: Option<Span>,
    cron: Option<String>,
    zone: Option<String>,
    jitter: Option<Span>,
}

impl TryFrom<Raw> for Schedule {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        Self::of_fields(raw.every, raw.cron, raw.zone.as_deref(), raw.jitter)
    }
}

fn zone_of(name: Option<&str>) -> Result<TimeZone, String> {
    let name = name.unwrap_or("UTC");
    if name == "UTC" {
        // Also where there is no list of zones.
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        format!(
            "zone: `{name}` is no time zone of this host; write for example \"Europe/Berlin\" \
             (they come with the package tzdata)"
        )
    })
}

impl Schedule {
    /// From the fields of a table.
    pub(crate) fn of_fields(
        every: Option<Span>,
        cron: Option<String>,
        zone: Option<&str>,
        jitter: Option<Span>,
    ) -> Result<Self, String> {
        let turns = match (every, cron) {
            (Some(every), None) => {
                if zone.is_some() {
                    return Err("zone: `every` has none; it goes with `cron`".into());
                }
                let length = every.duration();
                if length < EVERY_MIN || length > EVERY_MAX {
                    return Err(format!("every: `{every}` is not between 10s and 366d"));
                }
                Turns::Every(length)
            }
            (None, Some(cron)) => {
                let parsed = cron.parse().map_err(|error: CronError| format!("cron: {error}"))?;
                Turns::Calendar(Box::new(parsed), zone_of(zone)?)
            }
            (Some(_), Some(_)) => return Err("every: there is `cron` already; keep one".into()),
            (None, None) => {
                return Err("write every = \"15min\", or cron = \"0 2 * * *\" with zone".into());
            }
        };
        let jitter = jitter.map_or(JITTER, Span::duration);
        if jitter > JITTER_MAX {
            return Err(format!("jitter: `{}` is more than 6h", Span(jitter)));
        }
        Ok(Self::new(turns, jitter))
    }

    fn new(turns: Turns, jitter: Duration) -> Self {
        let jitter = match &turns {
            Turns::Every(every) => jitter.min(*every / JITTER_PART),
            Turns::Calendar(..) => jitter,
        };
        Self { turns, jitter }
    }

    /// Every so often.
    #[must_use]
    pub fn every(every: Duration, jitter: Duration) -> Self {
        Self::new(Turns::Every(every.max(EVERY_MIN)), jitter)
    }

    /// By a calendar.
    #[must_use]
    pub fn calendar(cron: Cron, zone: TimeZone, jitter: Duration) -> Self {
        Self::new(Turns::Calendar(Box::new(cron), zone), jitter)
    }

    /// The first turn after a moment. `key` says whose: it always gets the same
    /// delay, shorter than the jitter. `None` when there is no such day, as
    /// 30 February.
    #[must_use]
    pub fn next(&self, after: Timestamp, key: &str) -> Option<Timestamp> {
        let delay = self.delay(key);
        let before = after.checked_sub(delay).ok()?;
        let turn = match &self.turns {
            Turns::Every(every) => {
                let every = i64::try_from(every.as_millis()).ok()?;
                let turn = (before.as_millisecond().div_euclid(every) + 1).checked_mul(every)?;
                Timestamp::from_millisecond(turn).ok()?
            }
            Turns::Calendar(cron, zone) => calendar(cron, zone, before)?,
        };
        turn.checked_add(delay).ok()
    }

    /// How long after the hour this one begins.
    fn delay(&self, key: &str) -> Duration {
        let most = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        // FNV-1a: the same in every build, which std's hashes do not promise.
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // Its low bits alone would be alike for keys that end alike.
        let hash = hash ^ (hash >> 32);
        Duration::from_millis(hash.checked_rem(most).unwrap_or(0))
    }
}

/// The first turn of a calendar after a moment.
fn calendar(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    // A gap may push a turn over midnight.
    let mut date = after.to_zoned(zone.clone()).date().checked_sub(1.day()).ok()?;
    for _ in 0..SEARCH_DAYS {
        if cron.is_day(date) {
            let turns = cron.times().flat_map(|time| moments(cron, zone, date.to_datetime(time)));
            if let Some(first) = turns.filter(|turn| *turn > after).min() {
                return Some(first);
            }
        }
        date = date.tomorrow().ok()?;
    }
    None
}

/// When the clock on the wall shows this: once, twice, or never.
fn moments(cron: &Cron, zone: &TimeZone, shown: jiff::civil::DateTime) -> Vec<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(shown);
    let earlier = zone.to_ambiguous_timestamp(shown).earlier().ok();
    match ambiguous.offset() {
        jiff::tz::AmbiguousOffset::Unambiguous { .. } => {
            ambiguous.compatible().into_iter().collect()
        }
        jiff::tz::AmbiguousOffset::Fold { .. } => {
            let later = ambiguous.later().ok().filter(|_| cron.every_hour());
            earlier.into_iter().chain(later).collect()
        }
        jiff::tz::AmbiguousOffset::Gap { .. } if cron.every_hour() => Vec::new(),
        jiff::tz::AmbiguousOffset::Gap { .. } => {
            // The gap's end is the change of the offset: the last one before the
            // moment that such a time is usually taken for.
            let beyond = ambiguous.compatible().ok();
            let end = beyond.and_then(|beyond| {
                let change = zone.preceding(beyond + 1.nanosecond()).next()?;
                Some(change.timestamp())
            });
            end.into_iter().collect()
        }
    }
}

#[cfg(test)]
mod tests;
