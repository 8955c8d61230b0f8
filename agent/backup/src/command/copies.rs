//! The verbs that take one copy out of a repository: to prove it, to bring it back.

use super::{Answer, Common, named, sources, tell};
use crate::{
    choose::{self, Which},
    config::{Config, RepositoryConfig, SourceConfig},
    error::BackupError,
    repository::{Opened, Snapshot, Verified},
    restore::{self, Asked},
    status,
    verify::{self, Wanted},
};
use daemon::exit::Exit;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct Proven {
    pub(super) source: String,
    pub(super) repository: String,
    pub(super) snapshot: String,
    pub(super) level: u8,
    pub(super) read_percent: u8,
    pub(super) at: jiff::Timestamp,
}

pub(super) fn verify_all(
    config: &Config,
    common: &Common,
    wanted: &Wanted,
    which: &Which,
    host: &str,
) -> Result<Answer, BackupError> {
    let (mut proven, mut failures, mut unnoted) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources(config, common)? {
        let mut one = |repository: &RepositoryConfig| {
            let (begun, mut chosen) = (jiff::Timestamp::now(), None);
            let ended = prove(config, source, repository, (host, which, wanted), &mut chosen);
            // A repository without the snapshot that is meant says nothing of it.
            if chosen.is_some() || which.id.is_none() {
                let told = ended.as_ref().map(|(verified, _)| verified);
                unnoted
                    .extend(status::proved(config, source, begun, chosen.as_deref(), told).err());
            }
            ended.map(|(_, proven)| proven)
        };
        let repositories = config.repositories_of(source);
        let mut elsewhere = Vec::new();
        let before = proven.len();
        for repository in &repositories {
            match one(repository) {
                Ok(one) => proven.push(one),
                // A snapshot is in one repository, and that is enough.
                Err(error @ BackupError::NoSnapshot(_)) if which.id.is_some() => {
                    elsewhere.push(error);
                }
                Err(error) => {
                    failures.push(error.within(&repository.name, repositories.len() == 1));
                }
            }
        }
        if proven.len() == before && failures.is_empty() {
            failures.append(&mut elsewhere);
        }
    }
    let answer = Answer::of(common.json, &proven, |proven| tell::proven(proven));
    Ok(answer.with(&failures).unnoted(&unnoted))
}

/// Proves one copy; `chosen` becomes its whole id as soon as it is known.
fn prove(
    config: &Config,
    source: &SourceConfig,
    repository: &RepositoryConfig,
    (host, which, wanted): (&str, &Which, &Wanted),
    chosen: &mut Option<String>,
) -> Result<(Verified, Proven), BackupError> {
    let opened = Opened::open(config, repository)?;
    let all = opened.snapshots()?;
    let snapshot = choose::choose(&all, &source.name, host, which)?;
    *chosen = Some(snapshot.file.id.to_hex().as_str().to_owned());
    let verified = verify::verify(config, &opened, source, snapshot, wanted)?;
    let proven = Proven {
        source: source.name.clone(),
        repository: repository.name.clone(),
        snapshot: snapshot.short(),
        level: verified.level.into(),
        read_percent: verified.read_percent,
        at: verified.at,
    };
    Ok((verified, proven))
}

pub(super) fn restore_one(
    config: &Config,
    source: &str,
    (from, which): (Option<&str>, &Which),
    asked: &Asked,
    host: &str,
    json: bool,
) -> Result<Answer, BackupError> {
    let source = named(config, source)?;
    let (opened, snapshot) = find(config, source, from, which, host)?;
    let restored = restore::restore(config, &opened, source, &snapshot, asked)?;
    let refused = !restored.done && !restored.plan.problems.is_empty();
    let mut answer = Answer::of(json, &restored, tell::restored);
    if refused {
        answer.exit = Exit::Refused;
    }
    Ok(answer)
}

/// The snapshot that is meant, in the first repository that has one and answers.
fn find(
    config: &Config,
    source: &SourceConfig,
    from: Option<&str>,
    which: &Which,
    host: &str,
) -> Result<(Opened, Snapshot), BackupError> {
    let mut repositories = config.repositories_of(source);
    if let Some(from) = from {
        repositories.retain(|repository| repository.name == from);
    }
    let mut first = None;
    for repository in &repositories {
        let one = || {
            let opened = Opened::open(config, repository)?;
            let all = opened.snapshots()?;
            let snapshot = choose::choose(&all, &source.name, host, which)?.clone();
            Ok((opened, snapshot))
        };
        match one() {
            Ok(found) => return Ok(found),
            Err(error) => {
                let error: BackupError = error;
                let error = error.within(&repository.name, repositories.len() == 1);
                if repositories.len() > 1 {
                    tracing::warn!(%error, "no copy from this repository");
                }
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| {
        let from = from.unwrap_or_default();
        BackupError::NoSnapshot(format!("`{}` has no repository `{from}`", source.name))
    }))
}
