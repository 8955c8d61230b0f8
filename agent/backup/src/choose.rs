//! Which snapshot is meant: by its id, by a time, or the newest.

use crate::{error::BackupError, repository::Snapshot};
use daemon::config::Span;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::time::Duration;

/// What a user said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Which {
    pub(crate) id: Option<String>,
    pub(crate) at: Option<Timestamp>,
    /// Whether one that was never verified may be chosen by its time.
    pub(crate) unverified: bool,
}

/// The snapshot that is meant, of one source and host, oldest first in `all`.
/// By time it is the newest verified one that is not newer.
pub(crate) fn choose<'a>(
    all: &'a [Snapshot],
    source: &str,
    host: &str,
    which: &Which,
) -> Result<&'a Snapshot, BackupError> {
    let of: Vec<&Snapshot> = all.iter().filter(|one| one.is_of(source, host)).collect();
    let none = |words: String| Err(BackupError::NoSnapshot(words));
    if let Some(id) = &which.id {
        let found: Vec<&&Snapshot> = of
            .iter()
            .filter(|one| one.file.id.to_hex().as_str().starts_with(id.as_str()))
            .collect();
        return match found.as_slice() {
            [one] => Ok(one),
            [] => none(format!(
                "there is no snapshot {id} of `{source}` of host {host}; `understudy-agent backup list {source}` shows them"
            )),
            _ => none(format!("{id} is the beginning of several snapshots' ids; write more of it")),
        };
    }
    let until = |one: &&&Snapshot| which.at.is_none_or(|at| one.file.time.timestamp() <= at);
    let newest = of.iter().rev().find(until);
    let verified = of.iter().rev().filter(|one| one.verified.is_some()).find(until);
    match (verified, newest) {
        (Some(one), _) if !which.unverified => Ok(one),
        (_, Some(one)) if which.unverified => Ok(one),
        (None, Some(one)) => none(format!(
            "no snapshot of `{source}` of host {host} so old was ever verified; the newest is {}: run \
             `understudy-agent backup verify {source} --snapshot {}`, or add --unverified",
            one.short(),
            one.short()
        )),
        _ => {
            let hosts: Vec<&str> = all
                .iter()
                .filter(|one| one.source().as_deref() == Some(source))
                .map(|one| one.file.hostname.as_str())
                .collect();
            let hint = match hosts.iter().find(|other| **other != host) {
                Some(other) => format!("; there are some of another host: --host {other}"),
                None => String::new(),
            };
            none(format!("there is no snapshot of `{source}` of host {host} at that time{hint}"))
        }
    }
}

/// A time as an operator writes it: `2026-11-21T10:00:00Z`, `2026-11-21 10:00`
/// in this host's zone, or `1h` (or `1h ago`) before now.
pub(crate) fn time(text: &str, now: Timestamp) -> Result<Timestamp, BackupError> {
    let bad = || BackupError::Time(text.into());
    let span = text.strip_suffix("ago").unwrap_or(text).trim();
    if let Ok(span) = span.parse::<Span>() {
        let back: Duration = span.into();
        return now.checked_sub(back).map_err(|_| bad());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let local: DateTime = text.parse().map_err(|_| bad())?;
    local.to_zoned(TimeZone::system()).map(|at| at.timestamp()).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        for (text, wanted) in [
            ("1h", "2026-11-21T09:00:00Z"),
            ("90min ago", "2026-11-21T08:30:00Z"),
            ("2026-11-20T23:30:00Z", "2026-11-20T23:30:00Z"),
            ("2026-11-20T23:30:00+01:00", "2026-11-20T22:30:00Z"),
        ] {
            assert_eq!(time(text, now).unwrap().to_string(), wanted, "{text}");
        }
        let local = time("2026-11-20 23:30", now).unwrap();
        assert_eq!(
            local.to_zoned(TimeZone::system()).strftime("%F %R").to_string(),
            "2026-11-20 23:30"
        );
        for text in ["", "yesterday", "ago", "25:00", "99999999999d"] {
            assert!(matches!(time(text, now), Err(BackupError::Time(_))), "{text}");
        }
    }
}
