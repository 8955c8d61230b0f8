//! The ledger's file: appended and synced line by line, rewritten when long.
//!
//! Blocks. A line that was cut off by a crash is the last one and was never
//! acknowledged, so it is dropped; damage anywhere else is an error, because
//! what stood there may have been a term or an epoch. After an error nothing
//! more may be written: what is on disk is then known only after a new start.

use super::{
    line::{self, HEADER, LineError},
    memory::{Entry, Memory},
};
use daemon::durable::{self, DurableError, Operation};
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// The file's name in the state directory.
pub const FILE: &str = "ledger";
/// Rewritten once it has this many bytes and is four times what was left of it
/// the last time: some thousand lines, read in milliseconds at a start.
const COMPACT_AT: u64 = 256 * 1024;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file is damaged, or newer than this program.
    #[error(
        "{} line {line}: {reason}; restore the file, or move it away \
         (`mv {} {}.damaged`) and start again: the agent then comes up closed and \
         learns terms and epochs from the coordinators", path.display(), path.display(), path.display()
    )]
    Damaged {
        /// The ledger's file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: LineError,
    },
    /// The first line is not a ledger's.
    #[error(
        "{} is not a ledger of this agent (its first line should be `{HEADER}`); \
         move it away, or name another state_dir", path.display()
    )]
    NotALedger {
        /// The file.
        path: PathBuf,
    },
    /// Reading, writing or syncing failed.
    #[error("the ledger is not durable: {0}")]
    NotDurable(#[from] DurableError),
    /// The disk does not take what is given to it.
    #[error(
        "the ledger {} has {waiting} writes waiting: the disk does not take them; \
         look in `dmesg` for a disk error", path.display()
    )]
    Stalled {
        /// The file.
        path: PathBuf,
        /// How many wait.
        waiting: usize,
    },
    /// It failed before.
    #[error("the ledger {} has failed before; see the log", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
    },
}

/// The open file.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    file: File,
    next: u64,
    length: u64,
    compacted: u64,
}

/// What was read at the start.
struct Read {
    memory: Memory,
    next: u64,
    good: u64,
    torn: bool,
}

impl LedgerFile {
    /// Opens or makes the file in the state directory, and reads it.
    pub(super) fn open(directory: &Path) -> Result<(Self, Memory), LedgerError> {
        let path = directory.join(FILE);
        let bytes = match durable::read_optional(&path)? {
            Some(bytes) => bytes,
            None => {
                let bytes = format!("{HEADER}\n").into_bytes();
                durable::write_atomic(&path, &bytes, 0o600)?;
                bytes
            }
        };
        let read = read(&path, &bytes)?;
        let file = open(&path)?;
        if read.torn {
            tracing::warn!(
                path = %path.display(),
                bytes = bytes.len() as u64 - read.good,
                "the ledger's last line was cut off by a crash before it counted; it is dropped"
            );
            let failed = |error| DurableError::new(Operation::Sync, &path, error);
            file.set_len(read.good).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        let ledger = Self { path, file, next: read.next, length: read.good, compacted: 0 };
        Ok((ledger, read.memory))
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the entries as one line; they are durable when this returns.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        let text = self.line(self.next, entries)?;
        let failed = |operation| move |error| (operation, error);
        self.file
            .write_all(text.as_bytes())
            .map_err(failed(Operation::Write))
            .and_then(|()| self.file.sync_data().map_err(failed(Operation::Sync)))
            .map_err(|(operation, error)| DurableError::new(operation, &self.path, error))?;
        self.next += 1;
        self.length += text.len() as u64;
        if self.length >= COMPACT_AT.max(self.compacted.saturating_mul(4)) {
            self.compact()?;
        }
        Ok(())
    }

    /// Rewrites the file as the shortest one with the same meaning. It is read
    /// again for that, so that nobody else has to hold a second memory.
    fn compact(&mut self) -> Result<(), LedgerError> {
        let bytes = durable::read_optional(&self.path)?.unwrap_or_default();
        let memory = read(&self.path, &bytes)?.memory;
        let text = format!("{HEADER}\n{}", self.line(1, &memory.entries())?);
        durable::write_atomic(&self.path, text.as_bytes(), 0o600)?;
        self.file = open(&self.path)?;
        self.next = 2;
        self.length = text.len() as u64;
        self.compacted = self.length;
        tracing::debug!(from = bytes.len(), to = self.length, "ledger rewritten");
        Ok(())
    }

    fn line(&self, number: u64, entries: &[Entry]) -> Result<String, LedgerError> {
        line::write(number, entries)
            .map_err(|error| DurableError::new(Operation::Write, &self.path, error.into()).into())
    }
}

fn open(path: &Path) -> Result<File, LedgerError> {
    let opened = OpenOptions::new().append(true).open(path);
    Ok(opened.map_err(|error| DurableError::new(Operation::Create, path, error))?)
}

fn read(path: &Path, bytes: &[u8]) -> Result<Read, LedgerError> {
    let rest = bytes.strip_prefix(HEADER.as_bytes()).and_then(|rest| rest.strip_prefix(b"\n"));
    let Some(mut rest) = rest else { return Err(LedgerError::NotALedger { path: path.into() }) };
    let good = bytes.len() as u64 - rest.len() as u64;
    let mut read = Read { memory: Memory::default(), next: 1, good, torn: false };
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (text, after) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &[][..]),
        };
        let entries = match line::read(text, read.next) {
            // Whole but for its line feed: it was not acknowledged either.
            Ok(_) if end.is_none() => Err(LineError::Checksum),
            other => other,
        };
        match entries {
            Ok(entries) => entries.into_iter().for_each(|entry| read.memory.apply(entry)),
            Err(LineError::Checksum) if after.is_empty() => {
                read.torn = true;
                return Ok(read);
            }
            Err(reason) => {
                // The header is line 1.
                let line = usize::try_from(read.next).unwrap_or(usize::MAX).saturating_add(1);
                return Err(LedgerError::Damaged { path: path.into(), line, reason });
            }
        }
        read.good += text.len() as u64 + 1;
        read.next += 1;
        rest = after;
    }
    Ok(read)
}
