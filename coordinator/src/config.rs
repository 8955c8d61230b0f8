//! coordinator.toml.

use crate::outbound::{
    dns::DnsHookConfig,
    fence::{self, FenceConfig},
    notify::NotifyConfig,
};
use daemon::config::{self, ConfigError, Faults, Source, Span, Spanned};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What this coordinator takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Stores, votes, leads, decides.
    Coordinator,
    /// Stores and votes; a leadership that it wins it gives away at once (C1).
    Witness,
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This coordinator's name, the one in its certificate.
    pub name: Spanned<String>,
    /// Coordinator or witness.
    #[serde(default = "coordinator")]
    pub role: Role,
    /// Journal and credentials.
    pub state_dir: PathBuf,
    /// Where agents, peers and operators are answered.
    pub listen: Spanned<String>,
    /// "host:port" by which others reach `listen`.
    pub advertise: Spanned<String>,
    /// Where joining hosts are answered; none on a witness.
    pub enrol_listen: Option<Spanned<String>>,
    /// "host:port" by which others reach `enrol_listen`.
    pub enrol_advertise: Option<Spanned<String>>,
    /// The coordinators' own timing.
    #[serde(default)]
    pub timing: TimingConfig,
    /// The DNS hook.
    pub dns_hook: Option<DnsHookConfig>,
    /// The fence hooks.
    #[serde(default)]
    pub fence: Vec<FenceConfig>,
    /// The notification channels.
    #[serde(default)]
    pub notify: Vec<NotifyConfig>,
}

fn coordinator() -> Role {
    Role::Coordinator
}

/// `[timing]`: how the coordinators watch each other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingConfig {
    /// How often the leader speaks to the others.
    pub heartbeat: Spanned<Span>,
    /// Shortest silence before an election.
    pub election_min: Spanned<Span>,
    /// Longest silence before an election.
    pub election_max: Spanned<Span>,
}

impl Default for TimingConfig {
    /// Measured: a dead leader is followed in about half a second.
    fn default() -> Self {
        let span = |ms| Spanned::new(0..0, Span::from_millis(ms));
        Self { heartbeat: span(50), election_min: span(150), election_max: span(300) }
    }
}

impl TimingConfig {
    /// The three of them as durations.
    #[must_use]
    pub fn durations(&self) -> (Duration, Duration, Duration) {
        let of = |span: &Spanned<Span>| span.get_ref().duration();
        (of(&self.heartbeat), of(&self.election_min), of(&self.election_max))
    }
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault: file, line, field, what to write instead.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (config, source): (Self, Source) = config::load_with_source(path)?;
        let mut faults = Faults::new();
        config.check(&source, &mut faults);
        faults.or(config).map_err(Into::into)
    }

    /// The credentials directory.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.state_dir.join("pki")
    }

    fn check(&self, source: &Source, faults: &mut Faults) {
        if let Err(error) = model::HostId::new(self.name.get_ref().clone()) {
            faults.push(source.fault_at(&self.name, "name", error.to_string(), ""));
        }
        if !self.state_dir.is_absolute() {
            let message = format!("`{}` is not an absolute path", self.state_dir.display());
            let hint = "write for example \"/var/lib/understudy-coordinator\"";
            faults.push(source.fault_of_file("state_dir", message, hint));
        }
        self.check_addresses(source, faults);
        self.check_timing(source, faults);
        self.check_notify(source, faults);
        if let Some(hook) = &self.dns_hook {
            hook.check(source, faults);
        }
        fence::check(&self.fence, source, faults);
    }

    fn check_addresses(&self, source: &Source, faults: &mut Faults) {
        let listens = [
            Some(("listen", &self.listen)),
            self.enrol_listen.as_ref().map(|a| ("enrol_listen", a)),
        ];
        for (field, address) in listens.into_iter().flatten() {
            if address.get_ref().parse::<SocketAddr>().is_err() {
                let message = format!("`{}` is not an IP address with a port", address.get_ref());
                faults.push(source.fault_at(
                    address,
                    field,
                    message,
                    "write for example \"0.0.0.0:7443\"",
                ));
            }
        }
        let others = [
            Some(("advertise", &self.advertise)),
            self.enrol_advertise.as_ref().map(|a| ("enrol_advertise", a)),
        ];
        for (field, address) in others.into_iter().flatten() {
            if !reachable(address.get_ref()) {
                let message =
                    format!("`{}` is not how others could reach this host", address.get_ref());
                let hint = "write its name or address and the port, for example \"192.0.2.1:7443\"";
                faults.push(source.fault_at(address, field, message, hint));
            }
        }
        if let (Some(listen), None) = (&self.enrol_listen, &self.enrol_advertise) {
            let message = "without enrol_advertise no token could say where to enrol";
            let hint = "add enrol_advertise = \"HOST:PORT\"";
            faults.push(source.fault_at(listen, "enrol_advertise", message, hint));
        }
    }

    fn check_timing(&self, source: &Source, faults: &mut Faults) {
        let (heartbeat, min, max) = self.timing.durations();
        if heartbeat < Duration::from_millis(10) || heartbeat > Duration::from_secs(2) {
            let hint = "10ms to 2s; the default is 50ms";
            let message = "the heartbeat is out of range";
            faults.push(source.fault_at(&self.timing.heartbeat, "timing.heartbeat", message, hint));
        }
        if min < heartbeat * 2 || max <= min || max > Duration::from_secs(30) {
            let hint = "heartbeat * 2 <= election_min < election_max <= 30s";
            let message = "the election times do not fit together";
            faults.push(source.fault_at(
                &self.timing.election_min,
                "timing.election_min",
                message,
                hint,
            ));
        }
    }

    fn check_notify(&self, source: &Source, faults: &mut Faults) {
        let mut names = std::collections::BTreeSet::new();
        for channel in &self.notify {
            if !names.insert(channel.name()) {
                let message = format!("the channel `{}` is given twice", channel.name());
                faults.push(source.fault_of_file("notify.name", message, "rename one of them"));
            }
        }
    }
}

/// "host:port" with a port that is one and a host that is somewhere.
fn reachable(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let anywhere = matches!(host, "" | "0.0.0.0" | "[::]");
    !anywhere && port.parse::<u16>().is_ok_and(|port| port != 0)
}
