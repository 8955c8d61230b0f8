//! The journal's file: log, vote and snapshot in one redb database.
//!
//! Entries, votes and snapshots are on the disk (fsync) before a call returns;
//! only the "committed" hint is not, because it is redone from the log. Calls
//! block: [`Journal::run`] moves them off the async threads and turns a failure
//! into the process's end. What the entries mean is not known here.

mod check;
mod error;
pub(super) mod frame;

pub use error::JournalError;

use super::{
    fatal::{FatalError, Fatality, in_full},
    types::{Entry, LogId, Snapshot, SnapshotMeta, Vote},
};
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    convert::Infallible,
    fs::{File, OpenOptions},
    io,
    ops::Bound,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// The file's name in the state directory.
pub const JOURNAL_FILE: &str = "journal.redb";
/// Entries by index.
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Single values by name.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Memory for pages; the file is a few megabytes.
const CACHE: usize = 32 << 20;

mod key {
    pub(super) const FORMAT: &str = "format";
    pub(super) const NODE: &str = "node";
    pub(super) const VOTE: &str = "vote";
    pub(super) const COMMITTED: &str = "committed";
    pub(super) const PURGED: &str = "purged";
    pub(super) const SNAPSHOT_META: &str = "snapshot-meta";
    pub(super) const SNAPSHOT: &str = "snapshot";
}

type Stored<T> = Result<T, redb::Error>;

/// The open file.
pub(super) struct Journal {
    path: PathBuf,
    node: u64,
    /// What is on the disk; read for every message, so not from there.
    vote: Mutex<Option<Vote>>,
    fatality: Arc<Fatality>,
    db: Database,
    /// Dropped after the database (fields drop in order): then it is closed.
    _open: mpsc::Sender<Infallible>,
}

impl Journal {
    /// Opens or creates the file, and reads all of it once: damage is found now
    /// and not when the damaged entry is needed. The receiver ends when the
    /// file is closed.
    pub(super) fn open(
        directory: &Path,
        fatality: Arc<Fatality>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Infallible>), JournalError> {
        let path = directory.join(JOURNAL_FILE);
        let db = open_database(directory, &path)?;
        let node = check::prepare(&path, &db)?;
        let (open, closed) = mpsc::channel(1);
        let vote = Mutex::default();
        let journal = Self { path, node, vote, fatality, db, _open: open };
        let vote = journal.get(key::VOTE)?;
        *journal.cached_vote() = vote;
        journal.check()?;
        Ok((Arc::new(journal), closed))
    }

    /// This node's number: drawn when the file was created, and lost with it,
    /// so that a wiped coordinator cannot vote a second time under its old number.
    pub(super) const fn node(&self) -> u64 {
        self.node
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Does blocking work on its own thread. A failure is fatal.
    pub(super) async fn run<T, W>(self: &Arc<Self>, work: W) -> io::Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Self) -> Result<T, JournalError> + Send + 'static,
    {
        let journal = Arc::clone(self);
        let error = match tokio::task::spawn_blocking(move || work(&journal)).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => FatalError::Journal(error),
            Err(task) => FatalError::Ended(format!("work on the journal: {task}")),
        };
        // The library keeps the text alone; the error itself goes to the process's main.
        let text = in_full(&error);
        self.fatality.report(error);
        Err(io::Error::other(text))
    }

    /// Makes entries durable.
    pub(super) fn append(&self, entries: &[Entry]) -> Result<(), JournalError> {
        self.write("append entries", |write| {
            let mut log = write.open_table(LOG)?;
            for entry in entries {
                log.insert(entry.log_id.index, encode(entry)?.as_slice())?;
            }
            Ok(())
        })
    }

    /// The entries in a range of indices, as many as there are.
    pub(super) fn entries(
        &self,
        range: (Bound<u64>, Bound<u64>),
    ) -> Result<Vec<Entry>, JournalError> {
        let stored = self.read("read entries", |read| {
            let log = read.open_table(LOG)?;
            let mut stored = Vec::new();
            for pair in log.range::<u64>(range)? {
                let (index, bytes) = pair?;
                stored.push((index.value(), frame::decode::<Entry>(bytes.value())));
            }
            Ok(stored)
        })?;
        let entry = |(index, entry): (u64, Result<Entry, _>)| {
            entry.map_err(|why: frame::FrameError| self.damaged_at(index, why.to_string()))
        };
        stored.into_iter().map(entry).collect()
    }

    /// Removes the entries after this one, all when there is none.
    pub(super) fn truncate_after(&self, last: Option<LogId>) -> Result<(), JournalError> {
        self.write("remove superseded entries", |write| {
            let from = last.map_or(Bound::Unbounded, |last| Bound::Excluded(last.index));
            let mut log = write.open_table(LOG)?;
            log.retain_in::<u64, _>((from, Bound::Unbounded), |_, _| false)?;
            Ok(())
        })
    }

    /// Removes the entries up to this one, which a snapshot holds.
    pub(super) fn purge(&self, upto: LogId) -> Result<(), JournalError> {
        self.write("remove old entries", |write| {
            put(write, key::PURGED, &upto)?;
            let mut log = write.open_table(LOG)?;
            log.retain_in::<u64, _>(..=upto.index, |_, _| false)?;
            Ok(())
        })
    }

    /// The last purged entry, and the last of all.
    pub(super) fn log_state(&self) -> Result<(Option<LogId>, Option<LogId>), JournalError> {
        let purged = self.get(key::PURGED)?;
        let last = self.read("read the last entry", |read| {
            let log = read.open_table(LOG)?;
            let last = log.last()?;
            Ok(last.map(|(index, _)| index.value()))
        })?;
        let Some(index) = last else { return Ok((purged, purged)) };
        let at = Bound::Included(index);
        let entry = self.entries((at, at))?.pop();
        Ok((purged, entry.map(|entry| entry.log_id).or(purged)))
    }

    /// Makes a vote durable.
    pub(super) fn save_vote(&self, vote: Vote) -> Result<(), JournalError> {
        self.write("store a vote", |write| put(write, key::VOTE, &vote))?;
        *self.cached_vote() = Some(vote);
        Ok(())
    }

    /// The vote on the disk.
    pub(super) fn vote(&self) -> Option<Vote> {
        *self.cached_vote()
    }

    /// Notes how far is committed. Not synced: it only saves a restarted node
    /// from waiting for a leader before it knows.
    pub(super) fn save_committed(&self, committed: Option<LogId>) -> Result<(), JournalError> {
        let work = || {
            let mut write = self.db.begin_write()?;
            write.set_durability(Durability::None)?;
            put(&write, key::COMMITTED, &committed)?;
            Ok(write.commit()?)
        };
        work().map_err(|cause| error::working(&self.path, "note what is committed", cause))
    }

    /// How far was known to be committed.
    pub(super) fn committed(&self) -> Result<Option<LogId>, JournalError> {
        Ok(self.get::<Option<LogId>>(key::COMMITTED)?.flatten())
    }

    /// Makes a snapshot durable, in the place of the one before, unless that
    /// one is newer (the leader's may arrive while an own one is being written).
    pub(super) fn save_snapshot(
        &self,
        meta: &SnapshotMeta,
        state: &str,
    ) -> Result<(), JournalError> {
        let stored: Option<SnapshotMeta> = self.get(key::SNAPSHOT_META)?;
        if stored.is_some_and(|stored| stored.last_log_id > meta.last_log_id) {
            return Ok(());
        }
        self.write("store a snapshot", |write| {
            put(write, key::SNAPSHOT_META, meta)?;
            let sealed = frame::seal(state.as_bytes());
            write.open_table(META)?.insert(key::SNAPSHOT, sealed.as_slice())?;
            Ok(())
        })
    }

    /// The snapshot on the disk.
    pub(super) fn snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        let Some(meta) = self.get::<SnapshotMeta>(key::SNAPSHOT_META)? else { return Ok(None) };
        let sealed = self.bytes(key::SNAPSHOT)?;
        let sealed = sealed.ok_or_else(|| self.damaged("its snapshot is missing"))?;
        let state = frame::open(&sealed).map_err(|why| why.to_string());
        let state =
            state.and_then(|body| String::from_utf8(body.to_vec()).map_err(|why| why.to_string()));
        let snapshot = state.map_err(|why| self.damaged(&format!("its snapshot: {why}")))?;
        Ok(Some(Snapshot { meta, snapshot }))
    }

    fn bytes(&self, key: &'static str) -> Result<Option<Vec<u8>>, JournalError> {
        self.read("read", |read| {
            Ok(read.open_table(META)?.get(key)?.map(|bytes| bytes.value().to_vec()))
        })
    }

    fn get<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, JournalError> {
        let Some(bytes) = self.bytes(key)? else { return Ok(None) };
        let value = frame::decode(&bytes);
        value.map(Some).map_err(|why| self.damaged(&format!("its {key}: {why}")))
    }

    fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Stored<T>,
    ) -> Result<T, JournalError> {
        let done = self.db.begin_read().map_err(redb::Error::from).and_then(|read| work(&read));
        done.map_err(|cause| error::working(&self.path, doing, cause))
    }

    fn write(
        &self,
        doing: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Stored<()>,
    ) -> Result<(), JournalError> {
        durably(&self.db, work).map_err(|cause| error::working(&self.path, doing, cause))
    }

    fn damaged(&self, detail: &str) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), detail: detail.into() }
    }

    fn damaged_at(&self, index: u64, detail: String) -> JournalError {
        JournalError::DamagedEntry { path: self.path.clone(), index, detail }
    }

    fn cached_vote(&self) -> std::sync::MutexGuard<'_, Option<Vote>> {
        self.vote.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One transaction, on the disk when this returns. Quick repair (two-phase
/// commit) makes the last commit certain: recovery never falls back to the one before.
fn durably(db: &Database, work: impl FnOnce(&WriteTransaction) -> Stored<()>) -> Stored<()> {
    let mut write = db.begin_write()?;
    write.set_quick_repair(true);
    work(&write)?;
    Ok(write.commit()?)
}

fn put<T: Serialize>(write: &WriteTransaction, key: &'static str, value: &T) -> Stored<()> {
    write.open_table(META)?.insert(key, encode(value)?.as_slice())?;
    Ok(())
}

fn encode<T: Serialize>(value: &T) -> Stored<Vec<u8>> {
    frame::encode(value).map_err(|why| redb::Error::Io(why.into()))
}

fn open_database(directory: &Path, path: &Path) -> Result<Database, JournalError> {
    let cannot = |why: io::Error| JournalError::Open {
        path: path.to_path_buf(),
        source: Box::new(redb::Error::Io(why)),
    };
    // Created here for its mode: it holds what operators wrote, and tokens' digests.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(cannot)?;
    // The name itself must survive a power cut as well.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(cannot)?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    // The database's own checks of a file that was altered may panic: that is damage too.
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.create(path)));
    match opened {
        Ok(opened) => opened.map_err(|cause| error::opening(path, cause)),
        Err(_) => Err(JournalError::Damaged {
            path: path.to_path_buf(),
            detail: "the database cannot make sense of it".into(),
        }),
    }
}
