//! The channel that is a file: one JSON object a line, durable before accepted.
//!
//! The line with a delivery id is written once: whoever writes next reads the
//! file's end first. A lock on the file makes that hold between processes.

use super::{DeliveryError, Given};
use daemon::durable::{self, DurableError, Operation};
use serde::Deserialize;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How much of the file's end is searched for the same delivery id: at about
/// 500 bytes a line some 500 messages, while a repeat follows its
/// first within an outbox's few.
const TAIL: u64 = 256 * 1024;

/// How long another process may hold the file: it needs one write and one sync.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A log file.
#[derive(Debug, Clone)]
pub(super) struct Log {
    path: Arc<Path>,
}

/// Why a line is not in the file.
enum Unwritten {
    Failed(DurableError),
    Busy,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path: path.into() }
    }

    /// True when the file had this delivery already.
    pub(super) async fn deliver(&self, given: Given<'_>) -> Result<bool, DeliveryError> {
        let mut line = given.json()?;
        line.push(b'\n');
        let (path, delivery) = (Arc::clone(&self.path), given.delivery.to_owned());
        let channel = || given.channel.to_owned();
        let work = tokio::task::spawn_blocking(move || append_once(&path, &delivery, &line));
        // A disk that hangs keeps its thread; whatever it still writes then, the
        // next try finds.
        match tokio::time::timeout(given.deadline, work).await {
            Ok(Ok(Ok(repeated))) => Ok(repeated),
            Ok(Ok(Err(Unwritten::Failed(source)))) => {
                Err(DeliveryError::Log { channel: channel(), source })
            }
            Ok(Ok(Err(Unwritten::Busy))) => {
                let path = self.path.display().to_string();
                Err(DeliveryError::LogBusy { channel: channel(), path })
            }
            Ok(Err(stopped)) => {
                let source = DurableError::new(Operation::Write, &self.path, stopped.into());
                Err(DeliveryError::Log { channel: channel(), source })
            }
            Err(_) => Err(given.timed_out()),
        }
    }
}

fn append_once(path: &Path, delivery: &str, line: &[u8]) -> Result<bool, Unwritten> {
    let failed =
        |operation| move |error| Unwritten::Failed(DurableError::new(operation, path, error));
    let parent = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(failed(Operation::MakeDirectory))?;
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .map_err(failed(Operation::Create))?;
    lock(&file, path)?;
    let length = file.metadata().map_err(failed(Operation::Read))?.len();
    let tail = tail(&mut file, length).map_err(failed(Operation::Read))?;
    if holds(&tail, delivery) {
        // It may have been written by one that died before its sync.
        file.sync_all().map_err(failed(Operation::Sync))?;
        return Ok(true);
    }
    // A machine that died in the middle of a line left no end to it.
    let torn = !matches!(tail.last(), None | Some(b'\n'));
    let line = if torn { [b"\n", line].concat() } else { line.to_vec() };
    if let Err(error) = file.write_all(&line) {
        // Nobody else appends while we hold the lock: take the half line back.
        let _ = file.set_len(length);
        return Err(failed(Operation::Write)(error));
    }
    file.sync_all().map_err(failed(Operation::Sync))?;
    if length == 0 {
        durable::sync_directory(parent).map_err(Unwritten::Failed)?;
    }
    Ok(false)
}

fn lock(file: &File, path: &Path) -> Result<(), Unwritten> {
    let end = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => return Err(Unwritten::Busy),
            Err(TryLockError::Error(error)) => {
                return Err(Unwritten::Failed(DurableError::new(Operation::Create, path, error)));
            }
        }
    }
}

fn tail(file: &mut File, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn holds(tail: &[u8], delivery: &str) -> bool {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        delivery: std::borrow::Cow<'a, str>,
    }
    // The first line may be cut off, and others may not be ours: neither is
    // JSON with a delivery id.
    tail.split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Line<'_>>(line).ok())
        .any(|line| line.delivery == delivery)
}
