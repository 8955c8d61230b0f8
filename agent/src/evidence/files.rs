//! Files of the host, read without a trace where the kernel allows it.

use super::archive::Source;
use rustix::fs::OFlags;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Files that one declared directory may have.
const FILES_MAX: usize = 10_000;

/// Opens a regular file; the time of its last reading stays as it was where this
/// process may ask for that (its owner, or root).
pub(super) fn open(path: &Path) -> io::Result<File> {
    // A pipe or a device without data must not hold it up.
    let quick = OFlags::NONBLOCK.bits();
    let with =
        |flags: u32| OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path);
    let file = match with(quick | OFlags::NOATIME.bits()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => with(quick)?,
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// A file as evidence.
pub(super) struct Whole(File);

impl Whole {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        open(path).map(Self)
    }
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Source for Whole {}

/// The regular files at or below a path, sorted, links not followed below it; and
/// what could not be read.
pub(super) fn below(path: &Path) -> (Vec<PathBuf>, Vec<String>) {
    let (mut files, mut faults, mut waiting) = (Vec::new(), Vec::new(), vec![path.to_path_buf()]);
    while let Some(path) = waiting.pop() {
        if files.len() >= FILES_MAX {
            faults.push(format!("only the first {FILES_MAX} files are here"));
            break;
        }
        let found = fs::metadata(&path).and_then(|meta| {
            if meta.is_dir() {
                for entry in fs::read_dir(&path)? {
                    let entry = entry?;
                    if !entry.file_type()?.is_symlink() {
                        waiting.push(entry.path());
                    }
                }
            } else if meta.is_file() {
                files.push(path.clone());
            }
            Ok(())
        });
        if let Err(error) = found {
            faults.push(format!("{}: {error}", path.display()));
        }
    }
    files.sort();
    (files, faults)
}
