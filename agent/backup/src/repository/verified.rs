//! How far each snapshot was verified, beside the snapshots themselves, so that
//! it is known wherever the repository is.
//!
//! One file a snapshot, written atomically. It counts only for the tree that it
//! names: what was verified is the content, not the name.

use super::{
    RepositoryError,
    remote::{Remote, RemoteError},
};
use daemon::durable::{self, DurableError};
use model::{CopyKind, CopyName};
use rustic_core::{HexId, repofile::SnapshotFile};
use serde::{Deserialize, Serialize};
use std::{fmt, fs, io, path::PathBuf, sync::Arc};

/// The directory of these files.
const DIRECTORY: &str = "verified";

/// How much was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Level {
    /// The structure: index, trees, and that every pack that they name is there.
    Structure,
    /// Data was read back and decrypted.
    ReadBack,
    /// It was restored, and the source's own check was content.
    Restored,
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        match level {
            Level::Structure => 1,
            Level::ReadBack => 2,
            Level::Restored => 3,
        }
    }
}

impl TryFrom<u8> for Level {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::Structure),
            2 => Ok(Self::ReadBack),
            3 => Ok(Self::Restored),
            other => Err(format!("there is no level {other}")),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", u8::from(*self))
    }
}

/// What was proven of a snapshot, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The snapshot.
    pub snapshot: String,
    /// Its tree: the digest of all that is in it.
    pub tree: String,
    /// How much was proven.
    pub level: Level,
    /// Percent of the data that was read, at level 2.
    pub read_percent: u8,
    /// When.
    pub at: jiff::Timestamp,
    /// The host that did it.
    pub host: String,
}

/// Where what was proven is written.
pub(super) enum Proofs {
    /// Files of this host, in a directory of ours.
    Directory(PathBuf),
    /// Beside the snapshots.
    Remote(Arc<dyn Remote>),
}

impl Proofs {
    fn bytes(&self, snapshot: &HexId) -> Result<Option<Vec<u8>>, RepositoryError> {
        match self {
            Self::Directory(own) => {
                Ok(durable::read_optional(&own.join(DIRECTORY).join(snapshot.as_str()))?)
            }
            Self::Remote(remote) => {
                let bytes = remote.read(&name(snapshot)?, None)?;
                Ok(bytes.map(|bytes| bytes.to_vec()))
            }
        }
    }

    /// What is known of a snapshot. A file that cannot be understood proves nothing.
    pub(super) fn read(
        &self,
        snapshot: &SnapshotFile,
    ) -> Result<Option<Verified>, RepositoryError> {
        let Some(bytes) = self.bytes(&snapshot.id.to_hex())? else { return Ok(None) };
        let tree = snapshot.tree.to_hex();
        let found = serde_json::from_slice::<Verified>(&bytes).ok();
        Ok(found.filter(|found| found.tree == tree.as_str()))
    }

    /// Writes it, unless a higher level stands there: proof does not wear off.
    pub(super) fn write(
        &self,
        before: Option<&Verified>,
        snapshot: &SnapshotFile,
        verified: &Verified,
    ) -> Result<(), RepositoryError> {
        if before.is_some_and(|before| {
            (before.level, before.read_percent) > (verified.level, verified.read_percent)
        }) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(verified).unwrap_or_default();
        match self {
            Self::Directory(own) => {
                let directory = own.join(DIRECTORY);
                durable::create_private_dir(&directory)?;
                Ok(durable::write_atomic(&directory.join(&verified.snapshot), &bytes, 0o600)?)
            }
            Self::Remote(remote) => {
                Ok(remote.write(&name(&snapshot.id.to_hex())?, &[bytes.into()])?)
            }
        }
    }

    /// Removes it.
    pub(super) fn remove(&self, snapshot: &HexId) -> Result<(), RepositoryError> {
        match self {
            Self::Directory(own) => {
                let path = own.join(DIRECTORY).join(snapshot.as_str());
                match fs::remove_file(&path) {
                    Ok(()) => Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    Err(error) => {
                        Err(DurableError::new(durable::Operation::Write, &path, error).into())
                    }
                }
            }
            Self::Remote(remote) => Ok(remote.remove(&name(snapshot)?)?),
        }
    }
}

fn name(snapshot: &HexId) -> Result<CopyName, RepositoryError> {
    let name = CopyName::new(CopyKind::Proof, snapshot.as_str());
    name.map_err(|error| RemoteError(error.to_string()).into())
}
