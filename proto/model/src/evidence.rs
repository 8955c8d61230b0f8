//! What an archive of a host's evidence says of itself: read by whoever checks it.

use crate::{HostId, Wall};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// The archive's member that holds the manifest.
pub const MANIFEST: &str = "manifest.json";
/// The archive's member that holds the signature of the manifest.
pub const SEAL: &str = "manifest.seal.json";
/// What a manifest's signature is for.
pub const PURPOSE: &str = "evidence manifest";
/// The form of the manifest.
pub const VERSION: u32 = 1;

/// Everything that an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form: [`VERSION`].
    pub version: u32,
    /// Whose evidence it is.
    pub host: HostId,
    /// When the collecting began, by the host's clock.
    pub begun: Wall,
    /// When it ended.
    pub ended: Wall,
    /// What was collected, in the order in which it was.
    pub items: Vec<Item>,
    /// Empty, or why items are missing at the end.
    pub cut: String,
}

/// One thing that was collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name, and the beginning of its members' names.
    pub name: String,
    /// What was read or run.
    pub how: String,
    /// When.
    pub at: Wall,
    /// How much it is, as read.
    pub bytes: u64,
    /// Its pieces, each a member of the archive, in order.
    pub members: Vec<Member>,
    /// Empty, or why it is not all there: a limit, a time, an error.
    pub cut: String,
}

/// One member of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its length in the archive.
    pub bytes: u64,
    /// SHA-256 of it as it is in the archive, lower-case hex.
    pub sha256: String,
}

/// The signature of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The signer's certificate, PEM.
    pub certificate: String,
    /// ECDSA P-256 with SHA-256 over what is sealed, ASN.1 in lower-case hex.
    pub signature: String,
}

/// In a listing of trees, the place of the time of change, which is not compared,
/// and of the path.
const CHANGED: usize = 5;
const PATH: usize = 7;

/// A listing by path; the rest of each line without its time of change.
fn by_path(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let lines = text.lines().skip(1).filter_map(|line| {
        let mut fields: Vec<&str> = line.split(' ').collect();
        (fields.len() == PATH + 1).then(|| {
            let path = fields.remove(PATH);
            fields.remove(CHANGED);
            (path, fields)
        })
    });
    lines.collect()
}

/// What differs between two listings of trees, one line each: the one that was
/// kept, and what is there now. A line of a listing is type, mode, owner's two
/// numbers, size, time of change, digest and path; the first line is its head.
#[must_use]
pub fn difference(kept: &str, now: &str) -> Vec<String> {
    let (before, after) = (by_path(kept), by_path(now));
    let mut lines = Vec::new();
    for (path, was) in &before {
        match after.get(path) {
            None => lines.push(format!("gone     {path}")),
            Some(is) if is != was => {
                lines.push(format!("changed  {path}: {} -> {}", was.join(" "), is.join(" ")));
            }
            Some(_) => {}
        }
    }
    let added = after.keys().filter(|path| !before.contains_key(*path));
    lines.extend(added.map(|path| format!("added    {path}")));
    lines.sort_unstable();
    lines
}
