//! Files that survive a crash: written beside, synced, then renamed into place.
//!
//! After a failure the old content still stands and the caller must not act on
//! the new one; a daemon ends with [`crate::exit::Exit::NotDurable`]. Who may
//! write is settled by [`crate::lock`], not here.

use rustix::io::Errno;
use std::{
    ffi::OsStr,
    fmt,
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// What the temporary files beside the real ones end with.
const TEMPORARY: &str = ".understudy-tmp";

/// What was being done when a file operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading a file.
    Read,
    /// Creating a file.
    Create,
    /// Writing into it.
    Write,
    /// Making it durable.
    Sync,
    /// Putting it into its place.
    Rename,
    /// Making a directory.
    MakeDirectory,
    /// Making a directory's entries durable.
    SyncDirectory,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename into place",
            Self::MakeDirectory => "make the directory",
            Self::SyncDirectory => "sync the directory",
        })
    }
}

/// Why a file is not durably as wanted.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// ENOSPC or EDQUOT.
    #[error(
        "cannot {operation} {}: no space is left there; what was there before still stands. \
         Free some space (`df -h {parent}`, `df -i {parent}`, quotas), then start again",
        path.display(), parent = directory(path).display()
    )]
    NoSpace {
        /// What was being done.
        operation: Operation,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// EROFS.
    #[error(
        "cannot {operation} {}: its file system is mounted read-only; look in `dmesg` for a disk \
         error, then mount it writable again", path.display()
    )]
    ReadOnly {
        /// What was being done.
        operation: Operation,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// EACCES or EPERM.
    #[error(
        "cannot {operation} {}: permission denied for user {user}; give it to that user \
         (`chown`), or run as its owner", path.display()
    )]
    Denied {
        /// What was being done.
        operation: Operation,
        /// To which file.
        path: PathBuf,
        /// The user id that was refused.
        user: u32,
        /// What the system said.
        source: io::Error,
    },
    /// Others may look into a directory that holds secrets.
    #[error(
        "{} is open to other users (mode {mode:04o}) and holds secrets; close it with \
         `chmod 700 {}`, or name another directory", path.display(), path.display()
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Anything else.
    #[error("cannot {operation} {}: {source}", path.display())]
    Failed {
        /// What was being done.
        operation: Operation,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DurableError {
    /// The error in words that fit the system's.
    #[must_use]
    pub fn new(operation: Operation, path: &Path, source: io::Error) -> Self {
        let path = path.into();
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { operation, path, source },
            Some(Errno::ROFS) => Self::ReadOnly { operation, path, source },
            Some(Errno::ACCESS | Errno::PERM) => {
                let user = rustix::process::geteuid().as_raw();
                Self::Denied { operation, path, user, source }
            }
            Some(_) | None => Self::Failed { operation, path, source },
        }
    }
}

/// The directory that holds `path`.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes `value` as JSON for people to read, by [`write_atomic`], and makes the
/// directory where it is missing. Blocks.
///
/// # Errors
/// [`DurableError`]; as with [`write_atomic`].
pub fn write_json<T: serde::Serialize>(
    path: &Path,
    value: &T,
    mode: u32,
) -> Result<(), DurableError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| DurableError::new(Operation::Write, path, error.into()))?;
    let parent = directory(path);
    std::fs::create_dir_all(parent)
        .map_err(|error| DurableError::new(Operation::MakeDirectory, parent, error))?;
    write_atomic(path, format!("{text}\n").as_bytes(), mode)
}

/// Replaces a file's content as one act: afterwards the file is durably the new
/// one, or, with an error, still the old one. `mode` is exact, whatever the
/// umask. A symbolic link at `path` is replaced, not followed. Blocks.
///
/// # Errors
/// [`DurableError`]; no temporary file stays behind unless the machine dies.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let parent = directory(path);
    let Some(name) = path.file_name() else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
        return Err(DurableError::new(Operation::Create, path, source));
    };
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = OsStr::new(".").to_owned();
    temporary.push(name);
    temporary.push(format!(".{}-{count}{TEMPORARY}", std::process::id()));
    let temporary = parent.join(temporary);

    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(|error| DurableError::new(Operation::Create, path, error))
        .and_then(|file| fill(&file, path, bytes, mode))
        .and_then(|()| {
            std::fs::rename(&temporary, path)
                .map_err(|error| DurableError::new(Operation::Rename, path, error))
        });
    if let Err(error) = written {
        // The first failure is the one to tell; the sweep at the next start
        // takes what cannot be removed now.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(parent)
}

fn fill(mut file: &File, path: &Path, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    let failed = |operation| move |error| DurableError::new(operation, path, error);
    file.write_all(bytes).map_err(failed(Operation::Write))?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed(Operation::Write))?;
    file.sync_all().map_err(failed(Operation::Sync))
}

/// Makes the names in a directory durable. Blocks.
///
/// # Errors
/// [`DurableError`] naming the directory.
pub fn sync_directory(path: &Path) -> Result<(), DurableError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| DurableError::new(Operation::SyncDirectory, path, error))
}

/// A file's content, or `None` when there is no such file. Blocks.
///
/// # Errors
/// [`DurableError`]: it is there and cannot be read.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, DurableError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DurableError::new(Operation::Read, path, error)),
    }
}

/// Makes a directory that only this user may enter (0700), with its parents
/// (0755 within the umask), durably. One that exists is taken when others may
/// not enter it, or closed when it is this user's and still empty.
///
/// # Errors
/// [`DurableError::NotPrivate`] for one that others may enter and that holds
/// something; otherwise what the system says.
pub fn create_private_dir(path: &Path) -> Result<(), DurableError> {
    let failed = |error| DurableError::new(Operation::MakeDirectory, path, error);
    let parent = directory(path);
    std::fs::create_dir_all(parent).map_err(failed)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            // The umask may have taken bits away; give exactly 0700.
            std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
            sync_directory(parent)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_private(path),
        Err(error) => Err(failed(error)),
    }
}

fn check_private(path: &Path) -> Result<(), DurableError> {
    let failed = |error| DurableError::new(Operation::MakeDirectory, path, error);
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_dir() {
        return Err(failed(io::Error::new(
            io::ErrorKind::NotADirectory,
            "something else has that name",
        )));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let empty = std::fs::read_dir(path).map_err(failed)?.next().is_none();
    if empty && meta.uid() == rustix::process::geteuid().as_raw() {
        return std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed);
    }
    Err(DurableError::NotPrivate { path: path.into(), mode })
}

/// Removes what [`write_atomic`] left in a directory when the machine died in
/// the middle of it. Only for the holder of the directory's lock.
///
/// # Errors
/// [`DurableError`]: the directory cannot be read, or a leftover not removed.
pub(crate) fn sweep(path: &Path) -> Result<(), DurableError> {
    let failed = |error| DurableError::new(Operation::Read, path, error);
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().as_encoded_bytes().ends_with(TEMPORARY.as_bytes()) {
            std::fs::remove_file(entry.path())
                .map_err(|error| DurableError::new(Operation::Write, &entry.path(), error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
