//! Where a `[[repository]]` is: a directory, another host's agent, an S3 bucket,
//! whatever rclone reaches, or a server of restic's REST protocol.

use serde::Deserialize;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A directory of this host.
    Directory(PathBuf),
    /// Kept by another host's agent, which prunes it.
    Agent(AgentTarget),
    /// In a bucket.
    S3(S3Target),
    /// Behind the rclone program.
    Rclone(RcloneTarget),
    /// Behind a server of restic's REST protocol.
    Rest(RestTarget),
}

/// Another host's agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentTarget {
    /// The name in that agent's certificate.
    pub host: String,
    /// Where it answers, "host:port": its `[peer] advertise`.
    pub address: String,
    /// Whose copies: this host's own when absent. Others' can only be read.
    pub of: Option<String>,
    /// The repository's name over there; the same as here when absent.
    pub repository: Option<String>,
}

/// A bucket of an S3 service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Target {
    /// The service's address; the bucket's name follows in the path.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Where in the bucket; its top when absent.
    #[serde(default)]
    pub prefix: String,
    /// The service's region.
    #[serde(default = "region")]
    pub region: String,
    /// A TOML file, closed to others, with `access_key_id` and
    /// `secret_access_key`; the environment's `AWS_...` when absent.
    pub credentials_file: Option<PathBuf>,
    /// The authority of its certificate, PEM; the system's when absent.
    pub ca_file: Option<PathBuf>,
}

/// What most services accept that have no regions.
fn region() -> String {
    "us-east-1".into()
}

/// Something that rclone reaches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RcloneTarget {
    /// `REMOTE:PATH`, or a whole connection string (`:sftp,host=...:PATH`).
    pub remote: String,
    /// rclone's own configuration file.
    pub config: Option<PathBuf>,
    /// The program.
    #[serde(default = "rclone")]
    pub program: PathBuf,
}

fn rclone() -> PathBuf {
    "/usr/bin/rclone".into()
}

/// A server of restic's REST protocol.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestTarget {
    /// `http://...` or `https://...`, with the repository's path.
    pub url: String,
    /// As whom.
    pub user: Option<String>,
    /// A file, closed to others, with that user's password.
    pub user_password_file: Option<PathBuf>,
    /// The authority of its certificate, PEM; the system's when absent.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Agent(of) => write!(f, "agent {} at {}", of.host, of.address),
            Self::S3(of) => write!(f, "s3 {}/{}/{}", of.endpoint, of.bucket, of.prefix),
            // A connection string may hold a password.
            Self::Rclone(of) if of.remote.starts_with(':') => {
                let kind = of.remote[1..].split([',', ':']).next().unwrap_or_default();
                write!(f, "rclone :{kind}")
            }
            Self::Rclone(of) => write!(f, "rclone {}", of.remote),
            Self::Rest(of) => write!(f, "rest {}", of.url),
        }
    }
}

/// The places that a table may name; exactly one must be given.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) path: Option<PathBuf>,
    pub(super) agent: Option<AgentTarget>,
    pub(super) s3: Option<S3Target>,
    pub(super) rclone: Option<RcloneTarget>,
    pub(super) rest: Option<RestTarget>,
}

impl Given {
    pub(super) fn one(self) -> Result<Target, String> {
        let mut all = Vec::new();
        all.extend(self.path.map(Target::Directory));
        all.extend(self.agent.map(Target::Agent));
        all.extend(self.s3.map(Target::S3));
        all.extend(self.rclone.map(Target::Rclone));
        all.extend(self.rest.map(Target::Rest));
        let fields = "path, agent, s3, rclone, rest";
        match (all.pop(), all.is_empty()) {
            (Some(target), true) => target.checked(),
            (Some(_), false) => Err(format!("a repository is in one place; keep one of: {fields}")),
            (None, _) => Err(format!("path: missing; write where it is, one of: {fields}")),
        }
    }
}

fn absolute(field: &str, path: Option<&Path>) -> Result<(), String> {
    match path {
        Some(path) if !path.is_absolute() => {
            Err(format!("{field}: `{}` is not an absolute path", path.display()))
        }
        Some(_) | None => Ok(()),
    }
}

fn web(field: &str, url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match rest {
        None | Some("") => {
            Err(format!("{field}: `{url}` is no address; write for example \"https://host:9000\""))
        }
        Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('@')) => {
            Err(format!("{field}: it holds a password; write user and user_password_file instead"))
        }
        Some(_) => Ok(()),
    }
}

impl Target {
    fn checked(self) -> Result<Self, String> {
        match &self {
            Self::Directory(path) if !path.is_absolute() => Err(format!(
                "path: `{}` is not absolute; write for example \"/var/backups/understudy\"",
                path.display()
            ))?,
            Self::Directory(_) => {}
            Self::Agent(of) => {
                let port = of.address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
                if !matches!(port, Some(Ok(1..))) {
                    return Err(format!(
                        "agent.address: `{}` is not of the form host:port; write that agent's \
                         [peer] advertise",
                        of.address
                    ));
                }
                for (field, name) in [("host", Some(&of.host)), ("of", of.of.as_ref())] {
                    if let Some(name) = name {
                        model::HostId::new(name.as_str())
                            .map_err(|error| format!("agent.{field}: {error}"))?;
                    }
                }
                if let Some(name) = &of.repository {
                    super::field::name(name)
                        .map_err(|error| format!("agent.repository: {error}"))?;
                }
            }
            Self::S3(of) => {
                web("s3.endpoint", &of.endpoint)?;
                absolute("s3.credentials_file", of.credentials_file.as_deref())?;
                absolute("s3.ca_file", of.ca_file.as_deref())?;
                if of.bucket.is_empty() || of.bucket.contains('/') {
                    return Err(format!("s3.bucket: `{}` is no bucket's name", of.bucket));
                }
            }
            Self::Rclone(of) => {
                absolute("rclone.config", of.config.as_deref())?;
                absolute("rclone.program", Some(&of.program))?;
                if !of.remote.contains(':') || of.remote.starts_with('-') {
                    return Err(format!(
                        "rclone.remote: `{}` is not of the form REMOTE:PATH",
                        of.remote
                    ));
                }
            }
            Self::Rest(of) => {
                web("rest.url", &of.url)?;
                absolute("rest.user_password_file", of.user_password_file.as_deref())?;
                absolute("rest.ca_file", of.ca_file.as_deref())?;
                if of.user.is_some() != of.user_password_file.is_some() {
                    return Err("rest.user: write both user and user_password_file".into());
                }
            }
        }
        Ok(self)
    }
}
