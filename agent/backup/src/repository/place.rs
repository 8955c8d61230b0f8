//! A repository's place, opened: which backend the library gets, who else may be
//! at work there, and where proofs are written.

use super::{
    Control, OWN, RepositoryError,
    agent::Agent,
    local::Local,
    lock,
    remote::{Remote, Through},
    rest::Rest,
    restic_lock,
    s3::Bucket,
    verified::Proofs,
};
use crate::config::{Config, RepositoryConfig, Target};
use daemon::{
    durable::{DurableError, create_private_dir},
    lock::{LockError, StateLock},
};
use model::CopyKind;
use rustic_core::WriteBackend;
use std::{path::PathBuf, sync::Arc};

/// The right to be the only one of ours that works on a repository.
pub(super) enum Alone {
    /// By a lock on this host: of the directory, or for a place elsewhere.
    Lock(#[expect(dead_code, reason = "held, never looked at")] StateLock),
    /// By the host that keeps it.
    There,
}

/// A place.
pub(super) enum Place {
    /// A directory.
    Directory(PathBuf),
    /// Elsewhere.
    Remote {
        remote: Arc<dyn Remote>,
        /// A directory of this host's with our lock, and with proofs where the
        /// place takes none.
        own: PathBuf,
        /// Whether it is kept by an agent, which says who is alone with it.
        kept: bool,
        /// Whether proofs can be written there.
        proofs: bool,
    },
}

impl Place {
    /// Opens the way to it.
    pub(super) fn of(all: &Config, config: &RepositoryConfig) -> Result<Self, RepositoryError> {
        let failed = |error: super::RemoteError| RepositoryError::Place {
            place: config.target.to_string(),
            words: error.to_string(),
        };
        let own = all.state_dir.join("backup").join(format!("repository-{}", config.name));
        let (remote, kept, proofs): (Arc<dyn Remote>, bool, bool) = match &config.target {
            Target::Directory(path) => return Ok(Self::Directory(path.clone())),
            Target::Agent(target) => {
                let agent = Agent::connect(target, &config.name, &all.host, &all.pki);
                (Arc::new(agent.map_err(failed)?), true, true)
            }
            Target::S3(target) => (Arc::new(Bucket::open(target).map_err(failed)?), false, true),
            // The protocol has no place for proofs.
            Target::Rclone(target) => {
                (Arc::new(Rest::rclone(target).map_err(failed)?), false, false)
            }
            Target::Rest(target) => (Arc::new(Rest::server(target).map_err(failed)?), false, false),
        };
        Ok(Self::Remote { remote, own, kept, proofs })
    }

    /// What the library works with.
    pub(super) fn backend(&self, target: &Target, control: &Arc<Control>) -> Arc<dyn WriteBackend> {
        let control = Arc::clone(control);
        match self {
            Self::Directory(path) => Arc::new(Local::new(path, control)),
            Self::Remote { remote, .. } => Arc::new(Through {
                remote: Arc::clone(remote),
                location: target.to_string(),
                control,
            }),
        }
    }

    /// Whether a repository was made there.
    pub(super) fn is_there(&self) -> Result<bool, RepositoryError> {
        match self {
            Self::Directory(path) => path
                .join("config")
                .try_exists()
                .map_err(|source| RepositoryError::Directory { path: path.clone(), source }),
            Self::Remote { remote, .. } => Ok(!remote.list(CopyKind::Config)?.is_empty()),
        }
    }

    /// Begins to be alone with it; `None` on a file system where nobody can write.
    pub(super) fn alone(
        &self,
        all: &Config,
        config: &RepositoryConfig,
    ) -> Result<Option<Alone>, RepositoryError> {
        match self {
            Self::Directory(path) => match lock(path) {
                Ok(lock) => Ok(Some(Alone::Lock(lock))),
                Err(RepositoryError::Lock {
                    source: LockError::File(DurableError::ReadOnly { .. }),
                    ..
                }) => Ok(None),
                Err(error) => Err(error),
            },
            Self::Remote { remote, kept: true, .. } => {
                if let Target::Agent(of) = &config.target
                    && of.of.as_ref().is_some_and(|of| *of != all.host)
                {
                    return Ok(None);
                }
                remote.hold().map_err(|error| RepositoryError::Place {
                    place: config.target.to_string(),
                    words: error.to_string(),
                })?;
                Ok(Some(Alone::There))
            }
            Self::Remote { remote, own, .. } => {
                if let Some(above) = own.parent() {
                    create_private_dir(above)?;
                }
                let lock = StateLock::acquire(own, "understudy-agent backup")
                    .map_err(|source| RepositoryError::Lock { path: own.clone(), source })?;
                remote.hold()?;
                Ok(Some(Alone::Lock(lock)))
            }
        }
    }

    /// The name of a lock of the `restic` program that may still be held.
    pub(super) fn restic_lock(&self) -> Result<Option<String>, RepositoryError> {
        match self {
            Self::Directory(path) => Ok(restic_lock(path)
                .map_err(|source| RepositoryError::Directory { path: path.clone(), source })?
                .map(|lock| lock.display().to_string())),
            Self::Remote { remote, .. } => Ok(remote.restic_lock()?),
        }
    }

    /// Where proofs are.
    pub(super) fn proofs(&self) -> Proofs {
        match self {
            Self::Directory(path) => Proofs::Directory(path.join(OWN)),
            Self::Remote { remote, proofs: true, .. } => Proofs::Remote(Arc::clone(remote)),
            Self::Remote { own, .. } => Proofs::Directory(own.clone()),
        }
    }
}
