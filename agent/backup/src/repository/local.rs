//! A repository in a local directory, in the layout of the `restic` program.
//!
//! Every file is written beside, synced and renamed, and its directory synced,
//! so that a crash leaves whole files or none. Listings that fail are errors:
//! before a prune an incomplete one would cost data.

use super::control::Control;
use bytes::Bytes;
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// Our own directory within the repository: the lock, what is being written,
/// and what was verified. `restic` does not look at it.
pub const OWN: &str = "understudy";

/// The end of the names of unfinished files; [`daemon::lock::StateLock`] removes
/// what a crash left of them.
const TEMPORARY: &str = ".understudy-tmp";

#[derive(Debug)]
pub(crate) struct Local {
    root: PathBuf,
    control: Arc<Control>,
}

impl Local {
    pub(crate) fn new(root: &Path, control: Arc<Control>) -> Self {
        Self { root: root.into(), control }
    }

    fn path(&self, tpe: FileType, id: &Id) -> PathBuf {
        let name = id.to_hex();
        match tpe {
            FileType::Config => self.root.join("config"),
            FileType::Pack => self.root.join("data").join(&name.as_str()[..2]).join(name.as_str()),
            FileType::Index | FileType::Key | FileType::Snapshot => {
                self.root.join(tpe.dirname()).join(name.as_str())
            }
        }
    }

    fn put(&self, path: &Path, id: &Id, content: &BytesList) -> io::Result<()> {
        let name = format!(".{}{TEMPORARY}", id.to_hex().as_str());
        let temporary = self.root.join(OWN).join(name);
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o400)
                .open(&temporary)?;
            for part in content.slice() {
                file.write_all(part)?;
            }
            file.sync_all()?;
            let directory = path.parent().unwrap_or(&self.root);
            make_directory(directory)?;
            fs::rename(&temporary, path)?;
            File::open(directory)?.sync_all()
        })();
        if written.is_err() {
            // On a full disk the half pack is the first thing that must go; the
            // lock's next holder sweeps what cannot be removed now.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn failed(doing: &'static str, path: &Path, error: io::Error) -> Box<RusticError> {
    RusticError::with_source(ErrorKind::Backend, "cannot {doing} {path}", error)
        .attach_context("doing", doing)
        .attach_context("path", path.display().to_string())
}

/// Ids and sizes of the files in one directory; names that are no ids (a file
/// that `restic` is writing) are not ours to list.
fn list(directory: &Path, found: &mut Vec<(Id, u32)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| Id::from_str(name).ok()) else {
            continue;
        };
        let size = entry.metadata()?.len();
        let size = u32::try_from(size).map_err(|_| io::Error::other("a file of 4 GiB or more"))?;
        found.push((id, size));
    }
    Ok(())
}

impl ReadBackend for Local {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let mut found = Vec::new();
        match tpe {
            FileType::Config => {
                let path = self.root.join("config");
                match fs::metadata(&path) {
                    Ok(meta) => {
                        found.push((Id::default(), u32::try_from(meta.len()).unwrap_or(u32::MAX)))
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(failed("look at", &path, error)),
                }
            }
            FileType::Pack => {
                let data = self.root.join("data");
                let inside = |error| failed("list", &data, error);
                for entry in fs::read_dir(&data).map_err(inside)? {
                    let entry = entry.map_err(inside)?;
                    if entry.file_type().map_err(inside)?.is_dir() {
                        list(&entry.path(), &mut found)
                            .map_err(|error| failed("list", &entry.path(), error))?;
                    }
                }
            }
            FileType::Index | FileType::Key | FileType::Snapshot => {
                let directory = self.root.join(tpe.dirname());
                list(&directory, &mut found).map_err(|error| failed("list", &directory, error))?;
            }
        }
        Ok(found)
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        let path = self.path(tpe, id);
        fs::read(&path).map(Bytes::from).map_err(|error| failed("read", &path, error))
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let path = self.path(tpe, id);
        let mut bytes = vec![0; length as usize];
        File::open(&path)
            .and_then(|file| file.read_exact_at(&mut bytes, u64::from(offset)))
            .map_err(|error| failed("read", &path, error))?;
        Ok(bytes.into())
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.path(tpe, id).display().to_string()
    }
}

impl WriteBackend for Local {
    fn create(&self) -> RusticResult<()> {
        for name in ["", "data", "index", "keys", "snapshots", "locks"] {
            let path = self.root.join(name);
            make_directory(&path).map_err(|error| failed("make", &path, error))?;
        }
        Ok(())
    }

    fn write_bytes(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        self.control.admits(tpe)?;
        let path = self.path(tpe, id);
        self.put(&path, id, &content).map_err(|error| {
            self.control.fault(format!("cannot write {}: {error}", path.display()));
            failed("write", &path, error)
        })
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let path = self.path(tpe, id);
        fs::remove_file(&path).map_err(|error| failed("remove", &path, error))
    }
}
