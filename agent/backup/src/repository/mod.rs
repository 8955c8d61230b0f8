//! A repository: opened with its password, under our lock, and never beside a
//! running `restic`.
//!
//! The library takes no locks, so one of ours is held for as long as a
//! repository is open: one command at a time. Snapshots of ours are known by
//! their tags; what else is in the repository is listed and otherwise left alone.

mod control;
mod key;
mod local;
mod password;
mod verified;

pub(crate) use control::Control;
pub use password::PasswordError;
pub use verified::{Level, Verified};

use crate::config::RepositoryConfig;
use daemon::{
    durable::DurableError,
    lock::{LockError, StateLock},
};
use local::{Local, OWN};
use rustic_core::{
    ConfigOptions, Credentials, IndexedFullStatus, IndexedIdsStatus, KeyOptions, OpenStatus,
    Repository, RepositoryBackends, RepositoryOptions, RusticError, repofile::SnapshotFile,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The tag of every snapshot of ours.
pub(crate) const TAG: &str = "understudy";
/// Before the source's name in a tag.
const TAG_SOURCE: &str = "source=";

/// `restic` renews its locks every five minutes and calls them stale after thirty.
const RESTIC_LOCK_STALE: Duration = Duration::from_secs(30 * 60);

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is none.
    #[error(
        "there is no repository at {}; for a new one: understudy-agent backup init", path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The password does not open it.
    #[error(
        "the password in {} does not open the repository at {}; find the file that belongs to it",
        password_file.display(), path.display()
    )]
    WrongPassword {
        /// The repository.
        path: PathBuf,
        /// The file.
        password_file: PathBuf,
    },
    /// `restic` works on it.
    #[error(
        "the restic program is working on {} ({} is younger than 30 min); wait for it, or, if it \
         is gone, run `restic unlock`", path.display(), lock.display()
    )]
    Restic {
        /// The repository.
        path: PathBuf,
        /// The lock's file.
        lock: PathBuf,
    },
    /// Another of our commands works on it.
    #[error("the repository at {}: {source}", path.display())]
    Lock {
        /// The repository.
        path: PathBuf,
        /// Who has it.
        source: LockError,
    },
    /// Its directory cannot be used.
    #[error("the repository at {}: {source}", path.display())]
    Directory {
        /// The repository.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The library's own words.
    #[error("{doing}: {words}")]
    Library {
        /// What was being done.
        doing: &'static str,
        /// The library's words, on one line.
        words: String,
    },
    /// A record beside the snapshots.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl RepositoryError {
    pub(crate) fn library(doing: &'static str) -> impl Fn(Box<RusticError>) -> Self {
        move |error| Self::Library { doing, words: words(&error) }
    }
}

/// The library's words without its advice to report a bug.
pub(crate) fn words(error: &RusticError) -> String {
    let text = error.display_log();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An open repository.
pub(crate) struct Opened {
    pub(crate) config: RepositoryConfig,
    pub(crate) control: Arc<Control>,
    repository: Repository<OpenStatus>,
    /// `None` for who only looks, and on a read-only file system, where nobody
    /// can write anyway.
    lock: Option<StateLock>,
}

/// What `init` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) password: bool,
    pub(crate) repository: bool,
}

fn backends(config: &RepositoryConfig, control: &Arc<Control>) -> RepositoryBackends {
    RepositoryBackends::new(Arc::new(Local::new(&config.path, Arc::clone(control))), None)
}

fn library(
    config: &RepositoryConfig,
    control: &Arc<Control>,
) -> Result<Repository<()>, RepositoryError> {
    // The cache would keep copies of what may be secret, and pays only for remote ones.
    let options = RepositoryOptions::default().no_cache(true);
    Repository::new(&options, &backends(config, control))
        .map_err(RepositoryError::library("the repository"))
}

/// Makes the password file and the repository where they are missing.
pub(crate) fn init(config: &RepositoryConfig) -> Result<Made, RepositoryError> {
    let password = password::make(&config.password_file)?;
    let secret = password::read(&config.password_file)?;
    if config.path.join("config").exists() {
        Opened::open(config)?;
        return Ok(Made { password, repository: false });
    }
    let _lock = lock(&config.path)?;
    let control = Arc::new(Control::default());
    let random = password::is_random(&secret);
    let made = library(config, &control)?
        .init(&Credentials::password(&secret), &KeyOptions::default(), &ConfigOptions::default())
        .map_err(RepositoryError::library("the repository could not be made"))?;
    if random {
        key::replace(&Local::new(&config.path, control), &secret, &made.key())?;
    }
    Ok(Made { password, repository: true })
}

fn lock(path: &Path) -> Result<StateLock, RepositoryError> {
    daemon::durable::create_private_dir(path).or_else(|error| match error {
        // One that restic made, or that a group may read: its content is encrypted.
        DurableError::NotPrivate { .. } => Ok(()),
        other => Err(other),
    })?;
    StateLock::acquire(&path.join(OWN), "understudy-agent backup")
        .map_err(|source| RepositoryError::Lock { path: path.into(), source })
}

fn present(path: &Path) -> Result<(), RepositoryError> {
    match path.join("config").try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(RepositoryError::Missing { path: path.into() }),
        Err(source) => Err(RepositoryError::Directory { path: path.into(), source }),
    }
}

/// A lock file of the `restic` program that may still be held.
fn restic_lock(path: &Path) -> Result<Option<PathBuf>, io::Error> {
    let entries = match std::fs::read_dir(path.join("locks")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let age = match entry.metadata() {
            Ok(meta) => meta.modified()?.elapsed().unwrap_or_default(),
            // Removed meanwhile, as its holder does at its end.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if age < RESTIC_LOCK_STALE {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

impl Opened {
    /// Opens it, alone.
    pub(crate) fn open(config: &RepositoryConfig) -> Result<Self, RepositoryError> {
        let path = &config.path;
        present(path)?;
        let lock = match lock(path) {
            Ok(lock) => Some(lock),
            Err(RepositoryError::Lock {
                source: LockError::File(DurableError::ReadOnly { .. }),
                ..
            }) => None,
            Err(error) => return Err(error),
        };
        let held = restic_lock(path)
            .map_err(|source| RepositoryError::Directory { path: path.clone(), source })?;
        if let Some(lock) = held {
            return Err(RepositoryError::Restic { path: path.clone(), lock });
        }
        Self::with(config, lock)
    }

    /// Opens it beside others, to look at what there is.
    pub(crate) fn look(config: &RepositoryConfig) -> Result<Self, RepositoryError> {
        present(&config.path)?;
        Self::with(config, None)
    }

    fn with(config: &RepositoryConfig, lock: Option<StateLock>) -> Result<Self, RepositoryError> {
        let secret = password::read(&config.password_file)?;
        let control = Arc::new(Control::default());
        let repository =
            library(config, &control)?.open(&Credentials::password(secret)).map_err(|error| {
                if error.is_incorrect_password() {
                    let (path, password_file) = (config.path.clone(), config.password_file.clone());
                    return RepositoryError::WrongPassword { path, password_file };
                }
                RepositoryError::library("the repository cannot be opened")(error)
            })?;
        Ok(Self { config: config.clone(), control, repository, lock })
    }

    /// The library's handle.
    pub(crate) const fn library(&self) -> &Repository<OpenStatus> {
        &self.repository
    }

    /// A second handle; with the key in hand no password has to be worked through.
    fn again(&self) -> Result<Repository<OpenStatus>, RepositoryError> {
        library(&self.config, &self.control)?
            .open(&Credentials::Masterkey(self.repository.key()))
            .map_err(RepositoryError::library("the repository cannot be opened"))
    }

    /// With its index, to read data.
    pub(crate) fn indexed(&self) -> Result<Repository<IndexedFullStatus>, RepositoryError> {
        self.again()?
            .to_indexed()
            .map_err(RepositoryError::library("the repository's index cannot be read"))
    }

    /// With the names of what is there, to write data.
    pub(crate) fn writable(&self) -> Result<Repository<IndexedIdsStatus>, RepositoryError> {
        self.again()?
            .to_indexed_ids()
            .map_err(RepositoryError::library("the repository's index cannot be read"))
    }

    /// Every snapshot, oldest first.
    pub(crate) fn snapshots(&self) -> Result<Vec<Snapshot>, RepositoryError> {
        let found = self
            .repository
            .get_all_snapshots()
            .map_err(RepositoryError::library("the snapshots cannot be listed"))?;
        let mut snapshots = Vec::with_capacity(found.len());
        for file in found {
            let verified = verified::read(&self.own(), &file)?;
            snapshots.push(Snapshot { file, verified });
        }
        snapshots.sort_by_key(|snapshot| snapshot.file.time.timestamp());
        Ok(snapshots)
    }

    /// Notes durably how far a snapshot was verified; a higher level that it had stays.
    pub(crate) fn note(
        &self,
        snapshot: &Snapshot,
        verified: &Verified,
    ) -> Result<(), RepositoryError> {
        if self.lock.is_some() {
            verified::write(&self.own(), snapshot.verified.as_ref(), verified)?;
        }
        Ok(())
    }

    /// Takes back what was noted of a snapshot.
    pub(crate) fn forget(&self, snapshot: &SnapshotFile) -> Result<(), RepositoryError> {
        Ok(verified::remove(&self.own(), &snapshot.id.to_hex())?)
    }

    fn own(&self) -> PathBuf {
        self.config.path.join(OWN)
    }
}

/// A snapshot and how far it was verified.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) file: SnapshotFile,
    pub(crate) verified: Option<Verified>,
}

impl Snapshot {
    /// The source that it is of; `None` for one that is not ours.
    pub(crate) fn source(&self) -> Option<String> {
        let tags: Vec<&String> = self.file.tags.iter().collect();
        tags.iter().find(|tag| *tag == &TAG)?;
        tags.iter().find_map(|tag| Some(tag.strip_prefix(TAG_SOURCE)?.to_owned()))
    }

    /// Whether it is of this source and host.
    pub(crate) fn is_of(&self, source: &str, host: &str) -> bool {
        self.file.hostname == host && self.source().as_deref() == Some(source)
    }

    /// The first digits of its id, as `restic` shows them.
    pub(crate) fn short(&self) -> String {
        self.file.id.to_hex().as_str()[..8].to_owned()
    }
}

/// The tags of a new snapshot.
pub(crate) fn tags(source: &str) -> [String; 2] {
    [TAG.into(), format!("{TAG_SOURCE}{source}")]
}
