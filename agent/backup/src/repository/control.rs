//! What went wrong beside the library's own result.
//!
//! The library logs a file that it could not read, or a pack that it could not
//! write, and saves the snapshot without it. Here such faults are counted, and
//! the backend refuses the snapshot's own write while there is one: a half copy
//! never becomes a snapshot, whatever is killed and whenever.

use rustic_core::{ErrorKind, FileType, RusticError, RusticResult};
use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Faults kept word for word; the rest is counted. More would not help anybody.
const KEPT: usize = 20;

/// The faults of one run.
#[derive(Debug, Default)]
pub(crate) struct Control {
    words: Mutex<Vec<String>>,
    count: AtomicU64,
    entries: AtomicU64,
    vanished: AtomicU64,
    cut: OnceLock<String>,
}

impl Control {
    /// Notes a fault.
    pub(crate) fn fault(&self, words: impl Into<String>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        let mut kept = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(words.into());
        }
    }

    /// How many faults there were.
    pub(crate) fn faults(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Refuses a snapshot of what could not be read or written wholly: every backend
    /// asks before it writes a file.
    pub(crate) fn admits(&self, tpe: FileType) -> RusticResult<()> {
        if tpe == FileType::Snapshot && self.faults() > 0 {
            return Err(RusticError::new(
                ErrorKind::InputOutput,
                "no snapshot is made of what could not be read or written wholly",
            ));
        }
        Ok(())
    }

    /// The first of them.
    pub(crate) fn words(&self) -> Vec<String> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the repository's place did not do what it was asked for, which
    /// says nothing about the copies in it.
    pub(crate) fn cut(&self, words: impl Into<String>) {
        // The first is the one to tell.
        let _ = self.cut.set(words.into());
    }

    /// The first words of that.
    pub(crate) fn was_cut(&self) -> Option<&str> {
        self.cut.get().map(String::as_str)
    }

    /// Notes an entry that was handed to the library.
    pub(crate) fn entry(&self) {
        self.entries.fetch_add(1, Ordering::SeqCst);
    }

    /// Entries handed over.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::SeqCst)
    }

    /// Notes a file that was removed between being listed and being opened.
    pub(crate) fn vanished(&self) {
        self.vanished.fetch_add(1, Ordering::SeqCst);
    }

    /// How many were.
    pub(crate) fn vanished_count(&self) -> u64 {
        self.vanished.load(Ordering::SeqCst)
    }
}
