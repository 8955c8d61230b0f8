//! Names of what a host keeps of another host's backups: the files of a restic
//! repository, and nothing else. A name that passes is a plain path below the
//! repository's directory, by construction.

use alloc::{
    format,
    string::{String, ToString},
};

/// Characters of a file's name: SHA-256 in hexadecimal.
const NAME_LENGTH: usize = 64;
/// Most characters of a repository's name.
const REPOSITORY_MAX: usize = 63;

/// What a file of a repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyKind {
    /// The repository's settings: there is one, without a name.
    Config,
    /// A key, itself locked by the password.
    Key,
    /// A snapshot.
    Snapshot,
    /// Where what is.
    Index,
    /// The data.
    Pack,
    /// How far a snapshot was verified: ours, and the only kind that is replaced.
    Proof,
}

impl CopyKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Config, Self::Key, Self::Snapshot, Self::Index, Self::Pack, Self::Proof];

    /// The directory below the repository's; empty for the one file beside them.
    #[must_use]
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Config => "",
            Self::Key => "keys",
            Self::Snapshot => "snapshots",
            Self::Index => "index",
            Self::Pack => "data",
            Self::Proof => "understudy/verified",
        }
    }

    /// Whether a file's name is the digest of its content.
    #[must_use]
    pub const fn is_named_by_content(self) -> bool {
        match self {
            Self::Key | Self::Snapshot | Self::Index | Self::Pack => true,
            Self::Config | Self::Proof => false,
        }
    }
}

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyNameError {
    /// Not a digest.
    #[error("`{0}` is no name of a file in a restic repository: 64 of 0-9 and a-f")]
    File(String),
    /// The settings have none.
    #[error("a repository's config has no name, and `{0}` was given")]
    Config(String),
    /// Not a name as agent.toml has them.
    #[error("`{0}` is no repository's name: 1 to 63 of a-z, 0-9, `-`, `_` and `.`")]
    Repository(String),
}

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CopyName {
    kind: CopyKind,
    name: String,
}

impl CopyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`CopyNameError`]: `restic` has no such file.
    pub fn new(kind: CopyKind, name: &str) -> Result<Self, CopyNameError> {
        let digest = name.len() == NAME_LENGTH
            && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match kind {
            CopyKind::Config if !name.is_empty() => Err(CopyNameError::Config(name.into())),
            CopyKind::Config => Ok(Self { kind, name: String::new() }),
            CopyKind::Key
            | CopyKind::Snapshot
            | CopyKind::Index
            | CopyKind::Pack
            | CopyKind::Proof
                if !digest =>
            {
                Err(CopyNameError::File(name.into()))
            }
            CopyKind::Key
            | CopyKind::Snapshot
            | CopyKind::Index
            | CopyKind::Pack
            | CopyKind::Proof => Ok(Self { kind, name: name.into() }),
        }
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> CopyKind {
        self.kind
    }

    /// Its name; empty for the config.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is below the repository's directory, as `restic` lays it out.
    #[must_use]
    pub fn path(&self) -> String {
        let (directory, name) = (self.kind.directory(), &self.name);
        match self.kind {
            CopyKind::Config => "config".to_string(),
            CopyKind::Pack => format!("{directory}/{}/{name}", &name[..2]),
            CopyKind::Key | CopyKind::Snapshot | CopyKind::Index | CopyKind::Proof => {
                format!("{directory}/{name}")
            }
        }
    }
}

/// Checks a repository's name, which becomes that of a directory.
///
/// # Errors
/// [`CopyNameError::Repository`].
pub fn repository_name(name: &str) -> Result<(), CopyNameError> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if first && name.len() <= REPOSITORY_MAX && name.chars().all(good) {
        return Ok(());
    }
    Err(CopyNameError::Repository(name.into()))
}
