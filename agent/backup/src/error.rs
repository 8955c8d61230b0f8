//! Why a verb came to nothing.

use crate::{
    repository::RepositoryError, restore::RestoreError, source::SourceError, verify::VerifyError,
};
use daemon::exit::Exit;

/// Why a verb came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// agent.toml has no such source.
    #[error("agent.toml has no [[backup]] named `{name}`; it has: {known}")]
    NoSource {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// agent.toml has no sources at all.
    #[error("agent.toml has no [[backup]]; docs/backup.md says how to write one")]
    Nothing,
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The source.
    #[error("backup of `{source_name}` failed, and no snapshot was made: {source}")]
    Source {
        /// The source.
        source_name: String,
        /// Why.
        source: SourceError,
    },
    /// What was read or written was not whole.
    #[error(
        "backup of `{source_name}` failed, and no snapshot was made: {count} fault(s): {words}"
    )]
    Faults {
        /// The source.
        source_name: String,
        /// How many.
        count: u64,
        /// The first of them.
        words: String,
    },
    /// The snapshot is there, and containers do not go on.
    #[error("`{source_name}` was copied, and then: {source}")]
    Release {
        /// The source.
        source_name: String,
        /// Why.
        source: SourceError,
    },
    /// Verification.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Restore.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// One of several repositories.
    #[error("repository `{repository}`: {source}")]
    In {
        /// The repository.
        repository: String,
        /// Why.
        source: Box<BackupError>,
    },
    /// There is no such snapshot.
    #[error("{0}")]
    NoSnapshot(String),
    /// The time cannot be read.
    #[error("--at: `{0}` is no time; write 2026-11-21T10:00:00Z, or 1h for an hour ago")]
    Time(String),
    /// A limit of this process.
    #[error("the limits of this process: {0}")]
    Limits(std::io::Error),
}

impl BackupError {
    /// Says in which repository; `alone` when there is no other.
    pub(crate) fn within(self, repository: &str, alone: bool) -> Self {
        if alone {
            return self;
        }
        Self::In { repository: repository.into(), source: Box::new(self) }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::In { source, .. } => source.exit(),
            Self::NoSource { .. } | Self::Nothing | Self::Time(_) => Exit::Usage,
            Self::Restore(error) => error.exit(),
            Self::Repository(_)
            | Self::Source { .. }
            | Self::Faults { .. }
            | Self::Release { .. }
            | Self::Verify(_)
            | Self::NoSnapshot(_)
            | Self::Limits(_) => Exit::Failed,
        }
    }
}
