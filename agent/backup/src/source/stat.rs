//! What the file system says of a file, in the words of the repository's format.

use base64::{Engine, prelude::BASE64_STANDARD};
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustix::{
    fd::AsFd,
    fs::{FileType, Stat, fgetxattr, flistxattr},
    io::Errno,
};
use serde::Serialize;
use std::ffi::OsStr;

/// The longest list of names, and the longest value, that the kernel gives.
const XATTR_MAX: usize = 64 * 1024;

// The format has the mode bits of Go's `fs.FileMode`.
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_FIFO: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHARDEV: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;

/// The permission bits of the format as `chmod` takes them.
pub(crate) const fn permissions(go: u32) -> u32 {
    let mut mode = go & 0o777;
    if go & GO_SETUID != 0 {
        mode |= 0o4000;
    }
    if go & GO_SETGID != 0 {
        mode |= 0o2000;
    }
    if go & GO_STICKY != 0 {
        mode |= 0o1000;
    }
    mode
}

fn go_mode(mode: u32) -> u32 {
    let mut go = mode & 0o777;
    go |= match FileType::from_raw_mode(mode) {
        FileType::Directory => GO_DIR,
        FileType::Symlink => GO_SYMLINK,
        FileType::BlockDevice => GO_DEVICE,
        FileType::CharacterDevice => GO_DEVICE | GO_CHARDEV,
        FileType::Fifo => GO_FIFO,
        FileType::Socket => GO_SOCKET,
        FileType::RegularFile | FileType::Unknown => 0,
    };
    for (bit, there) in [(GO_SETUID, 0o4000), (GO_SETGID, 0o2000), (GO_STICKY, 0o1000)] {
        if mode & there != 0 {
            go |= bit;
        }
    }
    go
}

/// A number whose width differs between processors.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}

fn time(seconds: i64, nanos: u64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()
}

/// The node of a file.
pub(crate) fn node(name: &OsStr, kind: NodeType, meta: &Stat, attributes: Attributes) -> Node {
    let is_dir = matches!(kind, NodeType::Dir);
    let is_file = matches!(kind, NodeType::File);
    let mtime = time(meta.st_mtime, wide(meta.st_mtime_nsec));
    // As restic: a directory's own count is of no use, and the device matters
    // only to tell one file with two names.
    let links = if is_dir { 0 } else { wide(meta.st_nlink) };
    let mut meta = Metadata {
        mode: Some(go_mode(meta.st_mode)),
        mtime,
        atime: mtime,
        ctime: time(meta.st_ctime, wide(meta.st_ctime_nsec)),
        uid: Some(meta.st_uid),
        gid: Some(meta.st_gid),
        user: None,
        group: None,
        inode: meta.st_ino,
        device_id: if links > 1 { meta.st_dev } else { 0 },
        size: if is_file { u64::try_from(meta.st_size).unwrap_or(0) } else { 0 },
        links,
        extended_attributes: Vec::new(),
    };
    if !attributes.is_empty() {
        let list: Vec<Named> = attributes
            .into_iter()
            .map(|(name, value)| Named { name, value: BASE64_STANDARD.encode(value) })
            .collect();
        // The library does not export the type, and reads it in the format's own
        // form; a list of two strings each always has that.
        meta.extended_attributes =
            serde_json::to_value(list).and_then(serde_json::from_value).unwrap_or_default();
    }
    Node::new_node(name, kind, meta)
}

/// The metadata of a file of our own making.
pub(crate) fn own_meta(mode: u32, size: u64) -> Metadata {
    let now = Some(jiff::Timestamp::now());
    Metadata { mode: Some(mode), mtime: now, atime: now, ctime: now, size, ..Metadata::default() }
}

/// Names and values of extended attributes.
pub(crate) type Attributes = Vec<(String, Vec<u8>)>;

#[derive(Serialize)]
struct Named {
    name: String,
    value: String,
}

/// A file's extended attributes; none where the file system has none.
pub(crate) fn attributes(file: impl AsFd) -> Result<Attributes, Errno> {
    let file = file.as_fd();
    let mut names = vec![0_u8; XATTR_MAX];
    let length = match flistxattr(file, &mut names[..]) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(length) => length,
        Err(error) => return Err(error),
    };
    names.truncate(length);
    let mut found = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; XATTR_MAX];
        match fgetxattr(file, name, &mut value[..]) {
            Ok(length) => value.truncate(length),
            // Removed meanwhile.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error),
        }
        found.push((String::from_utf8_lossy(name).into_owned(), value));
    }
    Ok(found)
}
