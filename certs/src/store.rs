//! The credentials directory: `authority.pem`, `identity.pem`,
//! `identity.key`, `revoked.json`.
//!
//! Invariants: a reader finds a certificate with its own key, whatever moment
//! the writer was stopped at; the private key is never written with a mode
//! that others could read. One process writes at a time.
//!
//! A new key waits as `identity.key.next` until its certificate is in place,
//! and takes the name `identity.key` last. So a stop in the middle leaves
//! either pair whole, and an enrolment that is tried again uses the same key.

use crate::{
    certificate::{Leaf, LeafError, certificates, normalise_serial},
    file::{self, Stamp},
    request::{KeyRequest, RequestError},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Most revoked serials that are kept: far above what twenty hosts produce in
/// the lifetime of their certificates.
pub const REVOKED_MAX: usize = 10_000;

/// How often a reader looks again when a writer is at work in between; a
/// writer's two renames are microseconds apart.
const LOOKS: usize = 5;

/// Why the credentials cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is not there.
    #[error("{} is missing; run the `enroll` command of this program first", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `write` or `make`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read the private key.
    #[error(
        "{} may be read by others, so it counts as stolen; run `chmod 600 {}` and, if others \
         use this machine, enrol again", path.display(), path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{} is not usable; run the `enroll` command of this program again", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: LeafError,
    },
    /// The key is not usable.
    #[error("{} is not usable; run the `enroll` command of this program again", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: RequestError,
    },
    /// The key does not belong to the certificate.
    #[error(
        "{} does not belong to {}; run the `enroll` command of this program again",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// The list of revoked serials is not usable; nobody could be refused by it.
    #[error(
        "{} is not usable; remove it, and it is fetched again from the coordinators",
        path.display()
    )]
    Revoked {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A serial in the list is none.
    #[error("`{serial}` is not a serial number; expected hexadecimal digits")]
    Serial {
        /// The text as it came.
        serial: String,
    },
    /// The list is too long.
    #[error("{count} revoked certificates; at most {REVOKED_MAX} are kept")]
    TooManyRevoked {
        /// How many came.
        count: usize,
    },
}

/// What a credentials directory holds, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The trusted authorities, PEM.
    pub authority_pem: String,
    /// The certificate, PEM.
    pub identity_pem: String,
    /// Its private key, PEM (PKCS#8).
    pub key_pem: String,
}

impl std::fmt::Debug for Credentials {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("identity_pem", &self.identity_pem)
            .finish_non_exhaustive()
    }
}

/// `revoked.json`.
#[derive(Serialize, Deserialize)]
struct RevokedFile {
    version: u32,
    revoked: BTreeMap<String, String>,
}

/// A credentials directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    dir: PathBuf,
}

/// The stamps of the files that a reload depends on.
pub(crate) type Stamps = [Option<Stamp>; 4];

impl Store {
    /// The store in this directory, which need not be there yet.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether an identity is stored: whether this machine is enrolled.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.file("identity.pem").exists()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn read(&self, name: &str) -> Result<String, StoreError> {
        let path = self.file(name);
        fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { path },
            _ => StoreError::File { action: "read", path, source },
        })
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), StoreError> {
        let path = self.file(name);
        file::replace(&path, text.as_bytes(), mode).map_err(|source| StoreError::File {
            action: "write",
            path,
            source,
        })
    }

    /// A private key, if it is there; refused when others may read it.
    fn read_key(&self, name: &str) -> Result<Option<String>, StoreError> {
        let text = match self.read(name) {
            Ok(text) => text,
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(other) => return Err(other),
        };
        let path = self.file(name);
        match file::open_to_others(&path) {
            Ok(false) => Ok(Some(text)),
            Ok(true) => Err(StoreError::OpenToOthers { path }),
            // Renamed since it was read: the caller looks again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::File { action: "read", path, source }),
        }
    }

    /// Reads the credentials; the key is the one of the certificate.
    ///
    /// # Errors
    /// [`StoreError`] names the file and the fix.
    pub fn load(&self) -> Result<Credentials, StoreError> {
        if file::open_to_others(&self.dir).unwrap_or(false) {
            let dir = self.dir.display();
            tracing::warn!(%dir, "others may enter the credentials directory; run `chmod 700`");
        }
        let authority_pem = self.read("authority.pem")?;
        for _ in 0..LOOKS {
            let identity_pem = self.read("identity.pem")?;
            let leaf = self.leaf(&identity_pem)?;
            for name in ["identity.key", "identity.key.next"] {
                let Some(key_pem) = self.read_key(name)? else { continue };
                if self.key(name, &key_pem)?.public_key() == leaf.public_key {
                    return Ok(Credentials { authority_pem, identity_pem, key_pem });
                }
            }
        }
        let key = self.file("identity.key");
        if !key.exists() {
            return Err(StoreError::Missing { path: key });
        }
        Err(StoreError::Mismatch { key, certificate: self.file("identity.pem") })
    }

    fn leaf(&self, identity_pem: &str) -> Result<Leaf, StoreError> {
        Leaf::of_pem(identity_pem)
            .map_err(|source| StoreError::Certificate { path: self.file("identity.pem"), source })
    }

    fn key(&self, name: &str, key_pem: &str) -> Result<KeyRequest, StoreError> {
        KeyRequest::from_key_pem(key_pem)
            .map_err(|source| StoreError::Key { path: self.file(name), source })
    }

    fn make_dir(&self) -> Result<(), StoreError> {
        file::make_private_dir(&self.dir).map_err(|source| StoreError::File {
            action: "make",
            path: self.dir.clone(),
            source,
        })
    }

    fn settle_key(&self) -> Result<(), StoreError> {
        let (next, key) = (self.file("identity.key.next"), self.file("identity.key"));
        file::rename(&next, &key).map_err(|source| StoreError::File {
            action: "write",
            path: key,
            source,
        })
    }

    /// Finishes what a stopped writer left: a next key whose certificate is in
    /// place takes its name, before anything else is written over it.
    fn settle(&self) -> Result<(), StoreError> {
        let Some(next) = self.read_key("identity.key.next")? else { return Ok(()) };
        let Ok(leaf) = Leaf::of_pem(&self.read("identity.pem").unwrap_or_default()) else {
            return Ok(());
        };
        let next_fits = KeyRequest::from_key_pem(&next)
            .is_ok_and(|request| request.public_key() == leaf.public_key);
        if next_fits { self.settle_key() } else { Ok(()) }
    }

    /// The key of an enrolment that is under way, with its request: the one
    /// that an earlier try left, or a new one. Trying again with the same key
    /// lets a coordinator that had answered already answer the same again.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn pending(&self) -> Result<KeyRequest, StoreError> {
        self.make_dir()?;
        self.settle()?;
        if let Some(pem) = self.read_key("identity.key.next")?
            && let Ok(request) = KeyRequest::from_key_pem(&pem)
        {
            return Ok(request);
        }
        let path = self.file("identity.key.next");
        let request = KeyRequest::generate().map_err(|source| StoreError::Key { path, source })?;
        self.write("identity.key.next", &request.key_pem(), file::PRIVATE)?;
        Ok(request)
    }

    /// Stores the certificate that [`Store::pending`]'s key was given, and the
    /// trusted authorities.
    ///
    /// # Errors
    /// The certificate is of another key, the authorities cannot be read, or
    /// the directory cannot be written. What was there stays.
    pub fn complete(&self, identity_pem: &str, authority_pem: &str) -> Result<(), StoreError> {
        let leaf = self.leaf(identity_pem)?;
        let roots = certificates(authority_pem);
        if let Some(source) = match roots {
            Ok(roots) if roots.is_empty() => Some(LeafError::Pem { detail: "it is empty".into() }),
            Ok(_) => None,
            Err(error) => Some(error),
        } {
            return Err(StoreError::Certificate { path: self.file("authority.pem"), source });
        }
        let next = self.file("identity.key.next");
        let Some(key_pem) = self.read_key("identity.key.next")? else {
            return Err(StoreError::Missing { path: next });
        };
        if self.key("identity.key.next", &key_pem)?.public_key() != leaf.public_key {
            let certificate = self.file("identity.pem");
            return Err(StoreError::Mismatch { key: next, certificate });
        }
        self.write("authority.pem", authority_pem, file::PUBLIC)?;
        self.write("identity.pem", identity_pem, file::PUBLIC)?;
        self.settle_key()
    }

    /// Stores a whole set, replacing what was there.
    ///
    /// # Errors
    /// The key and the certificate do not belong together, or the directory
    /// cannot be written.
    pub fn save(&self, credentials: &Credentials) -> Result<(), StoreError> {
        let leaf = self.leaf(&credentials.identity_pem)?;
        if self.key("identity.key", &credentials.key_pem)?.public_key() != leaf.public_key {
            let (key, certificate) = (self.file("identity.key"), self.file("identity.pem"));
            return Err(StoreError::Mismatch { key, certificate });
        }
        self.make_dir()?;
        self.settle()?;
        self.write("identity.key.next", &credentials.key_pem, file::PRIVATE)?;
        self.complete(&credentials.identity_pem, &credentials.authority_pem)
    }

    /// The revoked serials with the reason of each; none when the file is missing.
    ///
    /// # Errors
    /// The file is there but not readable: then nobody can be trusted.
    pub fn load_revoked(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let text = match self.read("revoked.json") {
            Ok(text) => text,
            Err(StoreError::Missing { .. }) => return Ok(BTreeMap::new()),
            Err(other) => return Err(other),
        };
        let file: RevokedFile = serde_json::from_str(&text)
            .map_err(|source| StoreError::Revoked { path: self.file("revoked.json"), source })?;
        checked_revoked(file.revoked)
    }

    /// Stores the revoked serials, replacing the list.
    ///
    /// # Errors
    /// A serial that is none, too many of them, or the file cannot be written.
    pub fn save_revoked(&self, revoked: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let file = RevokedFile { version: 1, revoked: checked_revoked(revoked.clone())? };
        let path = self.file("revoked.json");
        let text = serde_json::to_string_pretty(&file)
            .map_err(|source| StoreError::Revoked { path, source })?;
        self.make_dir()?;
        self.write("revoked.json", &text, file::PUBLIC)
    }

    /// What changes when any file of the directory does.
    pub(crate) fn stamps(&self) -> Stamps {
        ["authority.pem", "identity.pem", "identity.key", "revoked.json"]
            .map(|name| file::stamp(&self.file(name)))
    }
}

/// Serials in their one form, and not too many.
pub(crate) fn checked_revoked(
    revoked: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, StoreError> {
    if revoked.len() > REVOKED_MAX {
        return Err(StoreError::TooManyRevoked { count: revoked.len() });
    }
    revoked
        .into_iter()
        .map(|(serial, reason)| match normalise_serial(&serial) {
            Some(serial) => Ok((serial, reason)),
            None => Err(StoreError::Serial { serial }),
        })
        .collect()
}

#[cfg(test)]
mod tests;
