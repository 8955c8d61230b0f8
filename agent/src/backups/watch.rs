//! Which source's files have changed: one inotify queue for all of them.
//!
//! Directories are watched, not files, so that a file that is written beside and
//! renamed counts; and the directories above a source, so that one that is
//! replaced counts. After anything that changes what has to be watched (a new
//! directory, one that moved, a queue that ran over) everything is watched anew,
//! and the sources concerned count as changed, because what happened meanwhile
//! is not known.

use backup::config::PathsSource;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs, io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};
use tokio::io::unix::AsyncFd;

/// Directories that are watched: an eighth of what kernels allow a user at least,
/// and each costs the kernel about 1 KiB.
const DIRECTORIES_MAX: usize = 8192;
/// Bytes read of the queue at once.
const BUFFER: usize = 8192;

/// Why files cannot be watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// There is no queue, or no more room in it.
    #[error("{}: {source}", path.display())]
    System { path: PathBuf, source: io::Error },
    /// More than is watched.
    #[error(
        "there are more than {DIRECTORIES_MAX} directories below the sources with on_change; leave it out for the large ones"
    )]
    TooMany,
}

/// What counts in a directory.
#[derive(Debug, Default)]
struct Interest {
    /// Sources for which everything in it counts.
    all: BTreeSet<String>,
    /// Sources for which one name in it counts, and whether what it leads to is
    /// to be watched anew.
    names: BTreeMap<OsString, BTreeSet<String>>,
}

/// The sources and what is watched of them.
#[derive(Debug)]
pub(super) struct Watch {
    sources: BTreeMap<String, PathsSource>,
    queue: AsyncFd<OwnedFd>,
    interests: BTreeMap<i32, Interest>,
}

fn system(path: &Path) -> impl Fn(rustix::io::Errno) -> WatchError + '_ {
    move |error| WatchError::System { path: path.into(), source: error.into() }
}

/// One arrangement of watches.
struct Arranged {
    queue: OwnedFd,
    interests: BTreeMap<i32, Interest>,
}

impl Arranged {
    fn of(sources: &BTreeMap<String, PathsSource>) -> Result<Self, WatchError> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(system(Path::new("inotify")))?;
        let mut arranged = Self { queue, interests: BTreeMap::new() };
        for (name, source) in sources {
            let exclude: BTreeSet<PathBuf> =
                source.exclude.iter().map(|name| source.root.join(name)).collect();
            let tops: Vec<PathBuf> = if source.paths.is_empty() {
                vec![source.root.clone()]
            } else {
                source.paths.iter().map(|name| source.root.join(name)).collect()
            };
            for top in &tops {
                arranged.above(name, top)?;
                arranged.below(name, top, &exclude)?;
            }
        }
        Ok(arranged)
    }

    /// The directories that lead to it: one of them may be replaced.
    fn above(&mut self, source: &str, top: &Path) -> Result<(), WatchError> {
        let mut path = top;
        while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            if let Some(interest) = self.watch(parent)? {
                interest.names.entry(name.to_owned()).or_default().insert(source.into());
            }
            path = parent;
        }
        Ok(())
    }

    /// Every directory that it holds. Symbolic links are copied as links, and so
    /// are not followed here either.
    fn below(
        &mut self,
        source: &str,
        top: &Path,
        exclude: &BTreeSet<PathBuf>,
    ) -> Result<(), WatchError> {
        let mut left = vec![top.to_owned()];
        while let Some(path) = left.pop() {
            let is_directory = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
            if !is_directory || exclude.contains(&path) {
                continue;
            }
            // Watched before it is read, so that what comes later is told.
            let Some(interest) = self.watch(&path)? else { continue };
            interest.all.insert(source.into());
            // What cannot be read fails the backup, in better words.
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    left.push(entry.path());
                }
            }
        }
        Ok(())
    }

    /// Watches a directory; nothing when it is gone, or is none.
    fn watch(&mut self, path: &Path) -> Result<Option<&mut Interest>, WatchError> {
        if self.interests.len() >= DIRECTORIES_MAX {
            return Err(WatchError::TooMany);
        }
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        match inotify::add_watch(&self.queue, path, flags) {
            Ok(number) => Ok(Some(self.interests.entry(number).or_default())),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(system(path)(error)),
        }
    }
}

/// What some events come to.
#[derive(Debug, Default)]
struct Seen {
    changed: BTreeSet<String>,
    /// What is watched has changed, too.
    anew: bool,
}

impl Watch {
    /// Watches these, by name.
    pub(super) fn start(sources: BTreeMap<String, PathsSource>) -> Result<Self, WatchError> {
        let Arranged { queue, interests } = Arranged::of(&sources)?;
        Ok(Self { queue: asynchronous(queue)?, interests, sources })
    }

    /// The sources that have changed, once some have. Cancel-safe but for an
    /// error, after which nothing more is told: start anew.
    pub(super) async fn changed(&mut self) -> Result<BTreeSet<String>, WatchError> {
        loop {
            let mut ready = self
                .queue
                .readable()
                .await
                .map_err(|source| WatchError::System { path: "inotify".into(), source })?;
            let seen = read(&self.queue, &self.interests, &self.sources)?;
            ready.clear_ready();
            drop(ready);
            if seen.anew {
                // First the new watches, then the word: nothing falls in between.
                let Arranged { queue, interests } = Arranged::of(&self.sources)?;
                self.queue = asynchronous(queue)?;
                self.interests = interests;
            }
            if !seen.changed.is_empty() {
                return Ok(seen.changed);
            }
        }
    }
}

#[expect(deprecated, reason = "its successor is unsafe; an OwnedFd is what it wants to be told of")]
fn asynchronous(queue: OwnedFd) -> Result<AsyncFd<OwnedFd>, WatchError> {
    AsyncFd::new(queue).map_err(|source| WatchError::System { path: "inotify".into(), source })
}

/// Reads the queue until it is empty.
fn read(
    queue: &AsyncFd<OwnedFd>,
    interests: &BTreeMap<i32, Interest>,
    sources: &BTreeMap<String, PathsSource>,
) -> Result<Seen, WatchError> {
    let mut seen = Seen::default();
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(queue.get_ref(), &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(rustix::io::Errno::AGAIN) => return Ok(seen),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(system(Path::new("inotify"))(error)),
        };
        let what = event.events();
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            seen.anew = true;
            seen.changed.extend(sources.keys().cloned());
            continue;
        }
        let Some(interest) = interests.get(&event.wd()) else { continue };
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
        let named = name.and_then(|name| interest.names.get(name)).into_iter().flatten();
        let itself = what.intersects(
            ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT,
        );
        let moved = ReadFlags::CREATE | ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO;
        let before = seen.changed.len();
        seen.changed.extend(interest.all.iter().cloned());
        seen.changed.extend(named.cloned());
        let concerned = !interest.all.is_empty() || seen.changed.len() > before;
        if itself || (concerned && what.contains(ReadFlags::ISDIR) && what.intersects(moved)) {
            seen.anew = true;
        }
    }
}
