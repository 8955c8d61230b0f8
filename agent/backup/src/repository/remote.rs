//! What every place that is not a directory of this host has in common: files
//! of a repository by their names, listed, read, written whole, and removed
//! where that is allowed.
//!
//! A listing is whole or it is an error: before a prune a short one would cost
//! data. A place that does not answer is told apart from a copy that is damaged.

use super::control::Control;
use bytes::Bytes;
use model::{CopyKind, CopyName};
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};
use std::{fmt, io, sync::Arc};

/// Why a place did not do what it was asked for; in words, without credentials.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RemoteError(pub(crate) String);

impl RemoteError {
    pub(super) fn new(doing: &str, file: &CopyName, why: impl fmt::Display) -> Self {
        Self(format!("cannot {doing} {}: {why}", file.path()))
    }
}

/// A place.
pub(crate) trait Remote: Send + Sync + 'static {
    /// Every file of a kind, with its size in bytes.
    fn list(&self, kind: CopyKind) -> Result<Vec<(String, u64)>, RemoteError>;
    /// All of a file, or `range`: offset and length; `None` when it is not there.
    fn read(
        &self,
        file: &CopyName,
        range: Option<(u32, u32)>,
    ) -> Result<Option<Bytes>, RemoteError>;
    /// Writes a file whole, or not at all.
    fn write(&self, file: &CopyName, content: &[Bytes]) -> Result<(), RemoteError>;
    /// Removes a file; one that is not there is fine.
    fn remove(&self, file: &CopyName) -> Result<(), RemoteError>;
    /// Makes what must be there before the first file.
    fn make(&self) -> Result<(), RemoteError> {
        Ok(())
    }
    /// Whether the restic program may be at work there: its lock's name.
    fn restic_lock(&self) -> Result<Option<String>, RemoteError>;
    /// Begins to be alone with it, until dropped.
    fn hold(&self) -> Result<(), RemoteError>;
}

/// A place as the library wants it.
pub(super) struct Through {
    pub(super) remote: Arc<dyn Remote>,
    pub(super) location: String,
    pub(super) control: Arc<Control>,
}

impl fmt::Debug for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Through").field(&self.location).finish()
    }
}

pub(super) const fn kind(tpe: FileType) -> CopyKind {
    match tpe {
        FileType::Config => CopyKind::Config,
        FileType::Index => CopyKind::Index,
        FileType::Key => CopyKind::Key,
        FileType::Snapshot => CopyKind::Snapshot,
        FileType::Pack => CopyKind::Pack,
    }
}

fn name(tpe: FileType, id: &Id) -> RusticResult<CopyName> {
    let hex = id.to_hex();
    let name = if tpe == FileType::Config { "" } else { hex.as_str() };
    CopyName::new(kind(tpe), name)
        .map_err(|error| RusticError::with_source(ErrorKind::Internal, "a file's name", error))
}

impl Through {
    fn failed(&self, error: RemoteError) -> Box<RusticError> {
        self.control.cut(error.to_string());
        RusticError::with_source(ErrorKind::Backend, "{place}", error)
            .attach_context("place", self.location.clone())
    }

    fn whole(&self, tpe: FileType, id: &Id, range: Option<(u32, u32)>) -> RusticResult<Bytes> {
        let file = name(tpe, id)?;
        let found = self.remote.read(&file, range).map_err(|error| self.failed(error))?;
        // Not the place's failure, but the copy's.
        found.ok_or_else(|| {
            let error = io::Error::from(io::ErrorKind::NotFound);
            RusticError::with_source(ErrorKind::Backend, "cannot read {path}", error)
                .attach_context("path", file.path())
        })
    }
}

impl ReadBackend for Through {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let listed = self.remote.list(kind(tpe)).map_err(|error| self.failed(error))?;
        let mut found = Vec::with_capacity(listed.len());
        for (name, size) in listed {
            let size = u32::try_from(size).map_err(|error| {
                RusticError::with_source(ErrorKind::Backend, "a file of 4 GiB or more", error)
            })?;
            match tpe {
                FileType::Config => found.push((Id::default(), size)),
                // A name that is no id is not ours to list.
                FileType::Index | FileType::Key | FileType::Snapshot | FileType::Pack => {
                    found.extend(name.parse().ok().map(|id| (id, size)));
                }
            }
        }
        Ok(found)
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        self.whole(tpe, id, None)
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let bytes = self.whole(tpe, id, Some((offset, length)))?;
        if bytes.len() == length as usize {
            return Ok(bytes);
        }
        Err(RusticError::new(ErrorKind::Backend, "{path} is shorter than it was")
            .attach_context("path", name(tpe, id)?.path()))
    }

    fn warmup_path(&self, _tpe: FileType, id: &Id) -> String {
        id.to_hex().as_str().into()
    }
}

impl WriteBackend for Through {
    fn create(&self) -> RusticResult<()> {
        self.remote.make().map_err(|error| self.failed(error))
    }

    fn write_bytes(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        self.control.admits(tpe)?;
        self.remote.write(&name(tpe, id)?, content.slice()).map_err(|error| {
            self.control.fault(error.to_string());
            self.failed(error)
        })
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        self.remote.remove(&name(tpe, id)?).map_err(|error| self.failed(error))
    }
}
