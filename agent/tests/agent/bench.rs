//! An agent on the bench: credentials made for the test, a state directory, and
//! one exclusive process as service. Without a kernel gate, unless a test asks
//! for one under a table of its own.

use crate::coordinator::{Coordinator, group, until};
use agent::{
    backups::Backups,
    config::Config,
    driver::{self, Ended, Setup},
    emergency::Watch,
    gate::{self, Gate, GateRoom},
    ledger::Ledger,
    peer,
    probe::Probes,
    service::{ServiceRoom, Services},
    watchdog::Watchdog,
};
use certs::{Authority, Identity, Role, Trust};
use daemon::{config::Source, shutdown::Shutdown};
use model::{
    Action, AttemptId, Command, CommandId, Epoch, GroupAssignment, HostId, Millis, PlanId,
    ProbeName, ServiceName, ServiceState, SiteId, StepId, Term,
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_understudy-agent");
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Directories and credentials of one installation with one host.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) authority: Arc<Authority>,
    host: String,
}

/// An agent that runs in this process.
pub(crate) struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Ended>,
    _stops: Watch,
    _backups: Backups,
}

impl Running {
    pub(crate) async fn stop(self) -> Ended {
        self.shutdown.trigger();
        self.task.await.unwrap()
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::with(Arc::new(Authority::create("bench", certs::now()).unwrap()), "p1")
    }

    /// Another host of the same installation.
    pub(crate) fn beside(&self, host: &str) -> Self {
        Self::with(Arc::clone(&self.authority), host)
    }

    fn with(authority: Arc<Authority>, host: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap(), authority, host: host.into() };
        for (role, name, at) in
            [(Role::Agent, host, bench.state().join("pki")), (Role::Coordinator, "c1", bench.pki())]
        {
            let identity = Identity::new("bench", role, name).unwrap();
            bench.authority.equip(&at, &identity, DAY, certs::now()).unwrap();
        }
        bench
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    /// The coordinator's credentials.
    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.path().join("coordinator")
    }

    /// Gets one line at each start of the service.
    fn starts_file(&self) -> PathBuf {
        self.dir.path().join("starts")
    }

    /// Waits until the service was started so often.
    pub(crate) async fn started(&self, times: usize) {
        until("the service's own word", || (self.starts() >= times).then_some(())).await;
        assert_eq!(self.starts(), times);
    }

    /// How often the service was started.
    pub(crate) fn starts(&self) -> usize {
        std::fs::read_to_string(self.starts_file()).unwrap_or_default().lines().count()
    }

    /// agent.toml with one exclusive service, and what else is given: fields of
    /// that service first.
    pub(crate) fn toml(&self, more: &str) -> String {
        let gate = if more.contains("[gate]") { "" } else { "[gate]\nenabled = false\n" };
        format!(
            "host = \"{}\"\nstate_dir = \"{}\"\n\
             [[service]]\nname = \"bridge\"\ngroup = \"fx\"\ndriver = \"process\"\n\
             command = [\"/bin/sh\", \"-c\", \"echo started >> {}; exec /bin/sleep 600\"]\n{more}{gate}",
            self.host,
            self.state().display(),
            self.starts_file().display()
        )
    }

    pub(crate) async fn run(&self, coordinators: &[&Coordinator], more: &str) -> Running {
        let config = Config::of(&Source::new("agent.toml", self.toml(more))).unwrap();
        let (ledger, failure) = Ledger::open(&self.state()).unwrap();
        let cgroups = gate::make_room(&config.gate, &config.services);
        let gate_room = GateRoom { state_dir: self.state(), cgroups: cgroups.clone() };
        let room = ServiceRoom { holder: AGENT.into(), cgroups, ..ServiceRoom::new(self.state()) };
        let services = Services::open(&config.services, &room).unwrap();
        let probes = Probes::spawn(&config.probes, &services).unwrap();
        let trust = Trust::load(self.state().join("pki")).unwrap();
        let shutdown = Shutdown::new();
        let peer = match &config.peer {
            Some(peer) => Some(peer::serve(peer, &trust, &shutdown).await.unwrap()),
            None => None,
        };
        let stops = Watch::start(&self.state()).unwrap();
        let backups = Backups::start(&config, &self.dir.path().join("agent.toml")).unwrap();
        let setup = Setup {
            gate: Gate::open(&config.gate, &config.services, &gate_room),
            stops: stops.stops(),
            backups: backups.told(),
            isolate: agent::isolation::Host::of(&config),
            isolation: tokio::sync::watch::channel(agent::isolation::Standing::default()).1,
            watchdog: Watchdog::open(None),
            peer,
            groups: config.groups(),
            host: config.host,
            state_dir: self.state(),
            coordinators: coordinators.iter().map(|one| one.address.to_string()).collect(),
            coordinators_fixed: false,
            services,
            probes,
            ledger,
            failure,
            tasks: agent::task::Tasks::new("/bin/false".into(), self.state(), config.tasks),
            trust,
            shutdown: shutdown.clone(),
        };
        Running {
            shutdown,
            task: tokio::spawn(driver::run(setup)),
            _stops: stops,
            _backups: backups,
        }
    }
}

/// The service's state in the newest heartbeat.
pub(crate) fn state(coordinator: &Coordinator) -> Option<ServiceState> {
    let newest = coordinator.newest()?;
    newest.services.iter().find(|one| one.service.as_str() == "bridge").map(|one| one.state)
}

/// What remains of the lease in the newest heartbeat.
pub(crate) fn lease_left(coordinator: &Coordinator) -> Option<Millis> {
    coordinator.newest()?.groups.first()?.lease_left
}

pub(crate) fn site() -> SiteId {
    SiteId::new("primary").unwrap()
}

pub(crate) fn assignment(epoch: u64, active: Option<&str>, lease: u64) -> GroupAssignment {
    GroupAssignment {
        group: group(),
        site: site(),
        active: active.map(|name| SiteId::new(name).unwrap()),
        epoch: Epoch(epoch),
        lease: Millis(lease),
        fencing: false,
        failsafe: None,
    }
}

pub(crate) fn command(step: u64, epoch: u64, action: Action) -> Command {
    Command {
        id: CommandId { plan: PlanId(1), step: StepId(step), attempt: AttemptId(1), part: 0 },
        term: Term(1),
        host: HostId::new("p1").unwrap(),
        group: group(),
        epoch: Epoch(epoch),
        deadline: Millis(8000),
        action,
    }
}

pub(crate) fn promote(step: u64, epoch: u64) -> Command {
    command(step, epoch, Action::Promote { site: site() })
}

pub(crate) fn start(step: u64, epoch: u64) -> Command {
    let service = ServiceName::new("bridge").unwrap();
    command(step, epoch, Action::StartService { service })
}

pub(crate) fn verify(step: u64, epoch: u64, feeds: &[&str]) -> Command {
    let feeds = feeds.iter().map(|name| ProbeName::new(*name).unwrap()).collect();
    command(step, epoch, Action::Verify { feeds })
}

pub(crate) fn fence(step: u64, epoch: u64) -> Command {
    command(step, epoch, Action::Fence)
}
