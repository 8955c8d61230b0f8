//! How far a host's backups have come, as its agent says.

use crate::{GroupId, Millis, SourceName};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A copy, by its age: the time since its reading began, on the clock of the host
/// that made it. What was written later is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAge {
    /// The snapshot's id, as far as people need it.
    pub snapshot: String,
    /// How old it is.
    pub age: Millis,
    /// How far it was proven, 1 to 3.
    pub level: u8,
    /// How long ago that was.
    pub verified: Millis,
}

/// How attempts of one kind went of late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRate {
    /// How many there were.
    pub count: u32,
    /// How many of them went well.
    pub well: u32,
    /// The time that 95 of 100 of those took at most.
    pub took_p95: Millis,
}

/// One source of backups of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStanding {
    /// Its name in agent.toml.
    pub source: SourceName,
    /// The group that it belongs to.
    pub group: Option<GroupId>,
    /// Whether one of its repositories would survive the host.
    pub survives: bool,
    /// The newest proven copy that would survive the host.
    pub surviving: Option<CopyAge>,
    /// The newest proven copy, wherever it is.
    pub newest: Option<CopyAge>,
    /// The loss that is aimed at, at most.
    pub target: Option<Millis>,
    /// The loss that is not acceptable.
    pub max: Option<Millis>,
    /// How long ago the last run ended.
    pub last_run: Option<Millis>,
    /// Why it failed; empty when it did not.
    pub failed: String,
    /// Until its next turn; absent where it has no schedule.
    pub next: Option<Millis>,
    /// How copying went.
    pub runs: AttemptRate,
    /// How proving went, levels 2 and 3.
    pub proofs: AttemptRate,
}

impl BackupStanding {
    /// What the host's loss would lose of it, when this was said: the age of the
    /// newest proven copy that survives. `None` where there is none.
    #[must_use]
    pub fn rpo(&self) -> Option<Millis> {
        self.surviving.as_ref().map(|copy| copy.age)
    }
}
