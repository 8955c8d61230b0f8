//! Files that are either the old or the new, never half: written beside,
//! synced, renamed, and the directory synced.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Only the owner reads and writes.
pub(crate) const PRIVATE: u32 = 0o600;
/// Everyone reads; the directory around it is closed anyway.
pub(crate) const PUBLIC: u32 = 0o644;

/// What tells two versions of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    /// The inode's own change time: unlike the time of the last write it also
    /// moves with `chmod` and `rename`.
    changed: (i64, i64),
}

/// The stamp of a file; nothing when it is not there or cannot be asked.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp { inode: meta.ino(), size: meta.size(), changed: (meta.ctime(), meta.ctime_nsec()) })
}

/// Makes a directory that only its owner may enter, with its parents.
pub(crate) fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<(PathBuf, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        Some(_) | None => PathBuf::from("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let beside = dir.join(format!(".{name}.{}.{number}.new", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    match written {
        Ok(()) => Ok((dir, beside)),
        Err(error) => {
            // The first error is the one to tell; the rest is left to the next write.
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

/// Writes the file as a whole, replacing what was there.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (dir, beside) = write_beside(path, bytes, mode)?;
    fs::rename(&beside, path).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })?;
    sync_dir(&dir)
}

/// Writes the file as a whole; fails with `AlreadyExists` when it is there.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (dir, beside) = write_beside(path, bytes, mode)?;
    // A link does not replace, a rename would.
    let linked = fs::hard_link(&beside, path);
    let _ = fs::remove_file(&beside);
    linked?;
    sync_dir(&dir)
}

/// Renames within one directory, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    }
}

/// Whether anyone but the owner may read or write this file.
pub(crate) fn open_to_others(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.mode() & 0o077 != 0)
}
