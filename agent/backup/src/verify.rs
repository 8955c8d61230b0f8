//! Proof that a copy is good, in three levels: its structure, its data read
//! back, and a restore that the source's own check program accepts.

use crate::{
    config::{Config, SourceConfig},
    repository::{Level, Opened, RepositoryError, Snapshot, Verified, words},
    restore::{self, tree::TreeError},
};
use daemon::{
    command::{Program, Run},
    durable::{self, DurableError},
    random::Random,
};
use rustic_core::{CheckOptions, LsOptions};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What is kept of what a check program says.
const SAID_MAX: usize = 400;
/// Findings told of a damaged copy; the rest is counted.
const FINDINGS_MAX: usize = 10;
/// How much is read at once of a sampled file.
const PIECE: usize = 1024 * 1024;

/// Why a copy is not proven.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something in it is wrong.
    #[error(
        "snapshot {snapshot} of `{source_name}` is damaged: {findings}; make a new copy now \
         (understudy-agent backup run {source_name}), then look at the disk"
    )]
    Damaged {
        /// The snapshot.
        snapshot: String,
        /// The source.
        source_name: String,
        /// What was found.
        findings: String,
    },
    /// There is nothing that could prove it.
    #[error(
        "`{source_name}` has no `check` in agent.toml: write check = [\"/path/of/program\"] that ends with 0 when the copy in its working directory is good"
    )]
    NoCheck {
        /// The source.
        source_name: String,
    },
    /// The check program is not content.
    #[error(
        "snapshot {snapshot} of `{source_name}` was restored, and its check is not content: {said}"
    )]
    Check {
        /// The snapshot.
        snapshot: String,
        /// The source.
        source_name: String,
        /// What it said.
        said: String,
    },
    /// It could not be restored into the scratch place.
    #[error("snapshot {snapshot} of `{source_name}` cannot be restored: {source}")]
    Tree {
        /// The snapshot.
        snapshot: String,
        /// The source.
        source_name: String,
        /// Why.
        source: TreeError,
    },
    /// The scratch place.
    #[error("the scratch place {}: {source}", path.display())]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The scratch place or a record.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl VerifyError {
    /// Whether it says that the copy is bad; the others say nothing about it, as
    /// a full scratch place.
    pub(crate) const fn takes_back(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::Check { .. }
            | Self::Tree {
                source:
                    TreeError::Repository { .. } | TreeError::Name { .. } | TreeError::Short { .. },
                ..
            } => true,
            Self::Tree { source: TreeError::File { .. }, .. }
            | Self::NoCheck { .. }
            | Self::Scratch { .. }
            | Self::Durable(_)
            | Self::Repository(_) => false,
        }
    }
}

/// How much is to be proven.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) level: Level,
    /// At level 2: how much of the data is read.
    pub(crate) percent: u8,
}

impl Wanted {
    pub(crate) const fn structure() -> Self {
        Self { level: Level::Structure, percent: 0 }
    }
}

/// Proves a copy up to a level, and notes it durably; a failure takes back what
/// was noted before.
pub(crate) fn verify(
    config: &Config,
    opened: &Opened,
    source: &SourceConfig,
    snapshot: &Snapshot,
    wanted: &Wanted,
) -> Result<Verified, VerifyError> {
    let proven = match wanted.level {
        Level::Structure => check(opened, source, snapshot, false),
        Level::ReadBack if wanted.percent >= 100 => check(opened, source, snapshot, true),
        Level::ReadBack => check(opened, source, snapshot, false)
            .and_then(|()| sample(opened, source, snapshot, wanted.percent)),
        Level::Restored => restored(config, opened, source, snapshot),
    };
    // What does not answer says nothing of the copies in it.
    let proven = proven.map_err(|error| match opened.control.was_cut() {
        Some(words) => RepositoryError::Cut(words.into()).into(),
        None => error,
    });
    match proven {
        Ok(()) => {
            let verified = Verified {
                snapshot: snapshot.file.id.to_hex().as_str().to_owned(),
                tree: snapshot.file.tree.to_hex().as_str().to_owned(),
                level: wanted.level,
                read_percent: match wanted.level {
                    Level::Structure => 0,
                    Level::ReadBack => wanted.percent.min(100),
                    Level::Restored => 100,
                },
                at: jiff::Timestamp::now(),
                host: config.host.clone(),
            };
            opened.note(snapshot, &verified)?;
            Ok(verified)
        }
        Err(error) => {
            if error.takes_back() {
                opened.forget(&snapshot.file)?;
            }
            Err(error)
        }
    }
}

fn damaged(source: &SourceConfig, snapshot: &Snapshot, findings: String) -> VerifyError {
    VerifyError::Damaged { snapshot: snapshot.short(), source_name: source.name.clone(), findings }
}

/// The library's own check, of this copy's trees and, if wanted, of every pack
/// that it needs, byte by byte.
pub(crate) fn check(
    opened: &Opened,
    source: &SourceConfig,
    snapshot: &Snapshot,
    read_data: bool,
) -> Result<(), VerifyError> {
    let options = CheckOptions::default().read_data(read_data);
    let results = opened
        .library()
        .check_with_trees(options, vec![snapshot.file.tree])
        .map_err(|error| damaged(source, snapshot, words(&error)))?;
    if results.is_ok().is_ok() {
        return Ok(());
    }
    let found: Vec<String> = results
        .0
        .iter()
        .filter(|(level, _)| format!("{level:?}") == "Error")
        .map(|(_, finding)| finding.to_string())
        .collect();
    let more = found.len().saturating_sub(FINDINGS_MAX);
    let mut findings = found[..found.len() - more].join("; ");
    if more > 0 {
        findings.push_str(&format!("; and {more} more"));
    }
    Err(damaged(source, snapshot, findings))
}

/// Reads a random part of the data; at least one piece of it.
fn sample(
    opened: &Opened,
    source: &SourceConfig,
    snapshot: &Snapshot,
    percent: u8,
) -> Result<(), VerifyError> {
    let indexed = opened.indexed()?;
    let broken = |path: &Path, error: Box<rustic_core::RusticError>| {
        let words = words(&error);
        damaged(source, snapshot, format!("{}: {words}", path.display()))
    };
    let top = Path::new("/");
    let root =
        indexed.node_from_path(snapshot.file.tree, top).map_err(|error| broken(top, error))?;
    let list = indexed.ls(&root, &LsOptions::default()).map_err(|error| broken(top, error))?;
    let mut random = Random::from_os();
    let mut first = true;
    for entry in list {
        let (path, node) = entry.map_err(|error| broken(top, error))?;
        if !node.is_file() {
            continue;
        }
        let open = indexed.open_file(&node).map_err(|error| broken(&path, error))?;
        let size = usize::try_from(node.meta.size).unwrap_or(usize::MAX);
        for offset in (0..size).step_by(PIECE) {
            if first || random.below(100) < u64::from(percent) {
                first = false;
                indexed.read_file_at(&open, offset, PIECE).map_err(|error| broken(&path, error))?;
            }
        }
    }
    Ok(())
}

/// Restores into a scratch place and asks the source's own check program.
fn restored(
    config: &Config,
    opened: &Opened,
    source: &SourceConfig,
    snapshot: &Snapshot,
) -> Result<(), VerifyError> {
    let name = || source.name.clone();
    let Some((program, arguments)) = source.check.split_first() else {
        return Err(VerifyError::NoCheck { source_name: name() });
    };
    let room = config.state_dir.join("backup");
    durable::create_private_dir(&room)?;
    let scratch = room.join(format!("scratch-{}", source.name));
    let failed = |error| VerifyError::Scratch { path: scratch.clone(), source: error };
    remove(&scratch).map_err(failed)?;
    durable::create_private_dir(&scratch)?;
    let done = (|| {
        let indexed = opened.indexed()?;
        let place = scratch.join("copy");
        restore::tree::write(&indexed, snapshot.file.tree, Path::new(&source.name), &place)
            .map_err(|error| VerifyError::Tree {
                snapshot: snapshot.short(),
                source_name: name(),
                source: error,
            })?;
        let program = Program::new(program, source.check_timeout)
            .args(arguments)
            .env("UNDERSTUDY_BACKUP_SOURCE", &source.name)
            .env("UNDERSTUDY_BACKUP_COPY", &place)
            .directory(&place);
        content(&program).map_err(|said| match said {
            Ok(said) => {
                VerifyError::Check { snapshot: snapshot.short(), source_name: name(), said }
            }
            Err(error) => failed(error),
        })
    })();
    remove(&scratch).map_err(failed)?;
    done
}

/// Whether a check program is content; else what it said, or that it never ran.
fn content(program: &Program) -> Result<(), Result<String, io::Error>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Err)?;
    match runtime.block_on(program.run()) {
        Run::Finished(finished) if finished.succeeded() => Ok(()),
        Run::Finished(finished) => {
            let (out, err) =
                (finished.stdout.one_line(SAID_MAX), finished.stderr.one_line(SAID_MAX));
            Err(Ok(format!("{}: {out} {err}", finished.status)))
        }
        Run::TimedOut(late) => {
            Err(Ok(format!("it did not end within {} s", late.deadline.as_secs())))
        }
        Run::NotStarted(error) => Err(Err(io::Error::other(error.to_string()))),
    }
}

/// Removes a directory with all that is in it; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
