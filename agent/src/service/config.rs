//! A service in agent.toml, checked: after this module every field means something.
//!
//! Leaves to `crate`'s configuration what concerns several services (a name used twice).

use crate::gate::ServiceGate;
use daemon::config::Span;
use model::{GroupId, ServiceName, StandbyMode};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a stop may take when the file does not say: a kill takes
/// milliseconds; the rest is for a busy host.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds of `stop_timeout`: below, a busy host could never confirm a stop;
/// above, the longest lease (60 s) is already exceeded.
const STOP_TIMEOUT_RANGE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(60));

/// Where Docker listens on every common distribution.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// One `[[service]]` of agent.toml.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct ServiceConfig {
    /// Its name, as the group's file names it.
    pub name: ServiceName,
    /// The group that protects it.
    pub group: GroupId,
    /// Whether it may act on one site only (the default).
    pub exclusive: bool,
    /// How long a stop may take until it is reported as not confirmed.
    pub stop_timeout: Duration,
    /// How it waits on a standby. Gated needs the kernel gate: where there is
    /// none it waits stopped.
    pub standby: StandbyMode,
    /// How the gate finds its traffic, beyond what the driver tells.
    pub gate: ServiceGate,
    /// How it is started and stopped.
    pub driver: DriverConfig,
}

/// How a service is started and stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverConfig {
    /// As a process of this host under a holder.
    Process(ProcessConfig),
    /// As a container of this host.
    Docker(DockerConfig),
}

impl DriverConfig {
    /// The word in agent.toml.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::Docker(_) => "docker",
        }
    }
}

/// A service that is a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// The program's absolute path and its arguments.
    pub command: Vec<String>,
    /// Added to the agent's own environment.
    pub env: BTreeMap<String, String>,
    /// Where it runs; the agent's own directory when absent.
    pub working_dir: Option<PathBuf>,
}

/// A service that is a container, or several of one compose service. If it is
/// exclusive, its group's lease must be at least 2 s, so that the agent can
/// kill it in time without a Docker that hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// Which containers.
    pub target: Target,
    /// The Engine's socket.
    pub socket: PathBuf,
}

/// Which containers a service is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one of this name.
    Container(String),
    /// Those of one service of a compose project, found by its labels.
    Compose(Compose),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "container `{name}`"),
            Self::Compose(Compose { project, service }) => {
                write!(f, "compose service `{service}` of project `{project}`")
            }
        }
    }
}

/// A service of a compose project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    /// The label `com.docker.compose.project`.
    pub project: String,
    /// The label `com.docker.compose.service`.
    pub service: String,
}

/// Why a `[[service]]` makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceConfigError {
    /// A field of another driver.
    #[error(
        "service `{service}`: `{field}` belongs to driver = \"{owner}\", and this service's \
         driver is \"{driver}\"; remove the field or change the driver"
    )]
    ForeignField {
        /// The service.
        service: ServiceName,
        /// The field.
        field: &'static str,
        /// The driver that has it.
        owner: &'static str,
        /// The driver that the service has.
        driver: &'static str,
    },
    /// The process driver has nothing to run.
    #[error(
        "service `{service}`: driver = \"process\" needs command = [\"/absolute/program\", ...]"
    )]
    NoCommand {
        /// The service.
        service: ServiceName,
    },
    /// A path that depends on where the agent was started.
    #[error("service `{service}`: {field} `{given}` is not an absolute path")]
    Relative {
        /// The service.
        service: ServiceName,
        /// The field.
        field: &'static str,
        /// The path as given.
        given: String,
    },
    /// A text that no program can be given.
    #[error("service `{service}`: {field} {given:?} holds a character that is not allowed there")]
    Text {
        /// The service.
        service: ServiceName,
        /// The field.
        field: &'static str,
        /// The text as given.
        given: String,
    },
    /// Not exactly one of the two ways to name containers.
    #[error(
        "service `{service}`: driver = \"docker\" needs either container = \"NAME\" \
         or compose = {{ project = \"P\", service = \"S\" }}"
    )]
    Target {
        /// The service.
        service: ServiceName,
    },
    /// A name that Docker does not allow.
    #[error(
        "service `{service}`: `{given}` is not a name of Docker's: use letters, digits, '_', '.' \
         and '-', beginning with a letter or digit, at most 255 bytes"
    )]
    DockerName {
        /// The service.
        service: ServiceName,
        /// The name as given.
        given: String,
    },
    /// A shared service is not held back by a gate.
    #[error(
        "service `{service}`: standby = \"gated\" is for exclusive services; a shared one runs \
         on every site anyway"
    )]
    GatedShared {
        /// The service.
        service: ServiceName,
    },
    /// Out of bounds.
    #[error("service `{service}`: stop_timeout = \"{given}\" is not between 100ms and 60s")]
    StopTimeout {
        /// The service.
        service: ServiceName,
        /// The length as given.
        given: Span,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DriverWord {
    Process,
    Docker,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: ServiceName,
    group: GroupId,
    #[serde(default = "yes")]
    exclusive: bool,
    driver: DriverWord,
    stop_timeout: Option<Span>,
    #[serde(default)]
    standby: StandbyMode,
    #[serde(default)]
    gate: ServiceGate,
    command: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
    working_dir: Option<PathBuf>,
    container: Option<String>,
    compose: Option<Compose>,
    socket: Option<PathBuf>,
}

const fn yes() -> bool {
    true
}

impl TryFrom<Raw> for ServiceConfig {
    type Error = ServiceConfigError;
    fn try_from(raw: Raw) -> Result<Self, ServiceConfigError> {
        let given = raw.stop_timeout.unwrap_or(Span(STOP_TIMEOUT));
        let stop_timeout = given.duration();
        if stop_timeout < STOP_TIMEOUT_RANGE.0 || stop_timeout > STOP_TIMEOUT_RANGE.1 {
            return Err(ServiceConfigError::StopTimeout { service: raw.name, given });
        }
        if raw.standby == StandbyMode::Gated && !raw.exclusive {
            return Err(ServiceConfigError::GatedShared { service: raw.name });
        }
        let driver = match raw.driver {
            DriverWord::Process => DriverConfig::Process(raw.process()?),
            DriverWord::Docker => DriverConfig::Docker(raw.docker()?),
        };
        let Raw { name, group, exclusive, standby, gate, .. } = raw;
        Ok(Self { name, group, exclusive, stop_timeout, standby, gate, driver })
    }
}

impl Raw {
    fn none_of(
        &self,
        fields: &[(&'static str, bool)],
        owner: &'static str,
        driver: &'static str,
    ) -> Result<(), ServiceConfigError> {
        match fields.iter().find(|(_, given)| *given) {
            Some((field, _)) => Err(ServiceConfigError::ForeignField {
                service: self.name.clone(),
                field,
                owner,
                driver,
            }),
            None => Ok(()),
        }
    }

    fn process(&self) -> Result<ProcessConfig, ServiceConfigError> {
        let foreign = [
            ("container", self.container.is_some()),
            ("compose", self.compose.is_some()),
            ("socket", self.socket.is_some()),
        ];
        self.none_of(&foreign, "docker", "process")?;
        let command = self.command.clone().unwrap_or_default();
        let Some(program) = command.first() else {
            return Err(ServiceConfigError::NoCommand { service: self.name.clone() });
        };
        self.absolute("the command's program", Path::new(program))?;
        if let Some(dir) = &self.working_dir {
            self.absolute("working_dir", dir)?;
        }
        let text = |field, given: &str, allowed: bool| {
            let error = || ServiceConfigError::Text {
                service: self.name.clone(),
                field,
                given: given.into(),
            };
            if allowed { Ok(()) } else { Err(error()) }
        };
        for word in &command {
            text("the command's word", word, !word.contains('\0'))?;
        }
        let env = self.env.clone().unwrap_or_default();
        for (key, value) in &env {
            text("env's name", key, !key.is_empty() && !key.contains(['\0', '=']))?;
            text("env's value", value, !value.contains('\0'))?;
        }
        Ok(ProcessConfig { command, env, working_dir: self.working_dir.clone() })
    }

    fn docker(&self) -> Result<DockerConfig, ServiceConfigError> {
        let foreign = [
            ("command", self.command.is_some()),
            ("env", self.env.is_some()),
            ("working_dir", self.working_dir.is_some()),
        ];
        self.none_of(&foreign, "process", "docker")?;
        let target = match (self.container.clone(), self.compose.clone()) {
            (Some(name), None) => Target::Container(name),
            (None, Some(compose)) => Target::Compose(compose),
            (Some(_), Some(_)) | (None, None) => {
                return Err(ServiceConfigError::Target { service: self.name.clone() });
            }
        };
        let names = match &target {
            Target::Container(name) => vec![name],
            Target::Compose(Compose { project, service }) => vec![project, service],
        };
        if let Some(given) = names.into_iter().find(|name| !is_docker_name(name)) {
            let given = given.clone();
            return Err(ServiceConfigError::DockerName { service: self.name.clone(), given });
        }
        let socket = self.socket.clone().unwrap_or_else(|| DOCKER_SOCKET.into());
        self.absolute("socket", &socket)?;
        Ok(DockerConfig { target, socket })
    }

    fn absolute(&self, field: &'static str, path: &Path) -> Result<(), ServiceConfigError> {
        if path.is_absolute() {
            return Ok(());
        }
        let given = path.display().to_string();
        Err(ServiceConfigError::Relative { service: self.name.clone(), field, given })
    }
}

/// Docker's own rule; also keeps a name from changing the request's path.
fn is_docker_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    name.len() <= 255
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServiceConfig, String> {
        let text = format!("name = \"s\"\ngroup = \"g\"\n{text}");
        toml::from_str(&text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn both_drivers_are_read() {
        let process = read(
            "driver = \"process\"\ncommand = [\"/bin/x\", \"-v\"]\nenv = { A = \"1\" }\n\
             stop_timeout = \"2s\"\nworking_dir = \"/tmp\"\nexclusive = false",
        )
        .unwrap();
        assert!(!process.exclusive && process.stop_timeout == Duration::from_secs(2));
        let DriverConfig::Process(process) = process.driver else { panic!("not a process") };
        assert_eq!((process.command.len(), process.env["A"].as_str()), (2, "1"));

        let docker = read("driver = \"docker\"\ncontainer = \"mt4\"").unwrap();
        assert!(docker.exclusive && docker.stop_timeout == STOP_TIMEOUT);
        let DriverConfig::Docker(docker) = docker.driver else { panic!("not a container") };
        assert_eq!(docker.target, Target::Container("mt4".into()));
        assert_eq!(docker.socket, Path::new(DOCKER_SOCKET));

        let compose = read(
            "driver = \"docker\"\ncompose = { project = \"mt4\", service = \"terminal\" }\n\
             socket = \"/run/user/1000/docker.sock\"",
        );
        assert!(compose.is_ok(), "{compose:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        let docker = "driver = \"docker\"\n";
        let process = "driver = \"process\"\n";
        for (text, words) in [
            (format!("{process}command = [\"/x\"]\ncontainer = \"c\""), "`container` belongs to"),
            (format!("{docker}container = \"c\"\ncommand = [\"/x\"]"), "`command` belongs to"),
            (process.into(), "needs command"),
            (format!("{process}command = []"), "needs command"),
            (format!("{process}command = [\"x\"]"), "not an absolute path"),
            (format!("{process}command = [\"/x\"]\nenv = {{ \"A=B\" = \"1\" }}"), "not allowed"),
            (format!("{process}command = [\"/x\", \"a\\u0000\"]"), "not allowed"),
            (docker.into(), "either container"),
            (
                format!(
                    "{docker}container = \"c\"\ncompose = {{ project = \"p\", service = \"s\" }}"
                ),
                "either container",
            ),
            (format!("{docker}container = \"../c?x=1\""), "not a name of Docker's"),
            (
                format!("{docker}container = \"c\"\nstop_timeout = \"2min\""),
                "between 100ms and 60s",
            ),
            (format!("{docker}container = \"c\"\nsocket = \"docker.sock\""), "not an absolute"),
            (
                format!("{docker}container = \"c\"\nexclusive = false\nstandby = \"gated\""),
                "is for exclusive services",
            ),
            (format!("{docker}container = \"c\"\nuser = \"x\""), "unknown field `user`"),
            ("driver = \"systemd\"".into(), "unknown variant `systemd`"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(words), "{error:?} does not say {words:?}");
        }
    }
}
