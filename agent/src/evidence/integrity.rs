//! A listing of declared trees: what each thing is, who may change it, and the
//! digest of what is in it. Kept elsewhere it is the baseline; two of them make a
//! difference.
//!
//! One thing a line, sorted by path: type, mode, owner, size, time of change,
//! digest or target, path. Paths are escaped as Rust escapes bytes.

use super::files;
use certs::Sum;
use std::{
    collections::VecDeque,
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

/// Things that one listing may have: a large server's /usr has half a million.
const ENTRIES_MAX: usize = 1_000_000;
/// The first line: says what the rest is.
const HEAD: &str = "understudy baseline 1: type mode uid gid size changed digest path\n";

/// The listing, line by line as it is read.
pub(super) struct Listing {
    waiting: VecDeque<PathBuf>,
    entries: usize,
    ready: VecDeque<u8>,
    faults: usize,
    first: String,
}

impl Listing {
    pub(super) fn of(trees: &[PathBuf]) -> Self {
        let mut trees = trees.to_vec();
        trees.sort();
        let ready = HEAD.bytes().collect();
        Self { waiting: trees.into(), entries: 0, ready, faults: 0, first: String::new() }
    }

    fn fault(&mut self, path: &Path, error: &io::Error) {
        self.faults += 1;
        if self.first.is_empty() {
            self.first = format!("{}: {error}", path.display());
        }
    }

    fn next_line(&mut self) -> Option<String> {
        loop {
            if self.entries >= ENTRIES_MAX {
                return None;
            }
            let path = self.waiting.pop_front()?;
            self.entries += 1;
            let line = fs::symlink_metadata(&path).and_then(|meta| {
                if meta.is_dir() {
                    let mut within: Vec<PathBuf> = fs::read_dir(&path)?
                        .map(|entry| entry.map(|entry| entry.path()))
                        .collect::<io::Result<_>>()?;
                    within.sort();
                    within.into_iter().rev().for_each(|path| self.waiting.push_front(path));
                }
                line(&path, &meta)
            });
            match line {
                Ok(line) => return Some(line),
                Err(error) => self.fault(&path, &error),
            }
        }
    }

    /// Empty, or what could not be read.
    pub(super) fn cut(&self) -> String {
        if self.entries >= ENTRIES_MAX && !self.waiting.is_empty() {
            return format!("only the first {ENTRIES_MAX} entries are here");
        }
        match self.faults {
            0 => String::new(),
            faults => format!("{faults} could not be read, the first: {}", self.first),
        }
    }
}

impl Read for Listing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty()
            && let Some(line) = self.next_line()
        {
            self.ready.extend(line.bytes());
        }
        self.ready.read(buffer)
    }
}

impl super::archive::Source for Listing {
    fn fault(&mut self) -> String {
        self.cut()
    }
}

fn line(path: &Path, meta: &Metadata) -> io::Result<String> {
    let kind = meta.file_type();
    let (word, what) = if kind.is_file() {
        ("file", digest(path)?)
    } else if kind.is_symlink() {
        ("link", format!("->{}", escaped(fs::read_link(path)?.as_os_str().as_bytes())))
    } else if kind.is_dir() {
        ("dir", "-".into())
    } else if kind.is_fifo() {
        ("fifo", "-".into())
    } else if kind.is_socket() {
        ("socket", "-".into())
    } else {
        ("device", format!("{:x}", meta.rdev()))
    };
    let size = if kind.is_file() { meta.size() } else { 0 };
    let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
    let (changed, path) = (meta.mtime(), escaped(path.as_os_str().as_bytes()));
    Ok(format!("{word} {mode:04o} {uid} {gid} {size} {changed} {what} {path}\n"))
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = files::open(path)?;
    let (mut sum, mut piece) = (Sum::default(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(sum.hex()),
            length => sum.add(&piece[..length]),
        }
    }
}

/// Blanks too, so that fields are told apart.
fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace(' ', "\\x20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::evidence::difference;

    fn listed(tree: &Path) -> String {
        let mut text = String::new();
        let mut listing = Listing::of(&[tree.to_path_buf()]);
        listing.read_to_string(&mut text).unwrap();
        assert_eq!(listing.cut(), "");
        text
    }

    #[test]
    fn what_was_changed_added_and_removed_is_named_and_nothing_else() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        for name in ["same", "sub/changed", "gone", "mode"] {
            fs::write(path(name), name).unwrap();
        }
        std::os::unix::fs::symlink("same", path("link")).unwrap();
        let before = listed(dir.path());
        assert_eq!(difference(&before, &listed(dir.path())), Vec::<String>::new());
        // The same length, so that only the digest tells.
        fs::write(path("sub/changed"), "sub/CHANGED").unwrap();
        fs::remove_file(path("gone")).unwrap();
        fs::set_permissions(path("mode"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::write(path("a new one"), "").unwrap();
        let lines = difference(&before, &listed(dir.path()));
        let words: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| {
                let name = line.split_whitespace().nth(1).unwrap();
                (line.split(' ').next().unwrap(), name.rsplit('/').next().unwrap())
            })
            .collect();
        let wanted = [
            ("added", "a\\x20new\\x20one"),
            ("changed", "mode:"),
            ("changed", "changed:"),
            ("gone", "gone"),
        ];
        assert_eq!(words, wanted, "{lines:?}");
        assert!(lines[1].contains("4755"), "{lines:?}");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let mut listing = Listing::of(&["/nonexistent/tree".into()]);
        io::copy(&mut listing, &mut io::sink()).unwrap();
        assert!(listing.cut().contains("1 could not be read"), "{}", listing.cut());
    }
}
