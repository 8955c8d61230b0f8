//! How far backups have come.

use super::{WireError, named, text, unknown};
use crate::v1;
use model::{AttemptRate, BackupStanding, CopyAge, GroupId, Millis, SourceName};

/// The levels that there are.
const LEVELS: std::ops::RangeInclusive<u32> = 1..=3;

impl From<BackupStanding> for v1::BackupStanding {
    fn from(b: BackupStanding) -> Self {
        Self {
            source: b.source.into(),
            group: b.group.map(Into::into).unwrap_or_default(),
            survives: b.survives,
            surviving: b.surviving.map(Into::into),
            newest: b.newest.map(Into::into),
            target_ms: b.target.map(|length| length.0),
            max_ms: b.max.map(|length| length.0),
            last_run_ms_ago: b.last_run.map(|ago| ago.0),
            failed: b.failed,
            next_in_ms: b.next.map(|left| left.0),
            runs: Some(b.runs.into()),
            proofs: Some(b.proofs.into()),
        }
    }
}

impl TryFrom<v1::BackupStanding> for BackupStanding {
    type Error = WireError;
    fn try_from(b: v1::BackupStanding) -> Result<Self, WireError> {
        let group = match b.group.as_str() {
            "" => None,
            _ => Some(named("BackupStanding", GroupId::new(b.group))?),
        };
        Ok(Self {
            source: named("BackupStanding", SourceName::new(b.source))?,
            group,
            survives: b.survives,
            surviving: b.surviving.map(TryInto::try_into).transpose()?,
            newest: b.newest.map(TryInto::try_into).transpose()?,
            target: b.target_ms.map(Millis),
            max: b.max_ms.map(Millis),
            last_run: b.last_run_ms_ago.map(Millis),
            failed: text(b.failed),
            next: b.next_in_ms.map(Millis),
            runs: b.runs.map(Into::into).unwrap_or_default(),
            proofs: b.proofs.map(Into::into).unwrap_or_default(),
        })
    }
}

impl From<CopyAge> for v1::CopyAge {
    fn from(c: CopyAge) -> Self {
        Self {
            snapshot: c.snapshot,
            age_ms: c.age.0,
            level: c.level.into(),
            verified_ms_ago: c.verified.0,
        }
    }
}

impl TryFrom<v1::CopyAge> for CopyAge {
    type Error = WireError;
    fn try_from(c: v1::CopyAge) -> Result<Self, WireError> {
        let level = u8::try_from(c.level).ok().filter(|_| LEVELS.contains(&c.level));
        let other = i32::try_from(c.level).unwrap_or(i32::MAX);
        Ok(Self {
            snapshot: text(c.snapshot),
            age: Millis(c.age_ms),
            level: level.ok_or_else(|| unknown("CopyAge", "level", other))?,
            verified: Millis(c.verified_ms_ago),
        })
    }
}

impl From<AttemptRate> for v1::AttemptRate {
    fn from(r: AttemptRate) -> Self {
        Self { count: r.count, well: r.well, took_p95_ms: r.took_p95.0 }
    }
}

impl From<v1::AttemptRate> for AttemptRate {
    fn from(r: v1::AttemptRate) -> Self {
        Self { count: r.count, well: r.well.min(r.count), took_p95: Millis(r.took_p95_ms) }
    }
}
