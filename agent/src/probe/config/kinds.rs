//! What each kind of probe is told.

use model::{Millis, ServiceName, Verdict};
use serde::Deserialize;
use std::{fmt, path::PathBuf, time::Duration};

/// What a probe looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum KindConfig {
    /// The container of a service whose driver is docker.
    Container {
        /// The service.
        service: ServiceName,
    },
    /// A file system.
    Disk(DiskConfig),
    /// This host.
    Host(HostConfig),
    /// A ZeroMQ feed.
    Zeromq(ZeromqConfig),
    /// How far the data lags behind.
    Watermark(WatermarkConfig),
    /// An address that answers.
    Tcp(TcpConfig),
}

/// An address to which a TCP connection is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpConfig {
    /// `HOST:PORT`.
    pub address: String,
}

/// A command of the operator's that says how far the data lags behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkConfig {
    /// The program's absolute path and its arguments.
    pub command: Vec<String>,
    /// A lag that is worth a look; `None` for never.
    pub warn_lag: Option<Millis>,
    /// A lag that is failure; `None` for never.
    pub critical_lag: Option<Millis>,
}

/// From where on a number is worth a look, and from where on it is failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    /// Worth a look; `None` for never.
    pub warn: Option<f64>,
    /// Failure; `None` for never.
    pub critical: Option<f64>,
}

impl Levels {
    /// For a number of which little is bad.
    #[must_use]
    pub fn of_scarce(self, left: f64) -> Verdict {
        if self.critical.is_some_and(|level| left <= level) {
            Verdict::Critical
        } else if self.warn.is_some_and(|level| left <= level) {
            Verdict::Warn
        } else {
            Verdict::Ok
        }
    }

    /// For a number of which much is bad.
    #[must_use]
    pub fn of_load(self, load: f64) -> Verdict {
        if self.critical.is_some_and(|level| load >= level) {
            Verdict::Critical
        } else if self.warn.is_some_and(|level| load >= level) {
            Verdict::Warn
        } else {
            Verdict::Ok
        }
    }
}

/// A file system, by a path on it.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskConfig {
    /// Any path on it.
    pub path: PathBuf,
    /// Percent of the space that is free for ordinary users.
    pub free: Levels,
    /// Percent of the inodes that are free; means nothing where the file system counts none.
    pub free_inodes: Levels,
}

/// This host's own levels.
#[derive(Debug, Clone, PartialEq)]
pub struct HostConfig {
    /// Percent of the memory that programs may still get without swapping.
    pub available_memory: Levels,
    /// The one-minute load average divided by the number of cores.
    pub load_per_core: Levels,
    /// Percent of all cores busy since the previous finding.
    pub cpu: Levels,
}

/// A feed that a publisher binds.
#[derive(Debug, Clone, PartialEq)]
pub struct ZeromqConfig {
    /// Where the publisher listens.
    pub endpoint: Endpoint,
    /// Prefixes of the first frame; an empty one takes everything.
    pub topics: Vec<String>,
    /// How often a message is expected.
    pub every: Duration,
    /// Age of the newest message at which the feed has failed.
    pub stale_after: Duration,
    /// Keys, when the publisher wants CURVE.
    pub curve: Option<CurveConfig>,
}

/// Where a publisher listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `tcp://HOST:PORT`.
    Tcp {
        /// A name or an address; an IPv6 address in brackets.
        host: String,
        /// From 1.
        port: u16,
    },
    /// `ipc:///PATH`.
    Ipc(PathBuf),
}

impl fmt::Display for Endpoint {
    /// As libzmq takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
        }
    }
}

/// Files with one key each, 40 characters of Z85.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurveConfig {
    /// The publisher's public key.
    pub server_key_file: PathBuf,
    /// The probe's own public key.
    pub public_key_file: PathBuf,
    /// The probe's own secret key.
    pub secret_key_file: PathBuf,
}
