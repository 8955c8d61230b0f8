//! The five fields of a crontab line, as every administrator knows them: minute,
//! hour, day of the month, month, day of the week.
//!
//! As with cron, a day counts when either of its two fields names it, if neither
//! begins with `*`; otherwise when both do.

use jiff::civil::{Date, Time};
use std::str::FromStr;

/// What is wrong with such a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error(
        "`{0}` has not five fields: minute hour day-of-month month day-of-week, as \"0 2 * * *\" for daily at 02:00"
    )]
    Fields(String),
    /// One cannot be read.
    #[error("{field}: `{given}` is not in {low}-{high}; write numbers, 1,2,5-7, *, or */15")]
    Field {
        /// Which.
        field: &'static str,
        /// What stands there.
        given: String,
        /// The least.
        low: u8,
        /// The most.
        high: u8,
    },
}

/// A crontab line's five fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether a field begins with `*`.
    any_hour: bool,
    any_day: bool,
    any_weekday: bool,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// One field: what it may hold.
struct Form {
    name: &'static str,
    low: u8,
    high: u8,
    /// Words for the numbers from `low` on.
    words: &'static [&'static str],
}

const FORMS: [Form; 5] = [
    Form { name: "minute", low: 0, high: 59, words: &[] },
    Form { name: "hour", low: 0, high: 23, words: &[] },
    Form { name: "day of the month", low: 1, high: 31, words: &[] },
    Form { name: "month", low: 1, high: 12, words: &MONTHS },
    // 7 is Sunday, too.
    Form { name: "day of the week", low: 0, high: 7, words: &WEEKDAYS },
];

impl Form {
    /// The numbers that a field names, as bits.
    fn read(&self, field: &str) -> Result<u64, CronError> {
        let bad = || CronError::Field {
            field: self.name,
            given: field.into(),
            low: self.low,
            high: self.high,
        };
        let mut bits = 0;
        for part in field.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step.parse::<u8>().map_err(|_| bad())?)),
                None => (part, None),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (self.low, self.high),
                Some((first, last)) => {
                    (self.number(first).ok_or_else(bad)?, self.number(last).ok_or_else(bad)?)
                }
                None => {
                    let first = self.number(range).ok_or_else(bad)?;
                    // `5/10` is 5, 15, 25 and so on, as cron has it.
                    (first, if step.is_some() { self.high } else { first })
                }
            };
            if first > last || step == Some(0) {
                return Err(bad());
            }
            for number in (first..=last).step_by(usize::from(step.unwrap_or(1))) {
                bits |= 1 << number;
            }
        }
        Ok(bits)
    }

    fn number(&self, text: &str) -> Option<u8> {
        let lower = text.to_ascii_lowercase();
        let word = self.words.iter().position(|word| *word == lower);
        let number = match word {
            Some(at) => self.low.checked_add(u8::try_from(at).ok()?)?,
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (self.low..=self.high).contains(&number).then_some(number)
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(CronError::Fields(text.into()));
        };
        let [minute, hour, day, month, weekday] = &FORMS;
        let of_week = weekday.read(weekdays)?;
        Ok(Self {
            minutes: minute.read(minutes)?,
            hours: hour.read(hours)?,
            days: day.read(days)?,
            months: month.read(months)?,
            weekdays: (of_week | (of_week >> 7)) & 0x7f,
            any_hour: hours.starts_with('*'),
            any_day: days.starts_with('*'),
            any_weekday: weekdays.starts_with('*'),
        })
    }
}

fn has(bits: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| bits.checked_shr(number).unwrap_or(0) & 1 == 1)
}

impl Cron {
    /// Whether it follows the time that passes, not certain hours on the wall.
    pub(super) const fn every_hour(&self) -> bool {
        self.any_hour
    }

    /// Whether a day is named.
    pub(super) fn is_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let named = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        named && has(self.months, date.month())
    }

    /// The times on such a day, in order.
    pub(super) fn times(&self) -> impl Iterator<Item = Time> {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        hours.flat_map(|hour| {
            let minutes = (0..60).filter(|minute| has(self.minutes, *minute));
            minutes.map(move |minute| Time::constant(hour, minute, 0, 0))
        })
    }

    /// Whether the clock on the wall shows one of its turns.
    #[cfg(test)]
    pub(super) fn shows(&self, at: jiff::civil::DateTime) -> bool {
        self.is_day(at.date()) && has(self.hours, at.hour()) && has(self.minutes, at.minute())
    }
}
