//! How a service of this host is started and stopped, and how it is.
//!
//! Leaves to others whether that is allowed (lease, guard, ledger) and when.
//! Invariants: [`Service::status`] never waits; every other operation ends by
//! itself within a limit; a stop kills first and tidies afterwards (A3), wins
//! over a start under way, and succeeds only when the service was seen
//! stopped. A driver that could not tell says unknown, never stopped.
//!
//! What survives the agent: containers, found again by their state. Nothing of
//! the process driver: its holders kill their programs when the agent is gone.
//! So a container of an exclusive service may run at the agent's start without
//! a lease; stopping it then is the session's duty, as is stopping one that
//! somebody else started.

mod config;
mod docker;
mod error;
mod process;

pub use config::{
    Compose, DockerConfig, DriverConfig, ProcessConfig, ServiceConfig, ServiceConfigError, Target,
};
#[cfg(test)]
pub(crate) use docker::lab as docker_lab;
pub use docker::{ContainerFacts, EngineError, Health};
pub use error::{HealthError, StartError, StopError};

use daemon::clock::boottime_ms;
use docker::{DockerDriver, Engines};
use model::{GroupId, Millis, Mono, ServiceName, ServiceState, ServiceStatus, StandbyMode};
use process::ProcessDriver;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// When the lease under which an exclusive service runs ends, by
/// `CLOCK_BOOTTIME`; `None` while there is no lease.
pub type LeaseDeadline = watch::Receiver<Option<Mono>>;

/// Between two looks while waiting for health: a change wakes the wait
/// anyway, this only covers an event that was lost.
const HEALTH_LOOK: Duration = Duration::from_millis(250);

/// The closed set of drivers.
enum Driver {
    Docker(DockerDriver),
    Process(ProcessDriver),
}

/// How a service is, by its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The state.
    pub state: ServiceState,
    /// One line for a person.
    pub detail: String,
}

impl Look {
    fn new(state: ServiceState, detail: impl Into<String>) -> Self {
        Self { state, detail: detail.into() }
    }
}

/// Tells those who wait that something about a service changed.
#[derive(Debug, Clone)]
pub(crate) struct Changed(Arc<watch::Sender<u64>>);

impl Changed {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn tell(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// What the drivers need beside agent.toml.
#[derive(Debug, Clone)]
pub struct ServiceRoom {
    /// The agent's state directory; logs are written to `logs/` in it.
    pub state_dir: PathBuf,
    /// The agent's binary, run as a holder.
    pub holder: PathBuf,
    /// Where the kernel gate made a cgroup for each exclusive process, by its
    /// service's name ([`crate::gate::make_room`]); none where there is no gate.
    pub cgroups: Option<PathBuf>,
}

impl ServiceRoom {
    /// The usual room: this very binary is the holder, found through /proc so
    /// that an upgrade which replaced the file changes nothing.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), holder: "/proc/self/exe".into(), cgroups: None }
    }

    fn cgroup_of(&self, service: &ServiceConfig) -> Option<PathBuf> {
        let cgroups = self.cgroups.as_ref().filter(|_| service.exclusive)?;
        Some(cgroups.join(service.name.as_str()))
    }

    fn log_of(&self, service: &ServiceName) -> PathBuf {
        self.state_dir.join("logs").join(format!("{service}.log"))
    }
}

/// Services whose program is not there or cannot be run, each in words.
#[must_use]
pub fn missing_programs(services: &[ServiceConfig]) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let fault = |service: &ServiceConfig| {
        let DriverConfig::Process(process) = &service.driver else { return None };
        let program = process.command.first()?;
        let what = match std::fs::metadata(program) {
            Ok(file) if !file.is_file() => "is no file".to_owned(),
            Ok(file) if file.permissions().mode() & 0o111 == 0 => "is not executable".to_owned(),
            Ok(_) => return None,
            Err(error) => format!("cannot be run: {error}"),
        };
        Some(format!("service `{}`: {program} {what}; correct `command`", service.name))
    };
    services.iter().filter_map(fault).collect()
}

/// Every service of agent.toml.
pub struct Services {
    list: Vec<Arc<Service>>,
    changed: Changed,
}

impl Services {
    /// Makes their drivers, and begins to watch Docker where one needs it.
    /// Starts and stops nothing. Must be called within the async runtime.
    ///
    /// # Errors
    /// The directory for logs could not be made.
    pub fn open(configs: &[ServiceConfig], room: &ServiceRoom) -> std::io::Result<Self> {
        let changed = Changed::new();
        let mut engines = Engines::default();
        let uses_logs = |config: &ServiceConfig| matches!(config.driver, DriverConfig::Process(_));
        if configs.iter().any(uses_logs) {
            make_log_dir(&room.state_dir.join("logs"))?;
        }
        let service = |config: &ServiceConfig| {
            let driver = match &config.driver {
                DriverConfig::Docker(docker) => Driver::Docker(DockerDriver::new(
                    config,
                    docker,
                    engines.at(&docker.socket),
                    changed.clone(),
                )),
                DriverConfig::Process(process) => {
                    Driver::Process(ProcessDriver::new(config, process, room, changed.clone()))
                }
            };
            Arc::new(Service { config: config.clone(), driver, changed: changed.clone() })
        };
        let list = configs.iter().map(service).collect();
        Ok(Self { list, changed })
    }

    /// The service of this name.
    #[must_use]
    pub fn get(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.list.iter().find(|service| service.config.name == *name)
    }

    /// All of them, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.list.iter()
    }

    /// Those of one group, in the file's order.
    pub fn of_group<'a>(&'a self, group: &'a GroupId) -> impl Iterator<Item = &'a Arc<Service>> {
        self.list.iter().filter(move |service| service.config.group == *group)
    }

    /// How each is, as last seen: never waits.
    #[must_use]
    pub fn statuses(&self) -> Vec<ServiceStatus> {
        self.list.iter().map(|service| service.status()).collect()
    }

    /// Counts up whenever a driver saw a change (a container died, a process
    /// ended): the moment for a heartbeat out of turn.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

fn make_log_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir).map_err(|error| {
        let words = format!("cannot make the directory {} for logs: {error}", dir.display());
        std::io::Error::new(error.kind(), words)
    })
}

/// One service of this host.
pub struct Service {
    config: ServiceConfig,
    driver: Driver,
    changed: Changed,
}

impl Service {
    /// What agent.toml says of it.
    #[must_use]
    pub const fn config(&self) -> &ServiceConfig {
        &self.config
    }

    /// Starts it; does nothing when it already runs (a process then follows the
    /// new lease). Returns once it runs, before it is healthy:
    /// see [`Self::until_healthy`].
    ///
    /// A process is killed by its holder when `lease` passes; a container only
    /// by [`Self::stop`]. A service that is not exclusive runs without a limit.
    ///
    /// # Errors
    /// [`StartError`]; after one the service may still come up (Docker was slow
    /// to answer), which [`Self::status`] shows.
    pub async fn start(&self, lease: Option<LeaseDeadline>) -> Result<(), StartError> {
        let live = |lease: &LeaseDeadline| {
            lease.borrow().is_some_and(|deadline| deadline > Mono(boottime_ms()))
        };
        let lease = if self.config.exclusive { lease } else { None };
        if self.config.exclusive && !lease.as_ref().is_some_and(live) {
            return Err(StartError::NoLease { service: self.config.name.clone() });
        }
        match &self.driver {
            Driver::Docker(driver) => driver.start().await,
            Driver::Process(driver) => driver.start(lease).await,
        }
    }

    /// Starts a gated service without a lease: the closed gate holds it back, and
    /// a process has no deadline until [`Self::start`] gives it a lease. Does
    /// nothing when it already runs.
    ///
    /// # Errors
    /// [`StartError`], as above; [`StartError::NoLease`] for one that is not gated.
    pub async fn start_gated(&self) -> Result<(), StartError> {
        if self.config.standby != StandbyMode::Gated {
            return Err(StartError::NoLease { service: self.config.name.clone() });
        }
        match &self.driver {
            Driver::Docker(driver) => driver.start().await,
            Driver::Process(driver) => driver.start(None).await,
        }
    }

    /// Whether it is made of containers.
    #[must_use]
    pub const fn is_container(&self) -> bool {
        matches!(self.driver, Driver::Docker(_))
    }

    /// Kills it and confirms that it is stopped, within `stop_timeout` of
    /// agent.toml; a service that is not there is stopped. Gives one line for
    /// a person.
    ///
    /// # Errors
    /// [`StopError`]: it may still run. Call it again.
    pub async fn stop(&self) -> Result<String, StopError> {
        match &self.driver {
            Driver::Docker(driver) => driver.stop().await,
            Driver::Process(driver) => driver.stop().await,
        }
    }

    /// How it is now, asked anew, within two seconds.
    pub async fn state(&self) -> ServiceStatus {
        let look = match &self.driver {
            Driver::Docker(driver) => driver.look().await,
            Driver::Process(driver) => driver.status(),
        };
        self.said(look)
    }

    /// How it is as last seen: never waits. Docker's word is kept fresh by its
    /// events and by a look every two seconds.
    #[must_use]
    pub fn status(&self) -> ServiceStatus {
        let look = match &self.driver {
            Driver::Docker(driver) => driver.status(),
            Driver::Process(driver) => driver.status(),
        };
        self.said(look)
    }

    /// What Docker knows beyond the state, for the container probe; `None` for
    /// a service that is not a container or was not seen yet.
    #[must_use]
    pub fn container(&self) -> Option<ContainerFacts> {
        match &self.driver {
            Driver::Docker(driver) => driver.facts(),
            Driver::Process(_) => None,
        }
    }

    /// Waits until it runs and, where it can tell, is healthy.
    ///
    /// # Errors
    /// [`HealthError`]: it failed, or `limit` passed.
    pub async fn until_healthy(&self, limit: Duration) -> Result<ServiceStatus, HealthError> {
        let until = Instant::now() + limit;
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let status = self.state().await;
            let service = self.config.name.clone();
            match status.state {
                ServiceState::Running => return Ok(status),
                ServiceState::Failed => {
                    return Err(HealthError::Failed { service, detail: status.detail });
                }
                ServiceState::Stopped
                | ServiceState::Starting
                | ServiceState::Unhealthy
                | ServiceState::Unknown => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let limit = millis(limit);
                let ServiceStatus { state, detail, .. } = status;
                return Err(HealthError::TooLate { service, limit, state, detail });
            }
            // Both ends mean the same: look again.
            let _ = timeout(left.min(HEALTH_LOOK), changed.changed()).await;
        }
    }

    fn said(&self, look: Look) -> ServiceStatus {
        ServiceStatus {
            service: self.config.name.clone(),
            group: self.config.group.clone(),
            exclusive: self.config.exclusive,
            standby: self.config.standby,
            state: look.state,
            detail: look.detail,
        }
    }
}

/// A length of time in whole milliseconds, saturating.
fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
