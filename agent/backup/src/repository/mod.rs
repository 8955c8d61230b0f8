//! A repository: opened with its password, under our lock, and never beside a
//! running `restic`.
//!
//! The library takes no locks, so one of ours is held for as long as a
//! repository is open: one command at a time. Snapshots of ours are known by
//! their tags; what else is in the repository is listed and otherwise left alone.

mod agent;
mod control;
mod error;
mod key;
mod local;
mod password;
mod place;
mod remote;
mod rest;
mod s3;
mod verified;
mod web;

pub(crate) use control::Control;
pub use error::RepositoryError;
pub use password::PasswordError;
pub use verified::{Level, Verified};

use crate::config::{Config, RepositoryConfig};
use daemon::{durable::DurableError, lock::StateLock};
use local::Local;
pub use local::OWN;
use place::{Alone, Place};
use remote::RemoteError;
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
use tokio::runtime::Runtime;

/// The tag of every snapshot of ours.
pub(crate) const TAG: &str = "understudy";
/// Before the source's name in a tag.
const TAG_SOURCE: &str = "source=";

/// `restic` renews its locks every five minutes and calls them stale after thirty.
const RESTIC_LOCK_STALE: Duration = Duration::from_secs(30 * 60);

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
    place: Place,
    /// `None` for who only looks, and where nobody can write anyway.
    alone: Option<Alone>,
}

/// What `init` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) password: bool,
    pub(crate) repository: bool,
}

fn library(
    config: &RepositoryConfig,
    place: &Place,
    control: &Arc<Control>,
) -> Result<Repository<()>, RepositoryError> {
    // The cache would keep copies of what may be secret.
    let options = RepositoryOptions::default().no_cache(true);
    let backends = RepositoryBackends::new(place.backend(&config.target, control), None);
    Repository::new(&options, &backends).map_err(RepositoryError::library("the repository"))
}

/// Makes the password file and the repository where they are missing.
pub(crate) fn init(all: &Config, config: &RepositoryConfig) -> Result<Made, RepositoryError> {
    let password = password::make(&config.password_file)?;
    let secret = password::read(&config.password_file)?;
    let place = Place::of(all, config)?;
    if place.is_there()? {
        Opened::open(all, config)?;
        return Ok(Made { password, repository: false });
    }
    let _alone = place.alone(all, config)?;
    let control = Arc::new(Control::default());
    let make = |place: &Place| {
        library(config, place, &control)?
            .init(
                &Credentials::password(&secret),
                &KeyOptions::default(),
                &ConfigOptions::default(),
            )
            .map_err(RepositoryError::library("the repository could not be made"))
    };
    match &place {
        place if !password::is_random(&secret) => {
            make(place)?;
        }
        Place::Directory(path) => {
            let made = make(&place)?;
            key::replace(&Local::new(path, Arc::clone(&control)), &secret, &made.key())?;
        }
        // It may take nothing back: what is sent there is sent as it stays.
        Place::Remote { own, .. } => {
            let here = own.join("init");
            fresh(&here)?;
            let _here = lock(&here)?;
            let made = make(&Place::Directory(here.clone()))?;
            let local = Local::new(&here, Arc::clone(&control));
            key::replace(&local, &secret, &made.key())?;
            key::send(&local, &place.backend(&config.target, &control))?;
            fresh(&here)?;
        }
    }
    Ok(Made { password, repository: true })
}

/// Makes an empty directory that only we read, two below the state directory.
fn fresh(directory: &Path) -> Result<(), RepositoryError> {
    let failed = |source| RepositoryError::Directory { path: directory.into(), source };
    match std::fs::remove_dir_all(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let above: Vec<&Path> = directory.ancestors().take(3).collect();
    for one in above.into_iter().rev() {
        daemon::durable::create_private_dir(one)?;
    }
    Ok(())
}

/// The runtime of what talks with another place.
fn runtime() -> Result<Runtime, RemoteError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| RemoteError(format!("the async runtime cannot be made: {error}")))
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

/// A lock file of the `restic` program that may still be held, in a directory.
///
/// # Errors
/// The system's: it cannot be said.
pub fn restic_lock(path: &Path) -> Result<Option<PathBuf>, io::Error> {
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
    pub(crate) fn open(all: &Config, config: &RepositoryConfig) -> Result<Self, RepositoryError> {
        let place = Place::of(all, config)?;
        if !place.is_there()? {
            return Err(RepositoryError::Missing { place: config.target.to_string() });
        }
        let alone = place.alone(all, config)?;
        if let Some(lock) = place.restic_lock()? {
            return Err(RepositoryError::Restic { place: config.target.to_string(), lock });
        }
        Self::with(config, place, alone)
    }

    /// Opens it beside others, to look at what there is.
    pub(crate) fn look(all: &Config, config: &RepositoryConfig) -> Result<Self, RepositoryError> {
        let place = Place::of(all, config)?;
        if !place.is_there()? {
            return Err(RepositoryError::Missing { place: config.target.to_string() });
        }
        Self::with(config, place, None)
    }

    fn with(
        config: &RepositoryConfig,
        place: Place,
        alone: Option<Alone>,
    ) -> Result<Self, RepositoryError> {
        let secret = password::read(&config.password_file)?;
        let control = Arc::new(Control::default());
        let opened = library(config, &place, &control)?.open(&Credentials::password(secret));
        let repository = opened.map_err(|error| {
            if let Some(words) = control.was_cut() {
                let words = words.to_owned();
                return RepositoryError::Place { place: config.target.to_string(), words };
            }
            if error.is_incorrect_password() {
                let password_file = config.password_file.clone();
                return RepositoryError::WrongPassword {
                    place: config.target.to_string(),
                    password_file,
                };
            }
            RepositoryError::library("the repository cannot be opened")(error)
        })?;
        Ok(Self { config: config.clone(), control, repository, place, alone })
    }

    /// The library's handle.
    pub(crate) const fn library(&self) -> &Repository<OpenStatus> {
        &self.repository
    }

    /// A second handle; with the key in hand no password has to be worked through.
    fn again(&self) -> Result<Repository<OpenStatus>, RepositoryError> {
        library(&self.config, &self.place, &self.control)?
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
        let proofs = self.place.proofs();
        let mut snapshots = Vec::with_capacity(found.len());
        for file in found {
            let verified = proofs.read(&file)?;
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
        if self.alone.is_some() {
            let before = snapshot.verified.as_ref();
            self.place.proofs().write(before, &snapshot.file, verified)?;
        }
        Ok(())
    }

    /// Takes back what was noted of a snapshot.
    pub(crate) fn forget(&self, snapshot: &SnapshotFile) -> Result<(), RepositoryError> {
        self.place.proofs().remove(&snapshot.id.to_hex())
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
