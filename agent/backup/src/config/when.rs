//! When a source is copied and proven by itself, and how much may be lost of it.

use crate::{repository::Level, schedule::Schedule};
use daemon::config::Span;
use serde::Deserialize;
use std::time::Duration;

/// How much is read at level 2 where nothing is said: enough to meet a bad disk
/// within days, little enough to run daily.
pub(crate) const SAMPLE_PERCENT: u8 = 10;
/// Bounds of an RPO.
const RPO_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(366 * 86_400));

/// When, of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct When {
    /// When the agent copies it; never by itself when absent.
    pub schedule: Option<Schedule>,
    /// When it proves the newest copy, and how far.
    pub verify: Vec<VerifyTurn>,
    /// Whether a change of its files is a reason to copy it.
    pub on_change: bool,
    /// The loss that is aimed at, at most.
    pub rpo_target: Option<Duration>,
    /// The loss that is not acceptable.
    pub rpo_max: Option<Duration>,
    /// The group that it belongs to.
    pub group: Option<String>,
}

/// One `verify` of a source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawVerify")]
pub struct VerifyTurn {
    /// When.
    pub schedule: Schedule,
    /// How far: 2 or 3.
    pub level: Level,
    /// At level 2: how much of the data is read.
    pub percent: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVerify {
    every: Option<Span>,
    cron: Option<String>,
    zone: Option<String>,
    jitter: Option<Span>,
    level: Option<u8>,
    percent: Option<u8>,
}

impl TryFrom<RawVerify> for VerifyTurn {
    type Error = String;

    fn try_from(raw: RawVerify) -> Result<Self, String> {
        let schedule = Schedule::of_fields(raw.every, raw.cron, raw.zone.as_deref(), raw.jitter)?;
        let level = match raw.level {
            None | Some(2) => Level::ReadBack,
            Some(3) => Level::Restored,
            Some(1) => {
                return Err(
                    "level: every copy is proven to level 1 when it is made; write 2 or 3".into()
                );
            }
            Some(other) => return Err(format!("level: there is no level {other}; write 2 or 3")),
        };
        let percent = match (level, raw.percent) {
            (Level::Restored | Level::Structure, Some(_)) => {
                return Err("percent: level 3 reads everything; leave it out".into());
            }
            (Level::Restored | Level::Structure, None) => 100,
            (Level::ReadBack, None) => SAMPLE_PERCENT,
            (Level::ReadBack, Some(percent @ 1..=100)) => percent,
            (Level::ReadBack, Some(other)) => {
                return Err(format!("percent: `{other}` is not between 1 and 100"));
            }
        };
        Ok(Self { schedule, level, percent })
    }
}

/// The fields as they stand in a `[[backup]]`.
pub(super) struct Fields {
    pub(super) schedule: Option<Schedule>,
    pub(super) verify: Vec<VerifyTurn>,
    pub(super) on_change: Option<bool>,
    pub(super) rpo_target: Option<Span>,
    pub(super) rpo_max: Option<Span>,
    pub(super) group: Option<String>,
}

impl Fields {
    /// `watched`: whether its files can be watched. `checked`: whether there is a
    /// `check`.
    pub(super) fn read(self, watched: bool, checked: bool) -> Result<When, String> {
        if self.on_change == Some(true) && !watched {
            return Err("on_change: only files can be watched (kind = \"paths\"); \
                        write a short schedule, as { every = \"1min\" }"
                .into());
        }
        if !checked && self.verify.iter().any(|turn| turn.level == Level::Restored) {
            return Err("verify: level 3 asks the source's own `check`, and it has none".into());
        }
        let span = |field: &str, given: Option<Span>| match given.map(Span::duration) {
            Some(length) if length < RPO_RANGE.0 || length > RPO_RANGE.1 => {
                Err(format!("{field}: `{}` is not between 1s and 366d", Span(length)))
            }
            other => Ok(other),
        };
        let target = span("rpo_target", self.rpo_target)?;
        let max = span("rpo_max", self.rpo_max)?;
        if let (Some(target), Some(max)) = (target, max)
            && target > max
        {
            return Err(format!(
                "rpo_target: `{}` is more than rpo_max, `{}`",
                Span(target),
                Span(max)
            ));
        }
        Ok(When {
            schedule: self.schedule,
            verify: self.verify,
            on_change: self.on_change.unwrap_or(false),
            rpo_target: target,
            rpo_max: max,
            group: self.group,
        })
    }
}
