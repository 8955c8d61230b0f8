//! The files below a directory, in the order that the library wants, and every
//! fault counted.
//!
//! Each directory is opened from its parent's handle and no symbolic link is
//! followed: what a container writes into its volume cannot lead the reader out
//! of it. Nothing is opened for writing.

use crate::{repository::Control, source::stat};
use rustic_core::{
    ReadSource, ReadSourceEntry, RusticResult,
    repofile::{Node, NodeType},
};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, statat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    vec::IntoIter,
};

/// The content of an entry.
pub(crate) type Content = Box<dyn Read + Send>;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Not blocking, in case a name became a FIFO after it was looked at.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// A directory's tree as a source.
pub(crate) struct Tree {
    /// The directory.
    pub(crate) root: PathBuf,
    /// Its place in the snapshot: `/NAME`.
    pub(crate) place: PathBuf,
    /// Names below it that are read; all of them when empty.
    pub(crate) names: Vec<PathBuf>,
    /// Names below it that are left out.
    pub(crate) exclude: Vec<PathBuf>,
    /// The manifest's name and text, which come last.
    pub(crate) manifest: (String, Vec<u8>),
    pub(crate) control: Arc<Control>,
}

impl ReadSource for Tree {
    type Open = Content;
    type Iter = Walk;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Walk {
        Walk {
            rest: Vec::new(),
            root: Some(self.root.clone()),
            place: self.place.clone(),
            names: self.names.clone(),
            exclude: self.exclude.clone(),
            manifest: Some(self.manifest.clone()),
            control: Arc::clone(&self.control),
        }
    }
}

/// A directory that is being read.
struct Open {
    handle: OwnedFd,
    /// Relative to the root.
    path: PathBuf,
    rest: IntoIter<OsString>,
}

/// The walk itself.
pub(crate) struct Walk {
    rest: Vec<Open>,
    /// Until it is begun.
    root: Option<PathBuf>,
    place: PathBuf,
    names: Vec<PathBuf>,
    exclude: Vec<PathBuf>,
    /// Until it was given.
    manifest: Option<(String, Vec<u8>)>,
    control: Arc<Control>,
}

type Entry = ReadSourceEntry<Content>;

impl Iterator for Walk {
    type Item = RusticResult<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(root) = self.root.take() {
            match self.begin(&root) {
                Ok(entry) => return Some(Ok(self.counted(entry))),
                Err(error) => self.control.fault(format!("{}: {error}", root.display())),
            }
        }
        while let Some(open) = self.rest.last_mut() {
            let Some(name) = open.rest.next() else {
                self.rest.pop();
                continue;
            };
            let path = open.path.join(&name);
            if !self.wanted(&path) {
                continue;
            }
            match self.entry(&name, &path) {
                Ok(entry) => return Some(Ok(self.counted(entry))),
                // Removed between the listing and now, as programs do while they run.
                Err(Errno::NOENT) => self.control.vanished(),
                Err(error) => self.control.fault(format!("{}: {error}", path.display())),
            }
        }
        let (name, text) = self.manifest.take()?;
        Some(Ok(self.counted(plain_file(&name, PathBuf::from("/").join(&name), text))))
    }
}

impl Walk {
    fn counted(&self, entry: Entry) -> Entry {
        self.control.entry();
        entry
    }

    /// Whether a name is of the source: below a wanted one, or on the way to one.
    fn wanted(&self, path: &Path) -> bool {
        let below = |known: &PathBuf| path.starts_with(known);
        if self.exclude.iter().any(below) {
            return false;
        }
        self.names.is_empty() || self.names.iter().any(|name| below(name) || name.starts_with(path))
    }

    fn begin(&mut self, root: &Path) -> Result<Entry, Errno> {
        let handle = open(root, DIRECTORY, Mode::empty())?;
        let meta = fstat(&handle)?;
        let node = stat::node(&self.place_name(), NodeType::Dir, &meta, stat::attributes(&handle)?);
        self.descend(handle, PathBuf::new())?;
        Ok(ReadSourceEntry { path: self.place.clone(), node, open: None })
    }

    fn place_name(&self) -> OsString {
        self.place.file_name().unwrap_or_default().to_owned()
    }

    fn descend(&mut self, handle: OwnedFd, path: PathBuf) -> Result<(), Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&handle)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort_unstable();
        self.rest.push(Open { handle, path, rest: names.into_iter() });
        Ok(())
    }

    fn entry(&mut self, name: &OsStr, path: &Path) -> Result<Entry, Errno> {
        let Some(open) = self.rest.last() else { return Err(Errno::NOENT) };
        let meta = statat(&open.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let place = self.place.join(path);
        match FileType::from_raw_mode(meta.st_mode) {
            FileType::Directory => {
                let handle = openat(&open.handle, name, DIRECTORY, Mode::empty())?;
                let meta = fstat(&handle)?;
                let node = stat::node(name, NodeType::Dir, &meta, stat::attributes(&handle)?);
                self.descend(handle, path.to_owned())?;
                Ok(ReadSourceEntry { path: place, node, open: None })
            }
            FileType::RegularFile => {
                let handle = openat(&open.handle, name, FILE, Mode::empty())?;
                let meta = fstat(&handle)?;
                if FileType::from_raw_mode(meta.st_mode) != FileType::RegularFile {
                    return Err(Errno::NOENT);
                }
                let node = stat::node(name, NodeType::File, &meta, stat::attributes(&handle)?);
                let content = Exactly {
                    file: File::from(handle),
                    left: node.meta.size,
                    path: path.into(),
                    control: Arc::clone(&self.control),
                };
                Ok(ReadSourceEntry { path: place, node, open: Some(Box::new(content)) })
            }
            FileType::Symlink => {
                let target = readlinkat(&open.handle, name, Vec::new())?;
                let target = PathBuf::from(OsStr::from_bytes(target.to_bytes()));
                Ok(special(name, place, NodeType::from_link(&target), &meta))
            }
            FileType::BlockDevice => {
                Ok(special(name, place, NodeType::Dev { device: meta.st_rdev }, &meta))
            }
            FileType::CharacterDevice => {
                Ok(special(name, place, NodeType::Chardev { device: meta.st_rdev }, &meta))
            }
            FileType::Fifo => Ok(special(name, place, NodeType::Fifo, &meta)),
            FileType::Socket | FileType::Unknown => {
                Ok(special(name, place, NodeType::Socket, &meta))
            }
        }
    }
}

fn special(name: &OsStr, path: PathBuf, kind: NodeType, meta: &Stat) -> Entry {
    ReadSourceEntry { path, node: stat::node(name, kind, meta, Vec::new()), open: None }
}

/// A file of our own making.
pub(crate) fn plain_file(name: &str, path: PathBuf, text: Vec<u8>) -> Entry {
    let size = text.len() as u64;
    let node = Node::new_node(OsStr::new(name), NodeType::File, stat::own_meta(0o600, size));
    ReadSourceEntry { path, node, open: Some(Box::new(io::Cursor::new(text))) }
}

/// A file up to the length that it had: one that grows is cut there, one that
/// shrinks is a fault.
struct Exactly {
    file: File,
    left: u64,
    path: PathBuf,
    control: Arc<Control>,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let failed = |words: String| {
            self.control.fault(format!("{}: {words}", self.path.display()));
            io::Error::other(words)
        };
        match self.file.read(&mut buffer[..most]) {
            Ok(0) => Err(failed("it became shorter while it was read".into())),
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}
