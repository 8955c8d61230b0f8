//! The agent's durable memory (A1, A7): highest term, highest epochs, what this
//! host was promoted and fenced under, and what came of each command.
//!
//! A thread of its own writes, so that a slow disk never holds up the loop that
//! stops services (A4). What was given to [`Ledger::append`] is in
//! [`Ledger::memory`] at once and may be acted on where acting means closing;
//! everything else waits for its [`Durable`]. After a failed write nothing is
//! written any more and the process has to end.

mod file;
mod line;
mod memory;

pub use file::{FILE, LedgerError};
pub use line::LineError;
pub use memory::{COMMANDS_MAX, CommandMemory, Entry, GroupMemory, Memory, Promotion};

use file::LedgerFile;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait: each group has at most one command at work, so a
/// healthy disk never lets even ten gather.
const QUEUE: usize = 256;

/// Resolves when the entries are on disk.
#[derive(Debug)]
pub struct Durable(oneshot::Receiver<()>);

impl Durable {
    /// Waits; `false` when the ledger has failed, and the entries must not be acted on.
    pub async fn settled(self) -> bool {
        self.0.await.is_ok()
    }
}

#[derive(Debug)]
struct Batch {
    entries: Vec<Entry>,
    done: oneshot::Sender<()>,
}

/// The ledger, as its one owner holds it.
#[derive(Debug)]
pub struct Ledger {
    memory: Memory,
    queue: mpsc::Sender<Batch>,
    path: PathBuf,
}

/// Tells of the first failed write.
pub type Failure = oneshot::Receiver<LedgerError>;

impl Ledger {
    /// Opens or makes the ledger in the state directory and starts its thread,
    /// which ends when the ledger is dropped. Blocks.
    ///
    /// # Errors
    /// [`LedgerError`]: damaged, not ours, or not durable.
    pub fn open(directory: &Path) -> Result<(Self, Failure), LedgerError> {
        let (file, memory) = LedgerFile::open(directory)?;
        let path: PathBuf = file.path().into();
        let (queue, batches) = mpsc::channel(QUEUE);
        let (failed, failure) = oneshot::channel();
        std::thread::Builder::new()
            .name("ledger".into())
            // It formats lines and calls the kernel; the default 2 MiB is waste.
            .stack_size(256 * 1024)
            .spawn(move || write(file, batches, failed))
            .map_err(|error| {
                use daemon::durable::{DurableError, Operation};
                DurableError::new(Operation::Write, &path, error)
            })?;
        Ok((Self { memory, queue, path }, failure))
    }

    /// What is remembered, including what is not durable yet.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Resolves when everything appended so far is on disk; writes nothing itself.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn settled(&mut self) -> Result<Durable, LedgerError> {
        self.append(Vec::new())
    }

    /// Takes entries in, as one act: after a crash all of them are there or none.
    ///
    /// # Errors
    /// [`LedgerError::Stalled`] and [`LedgerError::Failed`]: the process has to end.
    pub fn append(&mut self, entries: Vec<Entry>) -> Result<Durable, LedgerError> {
        for entry in &entries {
            self.memory.apply(entry.clone());
        }
        let (done, durable) = oneshot::channel();
        self.queue.try_send(Batch { entries, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                LedgerError::Stalled { path: self.path.clone(), waiting: QUEUE }
            }
            mpsc::error::TrySendError::Closed(_) => LedgerError::Failed { path: self.path.clone() },
        })?;
        Ok(Durable(durable))
    }
}

/// A disk that takes its time: what was appended is durable when a test says so.
#[cfg(test)]
pub(crate) struct SlowDisk(mpsc::Receiver<Batch>);

#[cfg(test)]
impl SlowDisk {
    /// Everything appended so far is durable now.
    pub(crate) fn settle(&mut self) {
        while let Ok(batch) = self.0.try_recv() {
            let _ = batch.done.send(());
        }
    }
}

#[cfg(test)]
impl Ledger {
    /// An empty ledger on a slow disk.
    pub(crate) fn on_slow_disk() -> (Self, SlowDisk) {
        let (queue, batches) = mpsc::channel(QUEUE);
        (Self { memory: Memory::default(), queue, path: FILE.into() }, SlowDisk(batches))
    }
}

/// The thread: what has gathered while the disk was busy goes in one line.
fn write(
    mut file: LedgerFile,
    mut batches: mpsc::Receiver<Batch>,
    failed: oneshot::Sender<LedgerError>,
) {
    while let Some(first) = batches.blocking_recv() {
        let (mut entries, mut done) = (first.entries, vec![first.done]);
        while let Ok(more) = batches.try_recv() {
            entries.extend(more.entries);
            done.push(more.done);
        }
        // Only asked how far the disk is: all before this one is there.
        let written = if entries.is_empty() { Ok(()) } else { file.append(&entries) };
        if let Err(error) = written {
            // Before anybody hears of it: nothing is taken in any more.
            batches.close();
            // Nobody listens only when the process is ending already.
            let _ = failed.send(error);
            return;
        }
        for done in done {
            // A task that was cancelled no longer waits.
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests;
