//! Reading a journal without taking part: a copy of the file, on any machine,
//! also beside a running coordinator. Nothing is ever written to the original.

use super::{
    fatal::Fatality,
    journal::{JOURNAL_FILE, Journal, JournalError},
    machine::Machine,
};
use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// A running coordinator may write while its file is copied, and the copy is
/// torn then, which its checksums show: so often it is copied again.
const COPIES_MAX: u32 = 5;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// It is not there, or cannot be copied.
    #[error("{} cannot be copied: {source}", path.display())]
    Copy {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The copy makes no sense.
    #[error("a copy of {} cannot be read", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: JournalError,
    },
}

/// A folder for the copy; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make(number: u32) -> io::Result<Self> {
        let name = format!("understudy-journal-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Fails when somebody else has made it: nobody else may read the copy.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is a copy in the system's own temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The state that the journal in `directory` holds: its snapshot, and every
/// record after it that this member knew to be committed. Blocks.
///
/// # Errors
/// [`OfflineError`]: no journal there, or a damaged one.
pub fn read(directory: &Path) -> Result<failover::State, OfflineError> {
    let path = directory.join(JOURNAL_FILE);
    let mut number = 1;
    loop {
        let copied = Scratch::make(number).and_then(|scratch| {
            fs::copy(&path, scratch.0.join(JOURNAL_FILE))?;
            Ok(scratch)
        });
        let scratch = copied.map_err(|source| OfflineError::Copy { path: path.clone(), source })?;
        match fold(&scratch.0) {
            Ok(state) => return Ok(state),
            Err(source) if number >= COPIES_MAX => {
                return Err(OfflineError::Journal { path, source });
            }
            Err(_) => number += 1,
        }
    }
}

fn fold(directory: &Path) -> Result<failover::State, JournalError> {
    let fatality = Arc::new(Fatality::default());
    let (journal, _closed) = Journal::open(directory, Arc::clone(&fatality))?;
    // Nobody is told anything: the receiver is gone before anything is sent.
    let (applied, _) = mpsc::channel(1);
    Ok(Machine::recover(&journal, applied, fatality)?.into_state())
}
