//! Why a repository cannot be used.

use super::{password::PasswordError, remote::RemoteError, words};
use daemon::{durable::DurableError, lock::LockError};
use rustic_core::RusticError;
use std::{io, path::PathBuf};

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is none.
    #[error("there is no repository at {place}; for a new one: understudy-agent backup init")]
    Missing {
        /// Where it should be.
        place: String,
    },
    /// The password does not open it.
    #[error(
        "the password in {} does not open the repository at {place}; find the file that belongs \
         to it", password_file.display()
    )]
    WrongPassword {
        /// The repository.
        place: String,
        /// The file.
        password_file: PathBuf,
    },
    /// `restic` works on it.
    #[error(
        "the restic program is working on {place} ({lock} may still be held); wait for it, or, \
         if it is gone, run `restic unlock`"
    )]
    Restic {
        /// The repository.
        place: String,
        /// The lock's file.
        lock: String,
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
    /// Another place than a directory did not do what it was asked for.
    #[error("the repository at {place}: {words}")]
    Place {
        /// The repository.
        place: String,
        /// Its words.
        words: String,
    },
    /// As before, in the middle of something.
    #[error("the repository: {0}")]
    Cut(String),
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

impl From<RemoteError> for RepositoryError {
    fn from(error: RemoteError) -> Self {
        Self::Cut(error.to_string())
    }
}

impl RepositoryError {
    pub(crate) fn library(doing: &'static str) -> impl Fn(Box<RusticError>) -> Self {
        move |error| Self::Library { doing, words: words(&error) }
    }
}
