//! Removing what no rule keeps: snapshots by their ids, then the data that none
//! is left of.
//!
//! Data is first marked and removed a day later, by the next prune: whoever
//! reads beside us still finds it. Snapshots that are not ours are never touched.

use crate::{
    config::{Config, RepositoryConfig, Target},
    error::BackupError,
    repository::{Opened, RepositoryError, Snapshot},
    retention::{self, Copy, Reasons},
};
use jiff::tz::TimeZone;
use rustic_core::PruneOptions;
use serde::Serialize;
use std::collections::BTreeMap;

/// What happens to one snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct Fate {
    pub(crate) repository: String,
    pub(crate) source: String,
    pub(crate) host: String,
    pub(crate) snapshot: String,
    pub(crate) at: jiff::Timestamp,
    pub(crate) verified_level: Option<u8>,
    /// The rules that keep it; none when it goes.
    pub(crate) kept_by: Reasons,
}

/// What a prune did, or would do.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Pruned {
    pub(crate) dry_run: bool,
    pub(crate) fates: Vec<Fate>,
    /// Bytes of packs that nothing needs any more.
    pub(crate) unused_bytes: u64,
    /// Who prunes it, when that is another host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pruned_by: Option<PrunedBy>,
}

/// A repository that another host prunes.
#[derive(Debug, Serialize)]
pub(crate) struct PrunedBy {
    pub(crate) repository: String,
    pub(crate) host: String,
}

/// Prunes one repository; `only` names one source.
pub(crate) fn prune(
    config: &Config,
    repository: &RepositoryConfig,
    only: Option<&str>,
    dry_run: bool,
) -> Result<Pruned, BackupError> {
    if let Target::Agent(of) = &repository.target {
        // Whoever holds the copies removes them: a thief here cannot.
        let (repository, host) = (repository.name.clone(), of.host.clone());
        return Ok(Pruned {
            dry_run,
            pruned_by: Some(PrunedBy { repository, host }),
            ..Pruned::default()
        });
    }
    let opened = Opened::open(config, repository)?;
    let snapshots = opened.snapshots()?;
    let (fates, going) = decide(config, repository, &snapshots, only);
    let mut pruned = Pruned { dry_run, fates, ..Pruned::default() };
    if dry_run {
        return Ok(pruned);
    }
    let library = RepositoryError::library("the prune failed");
    let ids: Vec<_> = going.iter().map(|snapshot| snapshot.file.id).collect();
    opened.library().delete_snapshots(&ids).map_err(&library)?;
    for snapshot in going {
        opened.forget(&snapshot.file)?;
    }
    let options = PruneOptions::default();
    let plan = opened.library().prune_plan(&options).map_err(&library)?;
    pruned.unused_bytes = plan.stats.size_sum().unused;
    opened.library().prune(&options, plan).map_err(&library)?;
    Ok(pruned)
}

/// The rules, source by source and host by host; `only` leaves the others alone.
fn decide<'a>(
    config: &Config,
    repository: &RepositoryConfig,
    snapshots: &'a [Snapshot],
    only: Option<&str>,
) -> (Vec<Fate>, Vec<&'a Snapshot>) {
    let mut groups: BTreeMap<(String, String), Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        let Some(source) = snapshot.source() else { continue };
        if only.is_none_or(|only| only == source) {
            groups.entry((source, snapshot.file.hostname.clone())).or_default().push(snapshot);
        }
    }
    let (mut fates, mut going) = (Vec::new(), Vec::new());
    for ((source, host), list) in groups {
        let copies: Vec<Copy> = list
            .iter()
            .map(|of| Copy { at: of.file.time.timestamp(), verified: of.verified.is_some() })
            .collect();
        // A source that agent.toml no longer names goes by the repository's rule.
        let keep = config
            .source(&source)
            .map_or(repository.keep, |known| config.keep_of(known, repository));
        let reasons = retention::apply(&copies, &keep, &TimeZone::system());
        for (snapshot, kept_by) in list.into_iter().zip(reasons) {
            if kept_by.is_empty() {
                going.push(snapshot);
            }
            fates.push(Fate {
                repository: repository.name.clone(),
                source: source.clone(),
                host: host.clone(),
                snapshot: snapshot.short(),
                at: snapshot.file.time.timestamp(),
                verified_level: snapshot.verified.as_ref().map(|verified| verified.level.into()),
                kept_by,
            });
        }
    }
    (fates, going)
}
