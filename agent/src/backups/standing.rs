//! What the agent says of each source: how old its newest proven copies are.
//!
//! A copy counts as surviving where its repository would outlive this host, as
//! agent.toml says (`survives`); the copy beside the original is lost with it.

use backup::{
    Config, SourceConfig,
    status::{Attempt, CopyMade, Rate, Status},
};
use jiff::Timestamp;
use model::{AttemptRate, BackupStanding, CopyAge, GroupId, Millis, SourceName};
use std::time::Duration;

/// Digits of a snapshot's id that people see, as `restic` shows them.
const SHORT: usize = 8;

/// One source, with points in time; ages are of the moment they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    source: SourceName,
    group: Option<GroupId>,
    survives: bool,
    surviving: Option<CopyMade>,
    newest: Option<CopyMade>,
    target: Option<Duration>,
    max: Option<Duration>,
    last_run: Option<Attempt>,
    next: Option<Timestamp>,
    runs: Rate,
    proofs: Rate,
}

/// The time between two moments; nothing where the clock was put back.
fn between(from: Timestamp, to: Timestamp) -> Millis {
    Millis(u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0))
}

fn length(length: Duration) -> Millis {
    Millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

fn rate(of: Rate) -> AttemptRate {
    AttemptRate { count: of.count, well: of.well, took_p95: Millis(of.took_p95_ms) }
}

impl Told {
    /// As the status file has it; `next` is its next turn. `None` for a name that
    /// no other part of us would take.
    pub(super) fn of(
        config: &Config,
        source: &SourceConfig,
        status: &Status,
        next: Option<Timestamp>,
    ) -> Option<Self> {
        let survives = |name: &str| {
            config.repositories.iter().any(|known| known.name == name && known.survives)
        };
        let own = super::repositories(config, source);
        let within = |name: &str| own.contains(name);
        Some(Self {
            source: SourceName::new(source.name.clone()).ok()?,
            group: source.when.group.clone().and_then(|name| GroupId::new(name).ok()),
            survives: own.iter().any(|name| survives(name)),
            surviving: status.newest_verified(|name| within(name) && survives(name)).cloned(),
            newest: status.newest_verified(within).cloned(),
            target: source.when.rpo_target,
            max: source.when.rpo_max,
            last_run: status.runs.last().cloned(),
            next,
            runs: Rate::of(&status.runs),
            proofs: Rate::of(&status.proofs),
        })
    }

    /// What is said of it at a moment.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> BackupStanding {
        let copy = |made: &CopyMade| {
            Some(CopyAge {
                snapshot: made.snapshot.chars().take(SHORT).collect(),
                age: between(made.at, now),
                level: made.level?,
                verified: made.verified_at.map_or(Millis::ZERO, |at| between(at, now)),
            })
        };
        let last = self.last_run.as_ref();
        BackupStanding {
            source: self.source.clone(),
            group: self.group.clone(),
            survives: self.survives,
            surviving: self.surviving.as_ref().and_then(copy),
            newest: self.newest.as_ref().and_then(copy),
            target: self.target.map(length),
            max: self.max.map(length),
            last_run: last.map(|run| between(run.at, now).saturating_sub(Millis(run.took_ms))),
            failed: last.and_then(|run| run.failed.clone()).unwrap_or_default(),
            next: self.next.map(|next| between(now, next)),
            runs: rate(self.runs),
            proofs: rate(self.proofs),
        }
    }
}
