//! A snapshot's files, written into a directory of their own.
//!
//! Slower than the library's own restore and smaller: it holds a few pieces in
//! memory, and every failure to set an owner, a mode, a time or an attribute is
//! an error, where the library only logs it.

use crate::{repository::words, source::stat};
use rustic_core::{
    IndexedFullStatus, LsOptions, Repository, RusticError, TreeId,
    repofile::{Metadata, Node, NodeType},
};
use rustix::{
    fs::{
        AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
        fsetxattr, futimens, mknodat, syncfs, utimensat,
    },
    io::Errno,
    process::geteuid,
};
use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

/// How much of a file is held at once.
const PIECE: usize = 4 * 1024 * 1024;
/// A run of zeros of this length becomes a hole: a file system's block.
const BLOCK: usize = 4096;

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The repository did not give it.
    #[error("{}: {words}", path.display())]
    Repository {
        /// The file.
        path: PathBuf,
        /// The library's words.
        words: String,
    },
    /// The file system did not take it.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name that would lead elsewhere.
    #[error("the snapshot has a file named {name:?}, which is no name of a file")]
    Name {
        /// The name.
        name: PathBuf,
    },
    /// There is less in the repository than there was in the file.
    #[error("{} has {found} bytes in the repository instead of {expected}", path.display())]
    Short {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: u64,
        /// Bytes that it had.
        expected: u64,
    },
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Sockets, which only the program that listens can make.
    pub(crate) sockets: u64,
}

fn library(path: &Path) -> impl Fn(Box<RusticError>) -> TreeError {
    move |error| TreeError::Repository { path: path.into(), words: words(&error) }
}

fn file<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl Fn(E) -> TreeError {
    move |error| TreeError::File { doing, path: path.into(), source: error.into() }
}

type Indexed = Repository<IndexedFullStatus>;

/// Every entry below a directory of a snapshot, with what is wrong with its
/// name: nothing leads out of the place that it is written to.
pub(crate) fn entries<'a>(
    repository: &'a Indexed,
    top: &'a Node,
    options: &'a LsOptions,
) -> Result<impl Iterator<Item = Result<(PathBuf, Node), TreeError>> + 'a, TreeError> {
    let here = Path::new("the snapshot");
    let list = repository.ls(top, options).map_err(library(here))?;
    Ok(list.map(move |entry| {
        let (path, node) = entry.map_err(library(here))?;
        let name = node.name();
        let mut parts = Path::new(&*name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(part)), None) if part == &*name => {}
            _ => return Err(TreeError::Name { name: PathBuf::from(&*name) }),
        }
        Ok((path, node))
    }))
}

/// Writes what is in the snapshot's directory `name` into `place`, which is made.
pub(crate) fn write(
    repository: &Indexed,
    tree: TreeId,
    name: &Path,
    place: &Path,
) -> Result<Written, TreeError> {
    let top = repository.node_from_path(tree, name).map_err(library(name))?;
    let mut writer = Writer {
        repository,
        owner: geteuid().is_root(),
        links: HashMap::new(),
        directories: Vec::new(),
        written: Written::default(),
    };
    writer.directory(place, &top)?;
    for entry in entries(repository, &top, &LsOptions::default())? {
        let (path, node) = entry?;
        writer.entry(&place.join(&path), &node)?;
    }
    writer.finish(place)
}

struct Writer<'a> {
    repository: &'a Indexed,
    /// Only root can give files away; others get what they may.
    owner: bool,
    /// Where a file with several names was written first.
    links: HashMap<(u64, u64), PathBuf>,
    /// Their own metadata comes last: a directory may be closed to writing.
    directories: Vec<(PathBuf, Metadata)>,
    written: Written,
}

impl Writer<'_> {
    fn entry(&mut self, path: &Path, node: &Node) -> Result<(), TreeError> {
        match &node.node_type {
            NodeType::Dir => self.directory(path, node),
            NodeType::File => self.file(path, node),
            NodeType::Symlink { .. } => {
                std::os::unix::fs::symlink(node.node_type.to_link(), path)
                    .map_err(file("make the link", path))?;
                self.by_name(path, &node.meta)
            }
            NodeType::Dev { device } => {
                self.special(path, node, rustix::fs::FileType::BlockDevice, *device)
            }
            NodeType::Chardev { device } => {
                self.special(path, node, rustix::fs::FileType::CharacterDevice, *device)
            }
            NodeType::Fifo => self.special(path, node, rustix::fs::FileType::Fifo, 0),
            NodeType::Socket => {
                self.written.sockets += 1;
                Ok(())
            }
        }
    }

    fn directory(&mut self, path: &Path, node: &Node) -> Result<(), TreeError> {
        DirBuilder::new().mode(0o700).create(path).map_err(file("make the directory", path))?;
        self.directories.push((path.into(), node.meta.clone()));
        Ok(())
    }

    fn file(&mut self, path: &Path, node: &Node) -> Result<(), TreeError> {
        let meta = &node.meta;
        let key = (meta.device_id, meta.inode);
        let several = meta.links > 1 && meta.device_id != 0;
        if several && let Some(first) = self.links.get(&key) {
            self.written.files += 1;
            return fs::hard_link(first, path).map_err(file("link", path));
        }
        let out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(file("make", path))?;
        let size = self.content(path, node, &out)?;
        if meta.size != 0 && size != meta.size {
            return Err(TreeError::Short { path: path.into(), found: size, expected: meta.size });
        }
        self.of_open(path, &out, meta)?;
        if several {
            self.links.insert(key, path.into());
        }
        self.written.files += 1;
        self.written.bytes += size;
        Ok(())
    }

    /// Writes the content and returns its length; zeros become holes.
    fn content(&self, path: &Path, node: &Node, out: &File) -> Result<u64, TreeError> {
        let open = self.repository.open_file(node).map_err(library(path))?;
        let mut offset = 0_usize;
        loop {
            let piece =
                self.repository.read_file_at(&open, offset, PIECE).map_err(library(path))?;
            if piece.is_empty() {
                break;
            }
            let mut at = offset as u64;
            for block in piece.chunks(BLOCK) {
                if block.iter().any(|byte| *byte != 0) {
                    out.write_all_at(block, at).map_err(file("write", path))?;
                }
                at += block.len() as u64;
            }
            offset += piece.len();
        }
        out.set_len(offset as u64).map_err(file("write", path))?;
        Ok(offset as u64)
    }

    fn special(
        &self,
        path: &Path,
        node: &Node,
        kind: rustix::fs::FileType,
        device: u64,
    ) -> Result<(), TreeError> {
        let mode = Mode::from_raw_mode(stat::permissions(node.meta.mode.unwrap_or(0o600)));
        mknodat(CWD, path, kind, mode, device).map_err(file("make", path))?;
        self.by_name(path, &node.meta)
    }

    fn ids(&self, meta: &Metadata) -> Option<(Option<Uid>, Option<Gid>)> {
        (self.owner && (meta.uid.is_some() || meta.gid.is_some()))
            .then(|| (meta.uid.map(Uid::from_raw), meta.gid.map(Gid::from_raw)))
    }

    /// Owner, attributes, mode and times of an open file or directory, in the
    /// order in which none undoes another.
    fn of_open(&self, path: &Path, open: &File, meta: &Metadata) -> Result<(), TreeError> {
        if let Some((uid, gid)) = self.ids(meta) {
            fchown(open, uid, gid).map_err(file("set the owner of", path))?;
        }
        for attribute in &meta.extended_attributes {
            let value = attribute.value.as_deref().unwrap_or_default();
            match fsetxattr(open, attribute.name.as_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // Those that only root, or no file system here, may have.
                Err(Errno::PERM | Errno::NOTSUP) if !self.owner => {}
                Err(error) => return Err(file("set an attribute of", path)(error)),
            }
        }
        if let Some(mode) = meta.mode {
            let mode = Mode::from_raw_mode(stat::permissions(mode));
            fchmod(open, mode).map_err(file("set the mode of", path))?;
        }
        match times(meta) {
            Some(times) => futimens(open, &times).map_err(file("set the times of", path)),
            None => Ok(()),
        }
    }

    /// The same for what cannot be opened: links and devices.
    fn by_name(&self, path: &Path, meta: &Metadata) -> Result<(), TreeError> {
        if let Some((uid, gid)) = self.ids(meta) {
            chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(file("set the owner of", path))?;
        }
        match times(meta) {
            Some(times) => utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(file("set the times of", path)),
            None => Ok(()),
        }
    }

    /// Directories last and deepest first; then everything to the disk.
    fn finish(self, place: &Path) -> Result<Written, TreeError> {
        for (path, meta) in self.directories.iter().rev() {
            let open = File::open(path).map_err(file("open", path))?;
            self.of_open(path, &open, meta)?;
        }
        let top = File::open(place).map_err(file("open", place))?;
        syncfs(&top).map_err(file("sync", place))?;
        Ok(self.written)
    }
}

fn times(meta: &Metadata) -> Option<Timestamps> {
    let spec = |at: jiff::Timestamp| {
        // Before 1970 the library's fraction is negative, the system's is not.
        let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
        let (tv_sec, nanos) =
            if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) };
        Timespec { tv_sec, tv_nsec: nanos.into() }
    };
    let modified = meta.mtime?;
    let accessed = meta.atime.unwrap_or(modified);
    Some(Timestamps { last_access: spec(accessed), last_modification: spec(modified) })
}
