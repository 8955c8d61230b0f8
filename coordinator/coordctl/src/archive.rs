//! Reads an archive of evidence and says what it is worth: who sealed it, and what
//! of it is missing, altered or not spoken of.
//!
//! One member at a time is in memory. Nothing is unpacked.

use certs::{Fingerprint, Trust};
use model::evidence::{MANIFEST, Manifest, PURPOSE, SEAL, Seal, VERSION};
use std::{
    collections::BTreeMap,
    io::{self, Read},
};

/// tar's block.
const BLOCK: usize = 512;
/// The largest member that is read: agents write pieces of 4 MiB, and a manifest.
const MEMBER_MAX: usize = 64 << 20;
/// Members of an archive: 16 GiB in pieces, and ten thousand files of a log.
const MEMBERS_MAX: usize = 100_000;
/// The item that lists the declared trees, as it is.
const INTEGRITY: &str = "integrity.";

/// What an archive is worth.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Worth {
    /// Nothing where the manifest cannot be believed.
    pub(crate) manifest: Option<Manifest>,
    /// The certificate of whoever sealed it: serial and host.
    pub(crate) sealed_by: Option<(String, String)>,
    /// What is wrong with it, one sentence each; empty when all is well.
    pub(crate) faults: Vec<String>,
    /// The listing of the declared trees, where it is whole.
    pub(crate) listing: String,
}

/// What was read of the tar.
#[derive(Default)]
struct Contents {
    /// Name to length and digest.
    members: BTreeMap<String, (u64, String)>,
    manifest: Vec<u8>,
    seal: Vec<u8>,
    listing: Vec<u8>,
    faults: Vec<String>,
}

/// Reads it to its end.
pub(crate) fn examine(mut from: impl Read, trust: &Trust) -> Worth {
    let mut contents = Contents::default();
    if let Err(why) = contents.read(&mut from) {
        contents.faults.push(why);
    }
    let mut worth = Worth { faults: std::mem::take(&mut contents.faults), ..Worth::default() };
    match believed(&contents, trust) {
        Ok((manifest, by)) => {
            compare(&manifest, &contents.members, &mut worth.faults);
            worth.manifest = Some(manifest);
            worth.sealed_by = Some(by);
        }
        Err(why) => worth.faults.push(why),
    }
    if worth.faults.is_empty() {
        worth.listing = String::from_utf8_lossy(&contents.listing).into_owned();
    }
    worth
}

fn believed(contents: &Contents, trust: &Trust) -> Result<(Manifest, (String, String)), String> {
    if contents.manifest.is_empty() || contents.seal.is_empty() {
        return Err("it has no sealed manifest: it is cut off, or was never finished".into());
    }
    let seal: Seal = serde_json::from_slice(&contents.seal)
        .map_err(|error| format!("its seal cannot be read: {error}"))?;
    let manifest: Manifest = serde_json::from_slice(&contents.manifest)
        .map_err(|error| format!("its manifest cannot be read: {error}"))?;
    if manifest.version != VERSION {
        let version = manifest.version;
        return Err(format!("its manifest has the form {version}; this coordctl knows {VERSION}"));
    }
    let by = trust
        .sealed_by(PURPOSE, &contents.manifest, &seal, manifest.ended)
        .map_err(|error| error.to_string())?;
    let (host, name) = (&manifest.host, by.identity.name());
    if host.as_str() != name {
        return Err(format!("it says that it is of {host}, and was sealed by {name}"));
    }
    Ok((manifest.clone(), (by.serial, name.to_owned())))
}

/// Every member as the manifest has it, and none besides.
fn compare(manifest: &Manifest, found: &BTreeMap<String, (u64, String)>, faults: &mut Vec<String>) {
    let mut left = found.clone();
    for (item, member) in
        manifest.items.iter().flat_map(|item| item.members.iter().map(move |one| (item, one)))
    {
        let whose = format!("{} (of {}: {})", member.name, item.name, item.how);
        match left.remove(&member.name) {
            None => faults.push(format!("missing: {whose}")),
            Some(is) if is != (member.bytes, member.sha256.clone()) => {
                faults.push(format!("altered: {whose}"));
            }
            Some(_) => {}
        }
    }
    faults.extend(left.keys().map(|name| format!("not in the manifest: {name}")));
}

impl Contents {
    fn read(&mut self, from: &mut impl Read) -> Result<(), String> {
        loop {
            let mut header = [0; BLOCK];
            match filled(from, &mut header) {
                Ok(0) => return Err("it ends without an end: it is cut off".into()),
                Ok(BLOCK) => {}
                Ok(_) => return Err("it ends in the middle of a header: it is cut off".into()),
                Err(error) => return Err(format!("it cannot be read: {error}")),
            }
            if header.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let (name, length) = parsed(&header)
                .ok_or("a header is altered; what follows it cannot be told apart")?;
            if length > MEMBER_MAX || self.members.len() >= MEMBERS_MAX {
                return Err(format!("{name} is too large, or one member too many"));
            }
            let mut bytes = vec![0; length.next_multiple_of(BLOCK)];
            match filled(from, &mut bytes) {
                Ok(read) if read == bytes.len() => {}
                Ok(_) => return Err(format!("it ends in the middle of {name}: it is cut off")),
                Err(error) => return Err(format!("{name} cannot be read: {error}")),
            }
            if bytes.split_off(length).iter().any(|byte| *byte != 0) {
                self.faults.push(format!("altered: what fills up the block after {name}"));
            }
            self.take(name, bytes);
        }
    }

    fn take(&mut self, name: String, bytes: Vec<u8>) {
        match name.as_str() {
            MANIFEST if self.manifest.is_empty() => self.manifest = bytes,
            SEAL if self.seal.is_empty() => self.seal = bytes,
            _ => {
                let sum = (bytes.len() as u64, Fingerprint::of(&bytes).to_string());
                if name.starts_with(INTEGRITY) {
                    self.listing.extend(bytes);
                }
                if self.members.contains_key(&name) {
                    self.faults.push(format!("{name} is there twice"));
                }
                self.members.insert(name, sum);
            }
        }
    }
}

/// Reads until the buffer is full or the end has come.
fn filled(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Name and length of a ustar header whose sum is right.
fn parsed(header: &[u8; BLOCK]) -> Option<(String, usize)> {
    let octal = |from: usize, to: usize| {
        let text = std::str::from_utf8(&header[from..to]).ok()?;
        usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
    };
    let blank = |at: usize| if (148..156).contains(&at) { b' ' } else { header[at] };
    let sum: usize = (0..BLOCK).map(|at| usize::from(blank(at))).sum();
    if octal(148, 156)? != sum || header.get(257..262)? != b"ustar" {
        return None;
    }
    let name = std::str::from_utf8(&header[..100]).ok()?.trim_end_matches('\0');
    Some((name.to_owned(), octal(124, 136)?))
}

#[cfg(test)]
mod tests;
