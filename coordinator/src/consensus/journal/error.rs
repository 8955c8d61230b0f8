//! What can go wrong with the journal's file, in words that say what to do.

use redb::{DatabaseError, Error as Cause, StorageError};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Why the journal cannot be used. Whatever it is, nothing that was not made
/// durable was ever acknowledged, to an operator or to another coordinator.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened or created.
    #[error(
        "cannot open the journal {}; check that its directory exists, belongs to this program's \
         user and has space left", path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Box<Cause>,
    },
    /// Another process holds it.
    #[error(
        "the journal {} is in use by another process; stop that understudy-coordinator first",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a later program.
    #[error(
        "the journal {} has format {format}, and this program knows only format {known}; \
         run the version of understudy-coordinator that wrote it, or a later one", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        format: u64,
        /// What this program writes.
        known: u64,
    },
    /// The file as a whole is not what was written.
    #[error("the journal {} is damaged: {detail}; {}", path.display(), repair(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// One entry is not what was written.
    #[error(
        "the journal {} is damaged at entry {index}: {detail}; {}",
        path.display(), repair(path)
    )]
    DamagedEntry {
        /// The file.
        path: PathBuf,
        /// The entry's index in the log.
        index: u64,
        /// What was found.
        detail: String,
    },
    /// No space, no quota, or a limit on file size.
    #[error(
        "cannot {doing} in the journal {}: no space is left for it, so nothing of it was \
         acknowledged and this process ends; free some space (`df -h`, `df -i`, quotas, \
         `LimitFSIZE=`) and start it again", path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: Box<Cause>,
    },
    /// Reading or writing failed otherwise.
    #[error(
        "cannot {doing} in the journal {}, so nothing of it was acknowledged and this process \
         ends; look at the space (`df -h`, `df -i`, quotas) and at the disk (`dmesg`), then start \
         it again", path.display()
    )]
    Failed {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: Box<Cause>,
    },
}

/// What an operator does about damage.
fn repair(path: &Path) -> String {
    format!(
        "this coordinator must not use it: stop it, remove {} from its state directory and start \
         it again, and it rejoins as a new member with a copy from the others",
        path.display()
    )
}

/// Sorts a failure while working.
pub(super) fn working(path: &Path, doing: &'static str, cause: Cause) -> JournalError {
    let path = path.to_path_buf();
    match cause {
        Cause::Corrupted(detail) => JournalError::Damaged { path, detail },
        cause if is_full(&cause) => JournalError::Full { path, doing, source: Box::new(cause) },
        cause => JournalError::Failed { path, doing, source: Box::new(cause) },
    }
}

/// Sorts a failure to open.
pub(super) fn opening(path: &Path, cause: DatabaseError) -> JournalError {
    let path = path.to_path_buf();
    match cause {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            JournalError::Locked { path }
        }
        DatabaseError::Storage(StorageError::Corrupted(detail)) => {
            JournalError::Damaged { path, detail }
        }
        DatabaseError::Storage(StorageError::Io(io))
            if matches!(io.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) =>
        {
            JournalError::Damaged { path, detail: io.to_string() }
        }
        cause => {
            let cause = Cause::from(cause);
            if is_full(&cause) {
                let doing = "open it or recover";
                JournalError::Full { path, doing, source: Box::new(cause) }
            } else {
                JournalError::Open { path, source: Box::new(cause) }
            }
        }
    }
}

/// Whether no more bytes fit: the disk, the quota, or the process's limit on file size.
fn is_full(cause: &Cause) -> bool {
    matches!(cause, Cause::Io(io) if matches!(
        io.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    ))
}
