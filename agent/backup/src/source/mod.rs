//! What is copied, made ready to be read: files, a volume behind its quiesced
//! containers, or the output of a program.

pub(crate) mod docker;
mod output;
mod spool;
pub(crate) mod stat;
mod thaw;
mod walk;

pub(crate) use thaw::{Action, Frozen, thaw};

use crate::{
    config::{Config, Kind, Quiesce, SourceConfig},
    manifest::{self, Manifest},
    repository::Control,
};
use docker::{Docker, DockerError, Found};
use rustic_core::{ReadSource, ReadSourceEntry, RusticResult, repofile::NodeType};
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use walk::{Content, Tree, Walk, plain_file};

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Docker.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// A name of it is not there.
    #[error("{} is not there: {source}; correct `paths` or `root`, or bring it back", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It would be stopped and started without a lease.
    #[error(
        "container `{container}` is of an exclusive service, which only the agent starts; use \
         quiesce = \"pause\" or \"none\""
    )]
    Exclusive {
        /// The container.
        container: String,
    },
    /// The program did not start.
    #[error("{program} cannot be started: {source}")]
    NotStarted {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// Containers could not be frozen or let go.
    #[error("{0}")]
    Quiesce(String),
    /// A program's output, or a container's files, did not come whole.
    #[error("{0}")]
    Stream(io::Error),
}

/// A source that is ready to be read, and what must be let go afterwards.
pub(crate) struct Ready {
    pub(crate) reader: Reader,
    frozen: Option<Frozen>,
}

impl Ready {
    /// Lets containers go on that waited.
    pub(crate) fn release(self) -> Result<(), SourceError> {
        match self.frozen {
            Some(frozen) => frozen.release().map_err(SourceError::Quiesce),
            None => Ok(()),
        }
    }
}

/// Makes a source ready: finds it, quiesces what uses it, starts its program.
pub(crate) fn prepare(
    config: &Config,
    source: &SourceConfig,
    control: &Arc<Control>,
) -> Result<Ready, SourceError> {
    let mut manifest = Manifest::begin(&source.name, source.kind.word(), &config.host);
    let mut frozen = None;
    let from = match &source.kind {
        Kind::Paths(paths) => {
            for name in
                paths.paths.iter().map(|name| paths.root.join(name)).chain([paths.root.clone()])
            {
                std::fs::symlink_metadata(&name)
                    .map_err(|error| SourceError::Missing { path: name.clone(), source: error })?;
            }
            manifest.root = Some(paths.root.clone());
            manifest.names.clone_from(&paths.paths);
            manifest.exclude.clone_from(&paths.exclude);
            From::Tree(paths.root.clone())
        }
        Kind::Volume(volume) => {
            let docker = Docker::connect(&source.socket)?;
            let found = docker.volume(&volume.volume)?;
            let users = docker.users_of(std::slice::from_ref(&found.mountpoint))?;
            manifest.root = Some(found.mountpoint.clone());
            manifest.volume = Some(found.name);
            manifest.containers = users.iter().map(Found::for_manifest).collect();
            frozen = quiesce(config, source, volume.quiesce, &docker, users)?;
            From::Tree(found.mountpoint)
        }
        Kind::Container(files) => {
            let docker = Docker::connect(&source.socket)?;
            let found = docker.container(&files.container)?;
            manifest.containers = vec![found.for_manifest()];
            let content = output::of_files(docker, &found, files, control);
            From::Stream("files.tar".into(), content)
        }
        Kind::Command(command) => {
            manifest.command.clone_from(&command.command);
            let content = match &command.container {
                None => output::of_program(command, control)?,
                Some(name) => {
                    let docker = Docker::connect(&source.socket)?;
                    let found = docker.container(name)?;
                    manifest.containers = vec![found.for_manifest()];
                    output::of_exec(docker, &found, command, control)
                }
            };
            From::Stream(command.file.clone(), content)
        }
    };
    let from = match from {
        From::Tree(root) => Whole::Tree(root),
        From::Stream(name, content) => {
            let (file, length) = spool::spool(content, &config.state_dir.join("backup"))
                .map_err(SourceError::Stream)?;
            Whole::File(name, length, Box::new(file))
        }
    };
    Ok(Ready { reader: Reader::new(source, from, &manifest, control), frozen })
}

fn quiesce(
    config: &Config,
    source: &SourceConfig,
    how: Quiesce,
    docker: &Docker,
    users: Vec<Found>,
) -> Result<Option<Frozen>, SourceError> {
    let action = match how {
        Quiesce::None => return Ok(None),
        Quiesce::Pause => Action::Pause,
        Quiesce::Stop => Action::Stop,
    };
    let running: Vec<Found> =
        users.into_iter().filter(|user| user.running && !user.paused).collect();
    if let (Action::Stop, Some(found)) =
        (action, running.iter().find(|found| found.is_one_of(&config.exclusive)))
    {
        return Err(SourceError::Exclusive { container: found.name.clone() });
    }
    if running.is_empty() {
        return Ok(None);
    }
    Frozen::freeze(docker, &source.socket, action, &running).map(Some).map_err(SourceError::Quiesce)
}

enum From {
    Tree(PathBuf),
    Stream(String, Content),
}

/// The same, with a stream's end known.
enum Whole {
    Tree(PathBuf),
    File(String, u64, Content),
}

/// What the library reads.
pub(crate) enum Reader {
    Tree(Tree),
    Stream(Stream),
}

impl Reader {
    fn new(
        source: &SourceConfig,
        from: Whole,
        manifest: &Manifest,
        control: &Arc<Control>,
    ) -> Self {
        let text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
        let written = (manifest::file_name(&source.name), text);
        let place = Path::new("/").join(&source.name);
        let control = Arc::clone(control);
        match from {
            Whole::Tree(root) => Self::Tree(Tree {
                root,
                place,
                names: manifest.names.clone(),
                exclude: manifest.exclude.clone(),
                manifest: written,
                control,
            }),
            Whole::File(file, length, content) => {
                let content = Mutex::new(Some(content));
                Self::Stream(Stream { place, file, length, content, manifest: written, control })
            }
        }
    }
}

/// One stream as one file.
pub(crate) struct Stream {
    place: PathBuf,
    file: String,
    length: u64,
    content: Mutex<Option<Content>>,
    manifest: (String, Vec<u8>),
    control: Arc<Control>,
}

impl Stream {
    fn entries(&self) -> Vec<ReadSourceEntry<Content>> {
        let name = self.place.file_name().unwrap_or(OsStr::new("stream"));
        let mut meta = stat::own_meta((1 << 31) | 0o700, 0);
        meta.atime = meta.mtime;
        let dir = rustic_core::repofile::Node::new_node(name, NodeType::Dir, meta);
        let mut file = plain_file(&self.file, self.place.join(&self.file), Vec::new());
        file.node.meta.size = self.length;
        // Read once; a second look would find nothing to read, which is a fault.
        file.open = self.content.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (name, text) = self.manifest.clone();
        let entries = vec![
            ReadSourceEntry { path: self.place.clone(), node: dir, open: None },
            file,
            plain_file(&name, Path::new("/").join(&name), text),
        ];
        entries.iter().for_each(|_| self.control.entry());
        entries
    }
}

impl ReadSource for Reader {
    type Open = Content;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Entries {
        match self {
            Self::Tree(tree) => Entries::Walk(Box::new(tree.entries())),
            Self::Stream(stream) => Entries::List(stream.entries().into_iter()),
        }
    }
}

/// The entries of either.
pub(crate) enum Entries {
    Walk(Box<Walk>),
    List(std::vec::IntoIter<ReadSourceEntry<Content>>),
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<Content>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Walk(walk) => walk.next(),
            Self::List(list) => list.next().map(Ok),
        }
    }
}
