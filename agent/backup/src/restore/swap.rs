//! The moment of a restore: what was written beside takes the place of what is
//! there, and what was there stays, as the safety copy.
//!
//! One name is exchanged atomically by the kernel. Several are exchanged one
//! after another under a journal: after a crash [`recover`] finds it and undoes
//! what was done, so that there is the old state or the new, never some of both.

use daemon::durable::{self, DurableError};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

const JOURNAL: &str = "swap.json";

/// Why nothing was swapped.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// One name could not be exchanged; the others were exchanged back.
    #[error("{} could not take its place: {source}; all is as it was", live.display())]
    Exchange {
        /// The name.
        live: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was done could not be undone.
    #[error(
        "the swap of {} could not be undone: {source}; {} says what belongs where",
        live.display(), journal.display()
    )]
    Undo {
        /// The name.
        live: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The journal cannot be understood.
    #[error("{} is not the journal of a swap: {words}", journal.display())]
    Journal {
        /// The journal.
        journal: PathBuf,
        /// Why.
        words: String,
    },
}

/// One name that changes places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pair {
    /// Where it is used.
    pub(crate) live: PathBuf,
    /// Where the new one was written.
    pub(crate) new: PathBuf,
    /// The new one's number, which tells afterwards where it is.
    inode: u64,
    /// Whether there was one before.
    existed: bool,
}

fn inode(path: &Path) -> io::Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Pair {
    pub(crate) fn new(live: PathBuf, new: PathBuf) -> io::Result<Self> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "what was restored is not there");
        let number = inode(&new)?.ok_or_else(missing)?;
        let existed = inode(&live)?.is_some();
        Ok(Self { live, new, inode: number, existed })
    }

    fn forth(&self) -> io::Result<()> {
        let flags = if self.existed { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        Ok(renameat_with(CWD, &self.new, CWD, &self.live, flags)?)
    }

    /// Undoes it where it was done.
    fn back(&self) -> io::Result<()> {
        if inode(&self.live)? != Some(self.inode) {
            return Ok(());
        }
        let flags = if self.existed { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, &self.live, CWD, &self.new, flags) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Swaps every pair, or none. `beside` is the directory that the new ones are in.
pub(crate) fn swap(beside: &Path, pairs: &[Pair]) -> Result<(), SwapError> {
    let journal = beside.join(JOURNAL);
    let text = serde_json::to_vec(pairs).unwrap_or_default();
    durable::write_atomic(&journal, &text, 0o600)?;
    for pair in pairs {
        if let Err(source) = pair.forth() {
            undo(&journal, pairs)?;
            return Err(SwapError::Exchange { live: pair.live.clone(), source });
        }
    }
    for parent in pairs.iter().filter_map(|pair| pair.live.parent()) {
        durable::sync_directory(parent)?;
    }
    // From here on it is the new state, whatever happens.
    remove_journal(&journal)?;
    Ok(())
}

fn remove_journal(journal: &Path) -> Result<(), DurableError> {
    let failed = |error| DurableError::new(durable::Operation::Write, journal, error);
    fs::remove_file(journal).map_err(failed)?;
    match journal.parent() {
        Some(parent) => durable::sync_directory(parent),
        None => Ok(()),
    }
}

fn undo(journal: &Path, pairs: &[Pair]) -> Result<(), SwapError> {
    for pair in pairs.iter().rev() {
        pair.back().map_err(|source| SwapError::Undo {
            live: pair.live.clone(),
            journal: journal.into(),
            source,
        })?;
    }
    for parent in pairs.iter().filter_map(|pair| pair.live.parent()) {
        durable::sync_directory(parent)?;
    }
    Ok(remove_journal(journal)?)
}

/// What a killed restore left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing.
    Nothing,
    /// Files that never took their place.
    Unused,
    /// Some names had been swapped; they are back.
    Undone,
}

/// Finds what a killed restore left in `beside` and undoes a swap that was not
/// finished.
pub(crate) fn recover(beside: &Path) -> Result<Left, SwapError> {
    let journal = beside.join(JOURNAL);
    if let Some(text) = durable::read_optional(&journal)? {
        let pairs: Vec<Pair> = serde_json::from_slice(&text).map_err(|error| {
            SwapError::Journal { journal: journal.clone(), words: error.to_string() }
        })?;
        undo(&journal, &pairs)?;
        return Ok(Left::Undone);
    }
    Ok(if beside.exists() { Left::Unused } else { Left::Nothing })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        pairs: Vec<Pair>,
    }

    /// `a` and `b` are there and `c` is not; all three are new beside.
    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let beside = dir.path().join("beside");
        fs::create_dir(&beside).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(beside.join(name), "new").unwrap();
        }
        for name in ["a", "b"] {
            fs::write(dir.path().join(name), "old").unwrap();
        }
        let pairs = ["a", "b", "c"]
            .map(|name| Pair::new(dir.path().join(name), beside.join(name)).unwrap())
            .to_vec();
        Place { dir, pairs }
    }

    impl Place {
        fn beside(&self) -> PathBuf {
            self.dir.path().join("beside")
        }

        fn state(&self) -> String {
            let read =
                |name| fs::read_to_string(self.dir.path().join(name)).unwrap_or("none".into());
            ["a", "b", "c"].map(read).join(" ")
        }
    }

    #[test]
    fn every_name_takes_its_place_and_the_old_ones_stay_beside() {
        let place = place();
        swap(&place.beside(), &place.pairs).unwrap();
        assert_eq!(place.state(), "new new new");
        assert_eq!(fs::read_to_string(place.beside().join("a")).unwrap(), "old");
        assert_eq!(recover(&place.beside()).unwrap(), Left::Unused);
        assert_eq!(place.state(), "new new new", "a finished swap is not undone");
    }

    #[test]
    fn a_crash_after_any_step_is_undone() {
        for steps in 0..=3 {
            let place = place();
            // What `swap` does until it is killed after so many steps.
            let text = serde_json::to_vec(&place.pairs).unwrap();
            durable::write_atomic(&place.beside().join(JOURNAL), &text, 0o600).unwrap();
            for pair in &place.pairs[..steps] {
                pair.forth().unwrap();
            }
            assert_eq!(recover(&place.beside()).unwrap(), Left::Undone);
            assert_eq!(place.state(), "old old none", "{steps}");
            assert_eq!(recover(&place.beside()).unwrap(), Left::Unused);
        }
    }

    #[test]
    fn a_name_that_cannot_be_swapped_leaves_all_as_it_was() {
        let place = place();
        // `c` was made by somebody else meanwhile.
        fs::write(place.dir.path().join("c"), "theirs").unwrap();
        let error = swap(&place.beside(), &place.pairs).unwrap_err();
        assert!(error.to_string().contains("as it was"), "{error}");
        assert_eq!(place.state(), "old old theirs");
    }
}
