//! Names of what one host keeps of another's backups.

use super::{WireError, missing};
use crate::v1;
use model::{CopyKind, CopyName};

impl From<CopyKind> for v1::CopyKind {
    fn from(kind: CopyKind) -> Self {
        match kind {
            CopyKind::Config => Self::Config,
            CopyKind::Key => Self::Key,
            CopyKind::Snapshot => Self::Snapshot,
            CopyKind::Index => Self::Index,
            CopyKind::Pack => Self::Pack,
            CopyKind::Proof => Self::Proof,
        }
    }
}

impl TryFrom<v1::CopyKind> for CopyKind {
    type Error = WireError;
    fn try_from(kind: v1::CopyKind) -> Result<Self, WireError> {
        Ok(match kind {
            v1::CopyKind::Unspecified => return Err(missing("CopyFile", "kind")),
            v1::CopyKind::Config => Self::Config,
            v1::CopyKind::Key => Self::Key,
            v1::CopyKind::Snapshot => Self::Snapshot,
            v1::CopyKind::Index => Self::Index,
            v1::CopyKind::Pack => Self::Pack,
            v1::CopyKind::Proof => Self::Proof,
        })
    }
}

/// The kind of a number on the wire.
///
/// # Errors
/// [`WireError`]: none, or one that this program does not know.
pub fn copy_kind(value: i32) -> Result<CopyKind, WireError> {
    v1::CopyKind::try_from(value)
        .map_err(|_| WireError::Unknown { message: "CopyFile", field: "kind", value })?
        .try_into()
}

impl From<&CopyName> for v1::CopyFile {
    fn from(file: &CopyName) -> Self {
        Self { kind: v1::CopyKind::from(file.kind()).into(), name: file.name().into() }
    }
}

impl TryFrom<v1::CopyFile> for CopyName {
    type Error = WireError;
    fn try_from(file: v1::CopyFile) -> Result<Self, WireError> {
        Self::new(copy_kind(file.kind)?, &file.name).map_err(WireError::CopyName)
    }
}
