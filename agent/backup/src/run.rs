//! One backup of one source: read, written, looked at.

use crate::{
    config::{Config, Kind, RepositoryConfig, SourceConfig},
    error::BackupError,
    repository::{Opened, RepositoryError, Snapshot, tags},
    restore,
    source::{self, Reader},
    verify::{self, Wanted},
};
use rustic_core::{BackupOptions, SnapshotOptions, repofile::SnapshotFile};
use serde::Serialize;
use std::{path::Path, time::Instant};

/// What a backup did.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    pub(crate) source: String,
    pub(crate) repository: String,
    pub(crate) snapshot: String,
    /// When the reading began: what was written later is not in it.
    pub(crate) at: jiff::Timestamp,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Bytes that the repository has grown by.
    pub(crate) added_bytes: u64,
    /// Files that were removed while they were being read; they are not in it.
    pub(crate) vanished: u64,
    pub(crate) verified_level: u8,
    pub(crate) took_ms: u64,
}

/// Copies one source into one repository, and verifies the structure of the copy.
pub(crate) fn run(
    config: &Config,
    source: &SourceConfig,
    repository: &RepositoryConfig,
) -> Result<Done, BackupError> {
    let begun = Instant::now();
    let opened = Opened::open(config, repository)?;
    // A restore that was killed may have left half of its swap; that is undone
    // before it can be copied.
    restore::recover(config, source)?;
    let name = || source.name.clone();
    let at = jiff::Zoned::now();
    let ready = source::prepare(config, source, &opened.control)
        .map_err(|error| BackupError::Source { source_name: name(), source: error })?;
    let archived = archive(config, source, &opened, &ready.reader, &at);
    // Before anything else is decided: nobody waits longer than for the reading.
    let released = ready.release();
    let file = archived?;
    released.map_err(|error| BackupError::Release { source_name: name(), source: error })?;
    let snapshot = Snapshot { file, verified: None };
    let wanted = Wanted::structure();
    verify::verify(config, &opened, source, &snapshot, &wanted)?;
    let summary = snapshot.file.summary.clone().unwrap_or_default();
    Ok(Done {
        source: name(),
        repository: repository.name.clone(),
        snapshot: snapshot.file.id.to_hex().as_str().to_owned(),
        at: at.timestamp(),
        files: summary.total_files_processed,
        bytes: summary.total_bytes_processed,
        added_bytes: summary.data_added_packed,
        vanished: opened.control.vanished_count(),
        verified_level: wanted.level.into(),
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

fn archive(
    config: &Config,
    source: &SourceConfig,
    opened: &Opened,
    reader: &Reader,
    at: &jiff::Zoned,
) -> Result<SnapshotFile, BackupError> {
    let library = RepositoryError::library("the backup failed");
    let mut options = SnapshotOptions::default()
        .host(config.host.clone())
        // A program's output is read before the snapshot is begun.
        .time(at.clone())
        .command(format!("understudy-agent backup run {}", source.name));
    for tag in tags(&source.name) {
        options = options.add_tags(&tag).map_err(&library)?;
    }
    let snapshot = options.to_snapshot().map_err(&library)?;
    let mut how = BackupOptions::default().no_scan(true);
    // A stream has no times that could say that it is unchanged.
    how.parent_opts.force = match source.kind {
        Kind::Paths(_) | Kind::Volume(_) => false,
        Kind::Container(_) | Kind::Command(_) => true,
    };
    let place = Path::new("/").join(&source.name);
    let writable = opened.writable()?;
    let archived = writable.archive(&how, reader, snapshot, &[place]);
    let control = &opened.control;
    let faults = || BackupError::Faults {
        source_name: source.name.clone(),
        count: control.faults(),
        words: control.words().join("; "),
    };
    let file = match archived {
        Ok(file) => file,
        Err(_) if control.faults() > 0 => return Err(faults()),
        Err(error) => return Err(library(error).into()),
    };
    let summary = file.summary.clone().unwrap_or_default();
    // The library counts the top of the tree as a directory, and we do not.
    let counted = summary.total_files_processed + summary.total_dirs_processed;
    let stored = counted.saturating_sub(1);
    if stored != control.entries() {
        // The library dropped something without a word that we would have seen.
        let given = control.entries();
        control.fault(format!(
            "{given} files and directories were read, and {stored} are in the copy"
        ));
        opened.library().delete_snapshots(&[file.id]).map_err(&library)?;
        return Err(faults());
    }
    Ok(file)
}
