//! The fields of a `[[probe]]` as written, and the checks that make them a
//! [`ProbeConfig`].

use super::{
    CurveConfig, DiskConfig, Endpoint, HostConfig, KindConfig, Levels, ProbeConfig,
    ProbeConfigError, TcpConfig, WatermarkConfig, ZeromqConfig,
};
use crate::verdict::UnknownMeans;
use daemon::config::Span;
use model::{GroupId, ProbeKind, ProbeName, ServiceName};
use serde::Deserialize;
use std::{path::PathBuf, time::Duration};

/// Bounds of `interval`: below, the agent would be busy with itself; above,
/// nobody would call it monitoring.
const INTERVAL: (Span, Span) = (Span::from_millis(100), Span::from_secs(3600));

/// Bounds of `timeout`.
const TIMEOUT: (Span, Span) = (Span::from_millis(50), Span::from_secs(60));

/// Bounds of `every` and `stale_after`: bars of four hours are real feeds.
const CADENCE: (Span, Span) = (Span::from_millis(10), Span::from_secs(7 * 86_400));

/// Most topics of one feed: more than any broker's symbols in one terminal's watch list.
const TOPICS_MAX: usize = 1024;

/// Longest topic, in bytes.
const TOPIC_MAX: usize = 255;

/// Longest path of a UNIX socket, in bytes: one less than `sun_path` holds.
const SOCKET_PATH_MAX: usize = 107;

/// Everything that may stand in a `[[probe]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    name: ProbeName,
    kind: ProbeKind,
    group: Option<GroupId>,
    interval: Option<Span>,
    timeout: Option<Span>,
    rise: Option<u32>,
    fall: Option<u32>,
    #[serde(default)]
    unknown_means: UnknownMeans,
    service: Option<ServiceName>,
    path: Option<PathBuf>,
    warn_free_percent: Option<f64>,
    critical_free_percent: Option<f64>,
    warn_free_inodes_percent: Option<f64>,
    critical_free_inodes_percent: Option<f64>,
    warn_available_memory_percent: Option<f64>,
    critical_available_memory_percent: Option<f64>,
    warn_load_per_core: Option<f64>,
    critical_load_per_core: Option<f64>,
    warn_cpu_percent: Option<f64>,
    critical_cpu_percent: Option<f64>,
    endpoint: Option<String>,
    socket: Option<String>,
    topics: Option<Vec<String>>,
    every: Option<Span>,
    stale_after: Option<Span>,
    curve: Option<CurveConfig>,
    command: Option<Vec<String>>,
    warn_lag: Option<Span>,
    critical_lag: Option<Span>,
    address: Option<String>,
}

/// Bounds of the levels of a lag: a copy that is a week behind is none.
const LAG: (Span, Span) = (Span::from_millis(1), Span::from_secs(7 * 86_400));

/// What a kind does when the file does not say: interval, timeout, rise, fall.
const fn defaults(kind: ProbeKind) -> (Span, Span, u32, u32) {
    match kind {
        // Events come between the looks; a state needs no second opinion.
        ProbeKind::Container => (Span::from_secs(1), Span::from_secs(10), 1, 1),
        ProbeKind::Disk => (Span::from_secs(10), Span::from_secs(5), 1, 1),
        // A busy minute is no failure.
        ProbeKind::Host => (Span::from_secs(5), Span::from_secs(2), 2, 3),
        ProbeKind::Zeromq => (Span::from_millis(250), Span::from_secs(1), 1, 1),
        // A decision takes one that is a minute old at most.
        ProbeKind::Watermark => (Span::from_secs(5), Span::from_secs(5), 1, 1),
        // One that is lost on the way is no failure.
        ProbeKind::Tcp => (Span::from_secs(10), Span::from_secs(3), 1, 2),
        ProbeKind::Recovery => (Span::from_secs(10), Span::from_secs(2), 1, 1),
    }
}

impl TryFrom<Raw> for ProbeConfig {
    type Error = ProbeConfigError;
    fn try_from(raw: Raw) -> Result<Self, ProbeConfigError> {
        raw.refuse_foreign_fields()?;
        let (interval, timeout, rise, fall) = defaults(raw.kind);
        let interval = raw.length("interval", raw.interval.unwrap_or(interval), INTERVAL)?;
        let timeout = raw.length("timeout", raw.timeout.unwrap_or(timeout), TIMEOUT)?;
        let rise = raw.count("rise", raw.rise.unwrap_or(rise))?;
        let fall = raw.count("fall", raw.fall.unwrap_or(fall))?;
        let kind = match raw.kind {
            ProbeKind::Container => raw.container()?,
            ProbeKind::Disk => raw.disk()?,
            ProbeKind::Host => raw.host()?,
            ProbeKind::Zeromq => raw.zeromq()?,
            ProbeKind::Watermark => raw.watermark()?,
            ProbeKind::Tcp => raw.tcp()?,
            ProbeKind::Recovery => return Err(ProbeConfigError::Own { probe: raw.name }),
        };
        let Raw { name, group, unknown_means, .. } = raw;
        Ok(Self { name, group, interval, timeout, rise, fall, unknown_means, kind })
    }
}

impl Raw {
    fn refuse_foreign_fields(&self) -> Result<(), ProbeConfigError> {
        use ProbeKind::{Container, Disk, Host, Tcp, Watermark, Zeromq};
        let fields = [
            ("service", Container, self.service.is_some()),
            ("path", Disk, self.path.is_some()),
            ("warn_free_percent", Disk, self.warn_free_percent.is_some()),
            ("critical_free_percent", Disk, self.critical_free_percent.is_some()),
            ("warn_free_inodes_percent", Disk, self.warn_free_inodes_percent.is_some()),
            ("critical_free_inodes_percent", Disk, self.critical_free_inodes_percent.is_some()),
            ("warn_available_memory_percent", Host, self.warn_available_memory_percent.is_some()),
            (
                "critical_available_memory_percent",
                Host,
                self.critical_available_memory_percent.is_some(),
            ),
            ("warn_load_per_core", Host, self.warn_load_per_core.is_some()),
            ("critical_load_per_core", Host, self.critical_load_per_core.is_some()),
            ("warn_cpu_percent", Host, self.warn_cpu_percent.is_some()),
            ("critical_cpu_percent", Host, self.critical_cpu_percent.is_some()),
            ("endpoint", Zeromq, self.endpoint.is_some()),
            ("socket", Zeromq, self.socket.is_some()),
            ("topics", Zeromq, self.topics.is_some()),
            ("every", Zeromq, self.every.is_some()),
            ("stale_after", Zeromq, self.stale_after.is_some()),
            ("curve", Zeromq, self.curve.is_some()),
            ("command", Watermark, self.command.is_some()),
            ("warn_lag", Watermark, self.warn_lag.is_some()),
            ("critical_lag", Watermark, self.critical_lag.is_some()),
            ("address", Tcp, self.address.is_some()),
        ];
        match fields.into_iter().find(|(_, owner, given)| *given && *owner != self.kind) {
            Some((field, owner, _)) => {
                let (probe, kind) = (self.name.clone(), self.kind);
                Err(ProbeConfigError::ForeignField { probe, field, owner, kind })
            }
            None => Ok(()),
        }
    }

    fn missing(&self, field: &'static str) -> ProbeConfigError {
        ProbeConfigError::Missing { probe: self.name.clone(), kind: self.kind, field }
    }

    fn length(
        &self,
        field: &'static str,
        given: Span,
        (from, to): (Span, Span),
    ) -> Result<Duration, ProbeConfigError> {
        if (from..=to).contains(&given) {
            return Ok(given.duration());
        }
        Err(ProbeConfigError::Length { probe: self.name.clone(), field, given, from, to })
    }

    fn count(&self, field: &'static str, given: u32) -> Result<u32, ProbeConfigError> {
        if (1..=100).contains(&given) {
            return Ok(given);
        }
        Err(ProbeConfigError::Count { probe: self.name.clone(), field, given })
    }

    /// Two levels of a number that ends at `most`; `scarce` says that little of it is bad.
    fn levels(
        &self,
        field: &'static str,
        (warn, critical): (Option<f64>, Option<f64>),
        most: f64,
        scarce: bool,
    ) -> Result<Levels, ProbeConfigError> {
        let fault = |fault| ProbeConfigError::Levels { probe: self.name.clone(), field, fault };
        let within = |level: &f64| (0.0..=most).contains(level);
        if let Some(level) = [warn, critical].into_iter().flatten().find(|level| !within(level)) {
            return Err(fault(format!("{level} is not between 0 and {most}")));
        }
        if let (Some(warn), Some(critical)) = (warn, critical) {
            let (right, than) =
                if scarce { (warn >= critical, "below") } else { (warn <= critical, "above") };
            if !right {
                return Err(fault(format!(
                    "warn is at {warn} and critical at {critical}: warn would never be reached \
                     before critical; critical must be {than} warn"
                )));
            }
        }
        Ok(Levels { warn, critical })
    }

    fn container(&self) -> Result<KindConfig, ProbeConfigError> {
        let service = self.service.clone().ok_or_else(|| self.missing("service = \"NAME\""))?;
        Ok(KindConfig::Container { service })
    }

    fn disk(&self) -> Result<KindConfig, ProbeConfigError> {
        let path = self.path.clone().ok_or_else(|| self.missing("path = \"/\""))?;
        if !path.is_absolute() {
            let given = path.display().to_string();
            return Err(ProbeConfigError::Relative {
                probe: self.name.clone(),
                field: "path",
                given,
            });
        }
        // 15 and 5 percent: what the system itself keeps back is 5.
        let free =
            (self.warn_free_percent.or(Some(15.0)), self.critical_free_percent.or(Some(5.0)));
        let inodes = (
            self.warn_free_inodes_percent.or(Some(15.0)),
            self.critical_free_inodes_percent.or(Some(5.0)),
        );
        Ok(KindConfig::Disk(DiskConfig {
            path,
            free: self.levels("free_percent", free, 100.0, true)?,
            free_inodes: self.levels("free_inodes_percent", inodes, 100.0, true)?,
        }))
    }

    fn host(&self) -> Result<KindConfig, ProbeConfigError> {
        let memory = (
            self.warn_available_memory_percent.or(Some(10.0)),
            self.critical_available_memory_percent.or(Some(3.0)),
        );
        let load =
            (self.warn_load_per_core.or(Some(2.0)), self.critical_load_per_core.or(Some(8.0)));
        let cpu = (self.warn_cpu_percent, self.critical_cpu_percent);
        Ok(KindConfig::Host(HostConfig {
            available_memory: self.levels("available_memory_percent", memory, 100.0, true)?,
            load_per_core: self.levels("load_per_core", load, 10_000.0, false)?,
            cpu: self.levels("cpu_percent", cpu, 100.0, false)?,
        }))
    }

    fn zeromq(&self) -> Result<KindConfig, ProbeConfigError> {
        if self.group.is_none() {
            return Err(
                self.missing("group = \"NAME\": a feed is expected only where its group is active")
            );
        }
        self.only_sub()?;
        let given = self.endpoint.as_deref();
        let given = given.ok_or_else(|| self.missing("endpoint = \"tcp://HOST:PORT\""))?;
        let endpoint = endpoint(given).map_err(|fault| ProbeConfigError::Endpoint {
            probe: self.name.clone(),
            given: given.into(),
            fault,
        })?;
        let topics = self.topics.clone().unwrap_or_else(|| vec![String::new()]);
        let topics_fault = |fault| ProbeConfigError::Topics { probe: self.name.clone(), fault };
        if topics.is_empty() {
            return Err(topics_fault(
                "none would subscribe to nothing; leave it out for everything",
            ));
        }
        if topics.len() > TOPICS_MAX || topics.iter().any(|topic| topic.len() > TOPIC_MAX) {
            return Err(topics_fault("at most 1024 of at most 255 bytes each"));
        }
        let every = self.every.unwrap_or(Span::from_secs(1));
        // Two messages may be lost before the third decides.
        let stale = self.stale_after.unwrap_or(Span(every.duration().saturating_mul(3)));
        let every = self.length("every", every, CADENCE)?;
        let stale_after = self.length("stale_after", stale, (Span(every), CADENCE.1))?;
        let curve = self.curve.clone();
        Ok(KindConfig::Zeromq(ZeromqConfig { endpoint, topics, every, stale_after, curve }))
    }

    fn watermark(&self) -> Result<KindConfig, ProbeConfigError> {
        if self.group.is_none() {
            return Err(self.missing("group = \"NAME\": the group whose data it is"));
        }
        let command = self.command.clone().unwrap_or_default();
        let Some(program) = command.first() else {
            return Err(self.missing("command = [\"/absolute/program\", ...]"));
        };
        if !program.starts_with('/') {
            let (field, given) = ("the command's program", program.clone());
            return Err(ProbeConfigError::Relative { probe: self.name.clone(), field, given });
        }
        let level = |field, given: Option<Span>| match given {
            Some(given) => {
                self.length(field, given, LAG).map(|lag| Some(crate::probe::millis(lag)))
            }
            None => Ok(None),
        };
        let warn_lag = level("warn_lag", self.warn_lag)?;
        let critical_lag = level("critical_lag", self.critical_lag)?;
        if let (Some(warn), Some(critical)) = (warn_lag, critical_lag)
            && warn > critical
        {
            let fault = format!("warn_lag is {warn} and critical_lag {critical}: swap them");
            let probe = self.name.clone();
            return Err(ProbeConfigError::Levels { probe, field: "warn_lag", fault });
        }
        Ok(KindConfig::Watermark(WatermarkConfig { command, warn_lag, critical_lag }))
    }

    fn tcp(&self) -> Result<KindConfig, ProbeConfigError> {
        let given = self.address.clone().unwrap_or_default();
        let whole = format!("tcp://{given}");
        if given.is_empty() {
            return Err(self.missing("address = \"HOST:PORT\""));
        }
        endpoint(&whole).map_err(|fault| ProbeConfigError::Address {
            probe: self.name.clone(),
            given: given.clone(),
            fault,
        })?;
        Ok(KindConfig::Tcp(TcpConfig { address: given }))
    }

    /// A probe only listens (rule 4 of feeds): every other socket type takes part.
    fn only_sub(&self) -> Result<(), ProbeConfigError> {
        let given = self.socket.clone().unwrap_or_else(|| "sub".into());
        let reason = match given.as_str() {
            "sub" => return Ok(()),
            "pull" => {
                "a PUSH socket shares its messages out among its PULL sockets, so a PULL probe \
                 steals ticks and trade confirmations from the program that needs them; watch \
                 the bridge's PUB socket instead (socket = \"sub\")"
            }
            "req" | "dealer" => {
                "a REQ or DEALER probe would send requests to a trading program and take its \
                 answers; watch its PUB socket instead (socket = \"sub\")"
            }
            "rep" | "router" | "push" | "pub" | "xpub" => {
                "a probe only listens; name the publisher's PUB socket and use socket = \"sub\""
            }
            _ => "the only socket type of a probe is \"sub\"",
        };
        Err(ProbeConfigError::Socket { probe: self.name.clone(), given, reason })
    }
}

/// Only what libzmq can connect to, and nothing that it reads differently.
fn endpoint(given: &str) -> Result<Endpoint, &'static str> {
    if given.contains(|c: char| c.is_whitespace() || c.is_control() || c == ';') {
        return Err("holds a character that is not allowed there");
    }
    if let Some(path) = given.strip_prefix("ipc://") {
        if !path.starts_with('/') {
            return Err("is not an absolute path");
        }
        if path.len() > SOCKET_PATH_MAX {
            return Err("is longer than the 107 bytes that a socket's path may have");
        }
        return Ok(Endpoint::Ipc(path.into()));
    }
    let rest = given.strip_prefix("tcp://").ok_or("is neither tcp:// nor ipc://")?;
    let (host, port) = rest.rsplit_once(':').ok_or("has no port")?;
    let port: u16 = port.parse().map_err(|_| "has no port between 1 and 65535")?;
    if port == 0 {
        return Err("has no port between 1 and 65535");
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_err() => {
            Err("has no IPv6 address in its brackets")
        }
        None if host.is_empty() => Err("has no host"),
        None if host == "*" => Err("is what the publisher binds, not where it is reached"),
        None if host.contains([':', '/', '[', ']']) => Err("has a host that is not one"),
        Some(_) | None => Ok(Endpoint::Tcp { host: host.into(), port }),
    }
}
