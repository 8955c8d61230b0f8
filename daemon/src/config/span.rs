//! Lengths of time as people write them: `500ms`, `5s`, `10min`, `24h`, `90d`.
//!
//! One number and one unit, so that nothing is ambiguous; `m` alone is refused
//! because it could be a month. Usable as a type ([`Span`]), for a
//! [`Duration`] field with `#[serde(with = "daemon::config::span")]`, and for an
//! `Option<Duration>` with `#[serde(default, with = "daemon::config::span_option")]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr, time::Duration};

/// What errors say is accepted.
const FORMS: &str = "use a whole number and a unit in quotes, \
     such as \"500ms\", \"5s\", \"10min\", \"24h\" or \"90d\"";

/// The units with their length in milliseconds, shortest first.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// No number, no unit, or one that is not known.
    #[error("`{given}` is not a length of time; {FORMS}")]
    Form {
        /// The text as it came.
        given: String,
    },
    /// More than 64 bits of milliseconds.
    #[error("`{given}` is longer than can be counted; {FORMS}")]
    TooLong {
        /// The text as it came.
        given: String,
    },
}

/// A length of time, to the millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl Span {
    /// This many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// This many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The length for the standard library.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// The length in whole milliseconds, saturating.
    #[must_use]
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let form = || SpanError::Form { given: text.into() };
        let too_long = || SpanError::TooLong { given: text.into() };
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
        let (digits, unit) = text.split_at(split);
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
        if digits.is_empty() {
            return Err(form());
        }
        let number: u64 = digits.parse().map_err(|_| too_long())?;
        number.checked_mul(*factor).map(Self::from_millis).ok_or_else(too_long)
    }
}

impl fmt::Display for Span {
    /// In the longest unit that needs no fraction, as it can be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.millis();
        let exact = |(_, length): &&(&str, u64)| millis.is_multiple_of(*length);
        let (unit, length) = match UNITS.iter().rev().find(exact) {
            Some(found) if millis > 0 => *found,
            Some(_) | None => ("s", 1000),
        };
        f.pad(&format!("{}{unit}", millis / length))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a length of time; {FORMS}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// For `#[serde(with = "daemon::config::span")]`.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    Span(*value).serialize(serializer)
}

/// For `#[serde(with = "daemon::config::span")]`.
///
/// # Errors
/// The accepted forms, in words.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Span::deserialize(deserializer).map(|span| span.0)
}
