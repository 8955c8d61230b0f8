//! How old the newest copies of a host's data are that would survive the host.

use crate::view::HostView;
use alloc::{string::String, vec::Vec};
use model::{BackupStanding, GroupId, Millis, SourceName};
use serde::{Deserialize, Serialize};

/// One source of backups of the group on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySight {
    /// Which.
    pub source: SourceName,
    /// The age of its newest proven copy that survives the host, the silence since
    /// it was told included; `None` where there is none.
    pub age: Option<Millis>,
    /// That copy's snapshot; empty where there is none.
    pub snapshot: String,
    /// How far it was proven, 1 to 3; 0 where there is none.
    pub level: u8,
    /// Whether one of its repositories would survive the host.
    pub survives: bool,
    /// The loss that is aimed at, at most.
    pub target: Option<Millis>,
    /// The loss that is not acceptable.
    pub max: Option<Millis>,
    /// Why its last run failed; empty when it did not.
    pub failed: String,
}

impl CopySight {
    fn of(standing: &BackupStanding, silence: Millis) -> Self {
        let copy = standing.surviving.as_ref();
        Self {
            source: standing.source.clone(),
            age: copy.map(|copy| copy.age + silence),
            snapshot: copy.map(|copy| copy.snapshot.clone()).unwrap_or_default(),
            level: copy.map_or(0, |copy| copy.level),
            survives: standing.survives,
            target: standing.target,
            max: standing.max,
            failed: standing.failed.clone(),
        }
    }

    /// Whether a bound is passed; also where there is a bound and no copy.
    #[must_use]
    pub fn beyond(&self, bound: Option<Millis>) -> bool {
        bound.is_some_and(|bound| self.age.is_none_or(|age| age > bound))
    }
}

/// The group's sources on a host, as last heard `silence` ago.
pub(super) fn copies(group: &GroupId, seen: &HostView, silence: Millis) -> Vec<CopySight> {
    let of = seen.heartbeat.backups.iter().filter(|known| known.group.as_ref() == Some(group));
    of.map(|standing| CopySight::of(standing, silence)).collect()
}
