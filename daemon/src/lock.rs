//! One process for one state directory.
//!
//! The kernel holds the lock and drops it with the process, however that dies;
//! the text in the file is only for people. Local file systems only.

use crate::durable::{self, DurableError, Operation};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The lock's file within the state directory.
const FILE: &str = "lock";

/// Why a state directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "{} is in use by {holder}; stop that one first, or give this one another state_dir",
        directory.display()
    )]
    Held {
        /// The state directory.
        directory: PathBuf,
        /// `pid 4711 (understudy-agent)`, or that it cannot be told.
        holder: String,
    },
    /// Anybody may change what the program relies on.
    #[error(
        "every user may write into {} (mode {mode:04o}); stop that with `chmod o-w {}`, or name \
         another state_dir", directory.display(), directory.display()
    )]
    Writable {
        /// The state directory.
        directory: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory or its lock file cannot be used.
    #[error(transparent)]
    File(#[from] DurableError),
}

/// The right to use a state directory, until dropped.
#[derive(Debug)]
pub struct StateLock {
    file: File,
    directory: PathBuf,
}

impl StateLock {
    /// Makes the directory (0700) where there is none, takes its lock without
    /// waiting, and clears what a crash left of unfinished writes in it. One
    /// that others may read is taken (what is secret in it has a directory of
    /// its own); one that everybody may write is not.
    ///
    /// # Errors
    /// [`LockError`]; `Held` says who has it.
    pub fn acquire(directory: &Path, program: &str) -> Result<Self, LockError> {
        match std::fs::metadata(directory) {
            Ok(meta) if meta.is_dir() && meta.mode() & 0o002 != 0 => {
                let mode = meta.mode() & 0o7777;
                return Err(LockError::Writable { directory: directory.into(), mode });
            }
            Ok(meta) if meta.is_dir() => {}
            // Not there, or unusable: making it says which.
            Ok(_) | Err(_) => durable::create_private_dir(directory)?,
        }
        let path = directory.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| DurableError::new(Operation::Create, &path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = holder(&mut file);
                return Err(LockError::Held { directory: directory.into(), holder });
            }
            Err(errno) => {
                return Err(DurableError::new(Operation::Create, &path, errno.into()).into());
            }
        }
        sign(&mut file, program)
            .map_err(|error| DurableError::new(Operation::Write, &path, error))?;
        durable::sweep(directory)?;
        Ok(Self { file, directory: directory.into() })
    }

    /// The directory that is held.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // Closing would do; a child process between fork and exec may still
        // hold a copy of the descriptor, and unlocking covers all copies.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn sign(file: &mut File, program: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{} {program}", std::process::id())
}

/// What the holder wrote of itself. It may be writing just now.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // A line holds a pid and a program's name; more is not ours.
    let read = file.take(256).read_to_string(&mut text);
    match (read, text.trim().split_once(' ')) {
        (Ok(_), Some((pid, program))) => format!("pid {pid} ({program})"),
        (Ok(_), None) | (Err(_), _) => {
            "another process (`fuser -v` on its file `lock` names it)".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = StateLock::acquire(&state, "understudy-agent").unwrap();
        assert_eq!(first.directory(), state);
        let words = StateLock::acquire(&state, "understudy-agent").unwrap_err().to_string();
        let holder = format!("pid {} (understudy-agent)", std::process::id());
        assert!(words.contains(&holder) && words.contains("state_dir"), "{words}");
        drop(first);
        let again = StateLock::acquire(&state, "x").unwrap();
        let text = std::fs::read_to_string(state.join(FILE)).unwrap();
        assert_eq!(text, format!("{} x\n", std::process::id()));
        again.file.set_len(0).unwrap();
        let words = StateLock::acquire(&state, "y").unwrap_err().to_string();
        assert!(words.contains("another process"), "{words}");
    }

    #[test]
    fn a_directory_that_everybody_may_write_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode| std::fs::set_permissions(dir.path(), Permissions::from_mode(mode));
        mode(0o777).unwrap();
        let words = StateLock::acquire(dir.path(), "x").unwrap_err().to_string();
        assert!(words.contains("0777") && words.contains("chmod o-w"), "{words}");
        mode(0o775).unwrap();
        drop(StateLock::acquire(dir.path(), "x").unwrap());
        assert!(StateLock::acquire(&dir.path().join(FILE), "x").is_err());
    }
}
