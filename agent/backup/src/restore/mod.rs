//! Bringing a copy back: planned whole, written beside, swapped in one moment.
//!
//! Until the swap nothing of what is there is touched; after it, what was there
//! is the safety copy. A restore that fails or is killed leaves the old state.

mod plan;
mod swap;
pub(crate) mod tree;

pub(crate) use plan::{Asked, Plan};
pub use swap::SwapError;
pub use tree::TreeError;

use crate::{
    config::{Config, SourceConfig},
    repository::{Opened, RepositoryError, Snapshot},
    source::{
        Action, Frozen,
        docker::{Docker, DockerError},
    },
    verify,
};
use daemon::{
    durable::{self, DurableError},
    exit::Exit,
};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};
use swap::{Left, Pair};

/// Where a restore writes, beside what it replaces, before the source's name.
const BESIDE: &str = ".understudy-restore-";
/// What was replaced, before the source's name.
const BEFORE: &str = ".understudy-before-";
/// Safety copies that stay: the one of this restore, and the one before it, in
/// case this restore was the mistake.
const SAFETY_COPIES: usize = 2;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The plan cannot be carried out.
    #[error("restore of `{source_name}` is refused, and nothing was changed:\n  {problems}")]
    Refused {
        /// The source.
        source_name: String,
        /// Everything that is in the way, one a line.
        problems: String,
    },
    /// `/` has no directory that it is in.
    #[error("the whole file system cannot be replaced")]
    Root,
    /// What a killed restore left could not be cleared, or the new files not swapped in.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// The files could not be written. What is there was not touched.
    #[error("nothing was changed: {0}")]
    Tree(#[from] TreeError),
    /// The place beside.
    #[error("{}: {source}", path.display())]
    Beside {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Containers did not stop; nothing was changed.
    #[error("nothing was changed: {0}")]
    Waits(String),
    /// It is restored, and containers do not run.
    #[error("it is restored, and then: {0}")]
    Starts(String),
    /// Docker.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A directory that had to be durable.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl RestoreError {
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. } => Exit::Refused,
            Self::Root
            | Self::Swap(_)
            | Self::Tree(_)
            | Self::Beside { .. }
            | Self::Waits(_)
            | Self::Starts(_)
            | Self::Docker(_)
            | Self::Repository(_)
            | Self::Durable(_) => Exit::Failed,
        }
    }
}

/// What a restore did.
#[derive(Debug, Serialize)]
pub(crate) struct Restored {
    pub(crate) plan: Plan,
    /// False for a dry run.
    pub(crate) done: bool,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// What was there before; nothing where there was nothing.
    pub(crate) safety_copy: Option<PathBuf>,
    /// From the first container's stop to the last one's start.
    pub(crate) blackout_ms: u64,
    pub(crate) took_ms: u64,
}

/// The place beside, in `base`.
fn base_of(base: &Path, source: &str) -> PathBuf {
    base.join(format!("{BESIDE}{source}"))
}

/// Undoes what a killed restore of this source left.
pub(crate) fn recover(config: &Config, source: &SourceConfig) -> Result<(), RestoreError> {
    // A source that is not here has nothing left here.
    let Ok(Some((root, names))) = plan::home(source) else { return Ok(()) };
    let Some(base) = (if names.is_empty() { root.parent() } else { Some(root.as_path()) }) else {
        return Ok(());
    };
    clear(config, &base_of(base, &source.name))
}

fn clear(config: &Config, beside: &Path) -> Result<(), RestoreError> {
    match swap::recover(beside)? {
        Left::Nothing => return Ok(()),
        Left::Unused => {
            tracing::info!(host = config.host, path = %beside.display(), "removing what a killed restore left")
        }
        Left::Undone => {
            tracing::warn!(host = config.host, path = %beside.display(), "a restore was killed while it swapped; all is as it was before it")
        }
    }
    verify::remove(beside).map_err(|source| RestoreError::Beside { path: beside.into(), source })
}

/// Restores a snapshot, or only plans to.
pub(crate) fn restore(
    config: &Config,
    opened: &Opened,
    source: &SourceConfig,
    snapshot: &Snapshot,
    asked: &Asked,
) -> Result<Restored, RestoreError> {
    let begun = Instant::now();
    let indexed = opened.indexed()?;
    let plan = plan::make(config, opened, &indexed, source, snapshot, asked)?;
    let mut restored = Restored {
        plan,
        done: false,
        files: 0,
        bytes: 0,
        safety_copy: None,
        blackout_ms: 0,
        took_ms: 0,
    };
    if asked.dry_run {
        return Ok(restored);
    }
    let plan = &restored.plan;
    if !plan.problems.is_empty() {
        let problems = plan.problems.join("\n  ");
        return Err(RestoreError::Refused { source_name: source.name.clone(), problems });
    }
    clear(config, &plan.beside)?;
    durable::create_private_dir(&plan.beside)?;
    let new = plan.beside.join("new");
    let written = tree::write(&indexed, snapshot.file.tree, Path::new(&source.name), &new);
    let done = written.map_err(RestoreError::from).and_then(|written| {
        let blackout =
            if plan.in_place { exchange(source, plan, &new)? } else { place(plan, &new)? };
        Ok((written, blackout))
    });
    let (written, blackout_ms) = match done {
        Ok(done) => done,
        Err(error) => {
            tidy(config, &plan.beside, &error);
            return Err(error);
        }
    };
    restored.safety_copy = if restored.plan.in_place { keep(&restored.plan)? } else { None };
    (restored.files, restored.bytes) = (written.files, written.bytes);
    (restored.done, restored.blackout_ms) = (true, blackout_ms);
    restored.took_ms = millis(begun);
    Ok(restored)
}

/// After a failure: nothing of ours stays, but for a journal that is still needed.
fn tidy(config: &Config, beside: &Path, error: &RestoreError) {
    if let RestoreError::Starts(_) | RestoreError::Swap(SwapError::Undo { .. }) = error {
        return;
    }
    if let Err(more) = clear(config, beside) {
        tracing::error!(%more, "what was written beside could not be removed");
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Puts it where `--to` says.
fn place(plan: &Plan, new: &Path) -> Result<u64, RestoreError> {
    let failed = |source| RestoreError::Beside { path: plan.to.clone(), source };
    fs::rename(new, &plan.to).map_err(failed)?;
    if let Some(parent) = plan.to.parent() {
        durable::sync_directory(parent)?;
    }
    fs::remove_dir(&plan.beside)
        .map_err(|source| RestoreError::Beside { path: plan.beside.clone(), source })?;
    Ok(0)
}

/// Stops who uses it, swaps, starts them again; how long they waited.
fn exchange(source: &SourceConfig, plan: &Plan, new: &Path) -> Result<u64, RestoreError> {
    let failed = |source| RestoreError::Beside { path: plan.beside.clone(), source };
    let whole = plan.replaces == [plan.to.clone()];
    let pairs: io::Result<Vec<Pair>> = plan
        .replaces
        .iter()
        .map(|live| {
            let from = match live.strip_prefix(&plan.to) {
                Ok(name) if !whole => new.join(name),
                Ok(_) | Err(_) => new.to_owned(),
            };
            Pair::new(live.clone(), from)
        })
        .collect();
    let pairs = pairs.map_err(failed)?;
    let users = plan::dependants(source, &plan.replaces)?;
    if let Some(late) = users.iter().find(|user| !plan.waits.contains(&user.name)) {
        return Err(RestoreError::Waits(format!(
            "container `{}` was started meanwhile and uses it; try again",
            late.name
        )));
    }
    let begun = Instant::now();
    let frozen = if users.is_empty() {
        None
    } else {
        let docker = Docker::connect(&source.socket)?;
        let frozen = Frozen::freeze(&docker, &source.socket, Action::Stop, &users);
        Some(frozen.map_err(RestoreError::Waits)?)
    };
    let swapped = swap::swap(&plan.beside, &pairs);
    let started = frozen.map_or(Ok(()), Frozen::release);
    swapped?;
    started.map_err(RestoreError::Starts)?;
    Ok(if users.is_empty() { 0 } else { millis(begun) })
}

/// Gives the safety copy its name, and lets the oldest go.
fn keep(plan: &Plan) -> Result<Option<PathBuf>, RestoreError> {
    let failed = |source| RestoreError::Beside { path: plan.beside.clone(), source };
    let Some(base) = plan.beside.parent() else { return Ok(None) };
    let prefix = format!("{BEFORE}{}-", plan.source);
    // Sorts by time; two restores within a second get different names.
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string();
    let safety = base.join(format!("{prefix}{stamp}"));
    fs::rename(&plan.beside, &safety).map_err(failed)?;
    durable::sync_directory(base)?;
    let mut copies: Vec<PathBuf> = fs::read_dir(base)
        .map_err(failed)?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    copies.sort();
    let surplus = copies.len().saturating_sub(SAFETY_COPIES);
    for old in &copies[..surplus] {
        verify::remove(old).map_err(|source| RestoreError::Beside { path: old.clone(), source })?;
    }
    Ok(Some(safety))
}
