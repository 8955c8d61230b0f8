//! A `[[backup]]`: one source by name, checked; after this module every field
//! means something.

use super::{
    Keep,
    container::{Compose, container, volume},
    field::{OneOrMore, absolute, limit, name},
    when::{Fields, VerifyTurn, When},
};
use crate::schedule::Schedule;
use daemon::config::Span;
use serde::Deserialize;
use std::{
    fmt,
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// How long a dump may take when the file does not say.
const COMMAND_LIMIT: Duration = Duration::from_secs(3600);
/// How long a source's check may take when the file does not say.
const CHECK_LIMIT: Duration = Duration::from_secs(600);
/// Where Docker listens on every common distribution.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// One `[[backup]]` of agent.toml.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct SourceConfig {
    /// Its name.
    pub name: String,
    /// Where its copies go; the only fitting repository when empty.
    pub repositories: Vec<String>,
    /// Whether it holds secrets: they go to a repository with a key of its own.
    pub secret: bool,
    /// What is read.
    pub kind: Kind,
    /// The program that says whether a restored copy is good (level 3).
    pub check: Vec<String>,
    /// How long that may take.
    pub check_timeout: Duration,
    /// How long copies are kept; the repository's rule when absent.
    pub keep: Option<Keep>,
    /// The Engine's socket.
    pub socket: PathBuf,
    /// When the agent copies and proves it, and how much may be lost.
    pub when: When,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Files of this host.
    Paths(PathsSource),
    /// A Docker volume.
    Volume(VolumeSource),
    /// Files in a container, copied out of it.
    Container(FilesSource),
    /// What a program writes to stdout.
    Command(CommandSource),
}

impl Kind {
    /// The word in agent.toml.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Paths(_) => "paths",
            Self::Volume(_) => "volume",
            Self::Container(_) => "container",
            Self::Command(_) => "command",
        }
    }
}

/// Files of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathsSource {
    /// What the names are relative to, and where a restore puts them.
    pub root: PathBuf,
    /// Names below the root; all of it when empty.
    pub paths: Vec<PathBuf>,
    /// Names below the root that are left out, with what is in them.
    pub exclude: Vec<PathBuf>,
}

/// A Docker volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSource {
    /// Which.
    pub volume: VolumeName,
    /// What happens to the containers that use it while it is read.
    pub quiesce: Quiesce,
}

/// How a volume is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeName {
    /// By its own name.
    Name(String),
    /// By the labels that compose gives it.
    Compose(ComposeVolume),
}

/// A volume of a compose project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposeVolume {
    /// The label `com.docker.compose.project`.
    pub project: String,
    /// The label `com.docker.compose.volume`.
    pub volume: String,
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "volume `{name}`"),
            Self::Compose(ComposeVolume { project, volume }) => {
                write!(f, "volume `{volume}` of compose project `{project}`")
            }
        }
    }
}

/// What happens to the containers that use a volume while it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quiesce {
    /// Nothing.
    #[default]
    None,
    /// They are frozen; their health checks fail meanwhile.
    Pause,
    /// They are stopped, newest first, and started again, oldest first.
    Stop,
}

/// How a container is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerName {
    /// By its own name.
    Name(String),
    /// By compose project and service.
    Compose(String, String),
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "container `{name}`"),
            Self::Compose(project, service) => {
                write!(f, "compose service `{service}` of project `{project}`")
            }
        }
    }
}

/// Files in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesSource {
    /// Which container.
    pub container: ContainerName,
    /// The file or directory in it.
    pub path: PathBuf,
}

/// What a program writes to stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSource {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where it runs; on the host when absent.
    pub container: Option<ContainerName>,
    /// The name of the file that holds its output.
    pub file: String,
    /// When it counts as hung.
    pub timeout: Duration,
    /// Whether words on stderr are no failure.
    pub stderr_ok: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    kind: Word,
    repository: Option<OneOrMore>,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    check: Vec<String>,
    check_timeout: Option<Span>,
    keep: Option<Keep>,
    socket: Option<PathBuf>,
    root: Option<PathBuf>,
    paths: Option<Vec<PathBuf>>,
    exclude: Option<Vec<PathBuf>>,
    volume: Option<String>,
    compose: Option<Compose>,
    quiesce: Option<Quiesce>,
    container: Option<String>,
    path: Option<PathBuf>,
    command: Option<Vec<String>>,
    file: Option<String>,
    timeout: Option<Span>,
    stderr_ok: Option<bool>,
    schedule: Option<Schedule>,
    #[serde(default)]
    verify: Vec<VerifyTurn>,
    on_change: Option<bool>,
    rpo_target: Option<Span>,
    rpo_max: Option<Span>,
    group: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Paths,
    Volume,
    Container,
    Command,
}

impl Word {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Paths => "paths",
            Self::Volume => "volume",
            Self::Container => "container",
            Self::Command => "command",
        }
    }

    /// Fields that this kind has, of those that not every kind has.
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Paths => &["root", "paths", "exclude"],
            Self::Volume => &["volume", "compose", "quiesce"],
            Self::Container => &["container", "compose", "path"],
            Self::Command => &["command", "container", "compose", "file", "timeout", "stderr_ok"],
        }
    }
}

impl TryFrom<Raw> for SourceConfig {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        name(&raw.name)?;
        foreign(&raw)?;
        let program = |field: &str, words: &[String]| match words.first() {
            Some(first) if !Path::new(first).is_absolute() => {
                Err(format!("{field}: `{first}` is not an absolute path; there is no shell here"))
            }
            Some(_) | None => Ok(()),
        };
        program("check", &raw.check)?;
        let check_timeout = limit("check_timeout", raw.check_timeout, CHECK_LIMIT)?;
        let kind = match raw.kind {
            Word::Paths => Kind::Paths(paths(raw.root, raw.paths, raw.exclude)?),
            Word::Volume => Kind::Volume(volume(raw.volume, raw.compose, raw.quiesce)?),
            Word::Container => {
                let container = container(raw.container, raw.compose)?
                    .ok_or("container: missing; write container = \"NAME\" or compose = { project, service }")?;
                let path = raw
                    .path
                    .ok_or("path: missing; write the file or directory in the container")?;
                absolute("path", &path)?;
                Kind::Container(FilesSource { container, path })
            }
            Word::Command => {
                let command = raw.command.filter(|words| !words.is_empty());
                let command = command
                    .ok_or("command: missing; write command = [\"/path/of/program\", ...]")?;
                let container = container(raw.container, raw.compose)?;
                if container.is_none() {
                    program("command", &command)?;
                }
                let file = raw.file.unwrap_or_else(|| "stdout".into());
                if file.is_empty() || file.contains('/') || file == "." || file == ".." {
                    return Err(format!(
                        "file: `{file}` is not the name of a file; write for example \"dump.sql\""
                    ));
                }
                let timeout = limit("timeout", raw.timeout, COMMAND_LIMIT)?;
                let stderr_ok = raw.stderr_ok.unwrap_or(false);
                Kind::Command(CommandSource { command, container, file, timeout, stderr_ok })
            }
        };
        let when = Fields {
            schedule: raw.schedule,
            verify: raw.verify,
            on_change: raw.on_change,
            rpo_target: raw.rpo_target,
            rpo_max: raw.rpo_max,
            group: raw.group,
        };
        let when = when.read(matches!(kind, Kind::Paths(_)), !raw.check.is_empty())?;
        Ok(Self {
            when,
            name: raw.name,
            repositories: raw.repository.map_or(Ok(Vec::new()), OneOrMore::names)?,
            secret: raw.secret,
            kind,
            check: raw.check,
            check_timeout,
            keep: raw.keep.map(|keep| keep.checked("keep")).transpose()?,
            socket: raw.socket.unwrap_or_else(|| DOCKER_SOCKET.into()),
        })
    }
}

/// A field of another kind means that something else was meant.
fn foreign(raw: &Raw) -> Result<(), String> {
    let given = [
        ("root", raw.root.is_some()),
        ("paths", raw.paths.is_some()),
        ("exclude", raw.exclude.is_some()),
        ("volume", raw.volume.is_some()),
        ("compose", raw.compose.is_some()),
        ("quiesce", raw.quiesce.is_some()),
        ("container", raw.container.is_some()),
        ("path", raw.path.is_some()),
        ("command", raw.command.is_some()),
        ("file", raw.file.is_some()),
        ("timeout", raw.timeout.is_some()),
        ("stderr_ok", raw.stderr_ok.is_some()),
    ];
    for (field, is_given) in given {
        if is_given && !raw.kind.fields().contains(&field) {
            let (kind, fields) = (raw.kind.as_str(), raw.kind.fields().join(", "));
            return Err(format!(
                "{field}: a source of kind \"{kind}\" has no such field; it has: {fields}"
            ));
        }
    }
    Ok(())
}

fn paths(
    root: Option<PathBuf>,
    paths: Option<Vec<PathBuf>>,
    exclude: Option<Vec<PathBuf>>,
) -> Result<PathsSource, String> {
    let root = root.ok_or("root: missing; write the directory that the names are relative to")?;
    absolute("root", &root)?;
    if root.parent().is_none() {
        return Err("root: the whole machine is not a source; name a directory below `/`".into());
    }
    let (paths, exclude) = (paths.unwrap_or_default(), exclude.unwrap_or_default());
    for (field, names) in [("paths", &paths), ("exclude", &exclude)] {
        for name in names {
            let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
            if !plain || name.as_os_str().is_empty() {
                let (given, root) = (name.display(), root.display());
                return Err(format!(
                    "{field}: `{given}` is not a name below `{root}`; write it relative to it, without `..`"
                ));
            }
        }
    }
    Ok(PathsSource { root, paths, exclude })
}
