//! The files behind [`super::Service`]: one directory for each host and
//! repository, in the layout of the `restic` program.
//!
//! Invariants: a file appears whole and durable or not at all; what is there is
//! never replaced by something else, except a proof by a proof; a file whose name
//! says what is in it holds just that; while somebody holds a repository nobody
//! else of ours works on it, and without a hold nothing is written.

use super::super::KeepConfig;
use daemon::{durable, lock::StateLock};
use model::{CopyKind, CopyName, HostId};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tonic::Status;

/// The end of an unfinished file's name; [`StateLock`] removes what a crash left.
const TEMPORARY: &str = ".understudy-tmp";

/// One repository of one host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Which {
    pub(super) host: HostId,
    pub(super) repository: String,
}

/// A host that is alone with a repository of its own.
pub(super) struct Held {
    pub(super) which: Which,
    pub(super) root: PathBuf,
    /// `None` once it has ended.
    lock: Mutex<Option<StateLock>>,
    used: Arc<AtomicU64>,
}

/// All that is kept here.
pub(super) struct Shelf {
    config: KeepConfig,
    holds: Mutex<BTreeMap<u64, Arc<Held>>>,
    /// Bytes of each host, as of its last hold and what it added since.
    used: Mutex<BTreeMap<HostId, Arc<AtomicU64>>>,
    /// Names of unfinished files.
    count: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In words, with the code that makes a full disk what it is.
pub(super) fn failed(doing: &str, path: &Path, error: &io::Error) -> Status {
    let words = format!("cannot {doing} {}: {error}", path.display());
    tracing::warn!(error = words, "a backup of another host");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Status::resource_exhausted(words)
        }
        _ => Status::internal(words),
    }
}

/// Bytes of all files below a directory.
fn size_of(directory: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut total: u64 = 0;
    for entry in entries {
        let entry = entry?;
        let meta = entry.metadata()?;
        let more = if meta.is_dir() { size_of(&entry.path())? } else { meta.len() };
        total = total.saturating_add(more);
    }
    Ok(total)
}

impl Shelf {
    pub(super) fn new(config: KeepConfig) -> Self {
        let (holds, used) = (Mutex::default(), Mutex::default());
        Self { config, holds, used, count: AtomicU64::new(0) }
    }

    pub(super) const fn config(&self) -> &KeepConfig {
        &self.config
    }

    pub(super) fn root(&self, which: &Which) -> PathBuf {
        self.config.directory.join(which.host.as_str()).join(&which.repository)
    }

    /// Lets a host be alone with its repository, whose directories are made. Blocks.
    #[allow(clippy::result_large_err)]
    pub(super) fn hold(&self, which: Which, number: u64) -> Result<Arc<Held>, Status> {
        let root = self.root(&which);
        let made = [self.config.directory.clone(), self.config.directory.join(which.host.as_str())]
            .iter()
            .chain([&root])
            .try_for_each(|path| durable::create_private_dir(path));
        made.map_err(|error| Status::internal(error.to_string()))?;
        let lock = StateLock::acquire(&root.join(backup::OWN), "understudy-agent")
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        match backup::restic_lock(&root) {
            Ok(None) => {}
            Ok(Some(found)) => {
                let words =
                    format!("the restic program is working on it over here ({})", found.display());
                return Err(Status::failed_precondition(words));
            }
            Err(error) => return Err(failed("look for locks in", &root, &error)),
        }
        for kind in CopyKind::ALL {
            let path = root.join(kind.directory());
            make_directory(&path).map_err(|error| failed("make", &path, &error))?;
        }
        let own = self.config.directory.join(which.host.as_str());
        let bytes = size_of(&own).map_err(|error| failed("measure", &own, &error))?;
        let used = Arc::clone(locked(&self.used).entry(which.host.clone()).or_default());
        used.store(bytes, Ordering::SeqCst);
        let held = Arc::new(Held { which, root, lock: Mutex::new(Some(lock)), used });
        locked(&self.holds).insert(number, Arc::clone(&held));
        Ok(held)
    }

    /// Ends a hold. Waits for a write that is being finished.
    pub(super) fn release(&self, number: u64) {
        if let Some(held) = locked(&self.holds).remove(&number) {
            locked(&held.lock).take();
        }
    }

    /// The hold of this number, if it is this host's.
    pub(super) fn held(&self, number: u64, host: &str) -> Option<Arc<Held>> {
        let held = locked(&self.holds).get(&number).cloned()?;
        (held.which.host.as_str() == host).then_some(held)
    }

    /// Names and sizes of the files of one kind. Blocks.
    #[allow(clippy::result_large_err)]
    pub(super) fn list(&self, which: &Which, kind: CopyKind) -> Result<Vec<(String, u64)>, Status> {
        let root = self.root(which);
        let directory = root.join(kind.directory());
        let mut found = Vec::new();
        match kind {
            CopyKind::Config => {
                let path = root.join("config");
                match fs::metadata(&path) {
                    Ok(meta) => found.push((String::new(), meta.len())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(failed("look at", &path, &error)),
                }
            }
            CopyKind::Pack => {
                for folder in entries(&directory)? {
                    names(&folder, kind, &mut found)?;
                }
            }
            CopyKind::Key | CopyKind::Snapshot | CopyKind::Index | CopyKind::Proof => {
                names(&directory, kind, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Where a file of this many bytes is written first, its room set aside.
    #[allow(clippy::result_large_err)]
    pub(super) fn begin(
        &self,
        held: &Arc<Held>,
        file: CopyName,
        bytes: u64,
    ) -> Result<Draft, Status> {
        let before = held.used.fetch_add(bytes, Ordering::SeqCst);
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        let name = format!(".{}-{count}{TEMPORARY}", file.kind().directory().replace('/', "-"));
        let temporary = held.root.join(backup::OWN).join(name);
        let draft = Draft { held: Arc::clone(held), file, bytes, temporary, done: false };
        if before.saturating_add(bytes) > self.config.max_bytes {
            return Err(Status::resource_exhausted(format!(
                "host {} would keep more than {} MiB here; prune its copies, or raise max_mib in \
                 [peer.backups]",
                held.which.host,
                self.config.max_bytes >> 20
            )));
        }
        Ok(draft)
    }
}

#[allow(clippy::result_large_err)]
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Status> {
    let failed = |error: io::Error| failed("list", directory, &error);
    match fs::read_dir(directory) {
        Ok(all) => all.map(|entry| Ok(entry.map_err(failed)?.path())).collect(),
        // Nothing was ever sent.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

#[allow(clippy::result_large_err)]
fn names(directory: &Path, kind: CopyKind, found: &mut Vec<(String, u64)>) -> Result<(), Status> {
    for path in entries(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if CopyName::new(kind, name).is_ok() {
            let meta = fs::metadata(&path).map_err(|error| failed("look at", &path, &error))?;
            found.push((name.into(), meta.len()));
        }
    }
    Ok(())
}

/// A file that is being written.
pub(super) struct Draft {
    held: Arc<Held>,
    pub(super) file: CopyName,
    bytes: u64,
    pub(super) temporary: PathBuf,
    done: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.done {
            self.held.used.fetch_sub(self.bytes, Ordering::SeqCst);
        }
        // Nothing is there when it was renamed; else half a file must not stay.
        let _ = fs::remove_file(&self.temporary);
    }
}

impl Draft {
    /// Gives the whole, synced file its name; true when it was there before.
    /// Blocks. Only while the repository is still held.
    #[allow(clippy::result_large_err)]
    pub(super) fn finish(mut self) -> Result<bool, Status> {
        let path = self.held.root.join(self.file.path());
        let held = Arc::clone(&self.held);
        let lock = locked(&held.lock);
        if lock.is_none() {
            return Err(Status::aborted("the hold has ended; nothing was written"));
        }
        let directory = path.parent().unwrap_or(&held.root).to_path_buf();
        let done = (|| {
            make_directory(&directory)?;
            if self.file.kind() == CopyKind::Proof {
                if self.bytes == 0 {
                    return remove(&path).map(|()| None);
                }
                fs::rename(&self.temporary, &path)?;
                return Ok(None);
            }
            // A rename would replace what is there.
            match fs::hard_link(&self.temporary, &path) {
                Ok(()) => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    same(&self.temporary, &path).map(Some)
                }
                Err(error) => Err(error),
            }
        })();
        match done.map_err(|error| failed("write", &path, &error))? {
            Some(true) => return Ok(true),
            Some(false) => {
                return Err(Status::already_exists(format!(
                    "{} is there with other bytes; it is not replaced",
                    self.file.path()
                )));
            }
            None => self.done = true,
        }
        durable::sync_directory(&directory).map_err(|error| Status::internal(error.to_string()))?;
        Ok(false)
    }
}

/// Closed to others, with those above it.
fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether two files hold the same bytes.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (fs::File::open(one)?, fs::File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..count])?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}
