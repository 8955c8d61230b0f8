//! What a snapshot says of itself: a small JSON file in it, readable without us.
//!
//! Everything of source S lies in the snapshot's directory `/S`; the manifest is
//! `/S.manifest.json`. It holds names relative to the restore root, so that a
//! copy can go back to where it came from, or anywhere else. No digest stands in
//! it: the snapshot's tree id is the digest of everything, this file included.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The form's number. A reader refuses what it does not know.
pub(crate) const VERSION: u32 = 1;

/// The manifest's name in the snapshot.
pub(crate) fn file_name(source: &str) -> String {
    format!("{source}.manifest.json")
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Of this form.
    pub(crate) version: u32,
    /// The source's name.
    pub(crate) source: String,
    /// Its kind: `paths`, `volume`, `container`, `command`.
    pub(crate) kind: String,
    /// The host.
    pub(crate) host: String,
    /// When reading began.
    pub(crate) at: jiff::Timestamp,
    /// Where a restore puts it: a directory of the host; none where only the
    /// program that made it can load it again.
    pub(crate) root: Option<PathBuf>,
    /// Names below the root; all of it when empty.
    pub(crate) names: Vec<PathBuf>,
    /// Names that were left out.
    pub(crate) exclude: Vec<PathBuf>,
    /// The Docker volume, where it is one.
    pub(crate) volume: Option<String>,
    /// Containers concerned, with their images.
    pub(crate) containers: Vec<Container>,
    /// The program and its arguments, where it is a program's output.
    pub(crate) command: Vec<String>,
}

impl Manifest {
    /// Of a copy that begins now.
    pub(crate) fn begin(source: &str, kind: &str, host: &str) -> Self {
        Self {
            version: VERSION,
            source: source.into(),
            kind: kind.into(),
            host: host.into(),
            at: jiff::Timestamp::now(),
            root: None,
            names: Vec::new(),
            exclude: Vec::new(),
            volume: None,
            containers: Vec::new(),
            command: Vec::new(),
        }
    }
}

/// A container that used what was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// Its name.
    pub(crate) name: String,
    /// Its image, as it was asked for.
    pub(crate) image: String,
    /// The image's id: its digest.
    pub(crate) image_id: String,
}
