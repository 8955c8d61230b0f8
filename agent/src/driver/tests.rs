//! The loop's order of deeds, with a disk that a test can hold up.

use super::*;
use crate::{
    gate::{GateConfig, GateRoom},
    ledger::SlowDisk,
    service::{ServiceConfig, ServiceRoom},
    session::Heard,
};
use certs::{Authority, Identity, Role};
use model::{
    Action, AttemptId, Command, Epoch, GroupAssignment, LeaseGrant, LeaseReply, LeaseRequest,
    Millis, Outcome, PeerAddress, PlanId, SiteId, StepId, StepReport, Term,
};
use std::time::Duration;

mod bars;
mod promises;
mod watchdog;

/// The number of the first coordinator.
const PEER: usize = 1;

/// A driver with one exclusive service and one coordinator that nobody reaches.
fn driver(dir: &std::path::Path) -> (Driver, SlowDisk) {
    let (ledger, disk) = Ledger::on_slow_disk();
    (driver_with(dir, ledger, Watchdog::open(None)), disk)
}

fn driver_with(dir: &std::path::Path, ledger: Ledger, watchdog: Watchdog) -> Driver {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::create("bench", certs::now()).unwrap();
    let identity = Identity::new("bench", Role::Agent, "p1").unwrap();
    let pki = dir.join("pki");
    authority.equip(&pki, &identity, Duration::from_secs(3600), certs::now()).unwrap();
    let service: ServiceConfig = toml::from_str(
        "name = \"bridge\"\ngroup = \"fx\"\ndriver = \"process\"\ncommand = [\"/bin/true\"]",
    )
    .unwrap();
    let services = Services::open(&[service], &ServiceRoom::new(dir)).unwrap();
    // Never fails.
    let (_, failure) = tokio::sync::oneshot::channel();
    let setup = Setup {
        host: HostId::new("p1").unwrap(),
        state_dir: dir.into(),
        coordinators: vec!["127.0.0.1:9".into()],
        coordinators_fixed: true,
        groups: [GroupId::new("fx").unwrap()].into(),
        probes: Probes::spawn(&[], &services).unwrap(),
        gate: Gate::open(
            &GateConfig { enabled: false, ..GateConfig::default() },
            &[],
            &GateRoom { state_dir: dir.into(), cgroups: None },
        ),
        isolation: watch::channel(Standing::default()).1,
        isolate: isolation::Host::of(&config_in(dir)),
        stops: watch::channel(Stops::default()).1,
        backups: watch::channel(Arc::default()).1,
        watchdog,
        peer: None,
        services,
        ledger,
        failure,
        tasks: Tasks::new("/bin/false".into(), dir.into(), Default::default()),
        trust: Trust::load(&pki).unwrap(),
        shutdown: Shutdown::new(),
    };
    Driver::new(setup).0
}

/// What agent.toml says where nothing is isolated by orders.
fn config_in(dir: &std::path::Path) -> crate::config::Config {
    let text = format!("host = \"p1\"\nstate_dir = \"{}\"", dir.display());
    crate::config::Config::of(&daemon::config::Source::new("agent.toml", text)).unwrap()
}

fn fence() -> Command {
    Command {
        id: CommandId { plan: PlanId(1), step: StepId(0), attempt: AttemptId(1), part: 0 },
        term: Term(1),
        host: HostId::new("p1").unwrap(),
        group: GroupId::new("fx").unwrap(),
        epoch: Epoch(1),
        deadline: Millis(8000),
        action: Action::Fence,
    }
}

fn group() -> GroupId {
    GroupId::new("fx").unwrap()
}

fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

/// Site s1 is active under the epoch, with failsafe.
fn assigned(epoch: u64) -> GroupAssignment {
    GroupAssignment {
        group: group(),
        site: SiteId::new("p1").unwrap(),
        active: Some(SiteId::new("s1").unwrap()),
        epoch: Epoch(epoch),
        lease: Millis(5000),
        fencing: false,
        failsafe: Some(vec![PeerAddress { host: host("s1"), address: "127.0.0.1:9".into() }]),
    }
}

impl Driver {
    fn assign(&mut self, assigned: GroupAssignment, term: u64) {
        let heard = Heard::Assignment {
            groups: vec![assigned],
            term: Term(term),
            order: None,
            stops: vec![],
        };
        self.on_heard(PEER, heard).unwrap();
    }

    /// Takes what the next task came to.
    async fn next_done(&mut self) {
        let done = tokio::time::timeout(Duration::from_secs(10), self.tasks.join_next());
        let done = done.await.expect("no task ended").expect("no task is at work").unwrap();
        self.on_done(done).unwrap();
        self.go_on(now()).unwrap();
    }

    fn hear(&mut self, command: Command) {
        self.on_heard(PEER, Heard::Command(command)).unwrap();
        self.go_on(now()).unwrap();
    }
}

/// A driver whose promotion under epoch 1 was reported, with a lease of that length.
async fn promoted(
    dir: &std::path::Path,
    watchdog: &Watchdog,
    lease: Millis,
) -> (Driver, SlowDisk, StepReport) {
    let (ledger, mut disk) = Ledger::on_slow_disk();
    let mut driver = driver_with(dir, ledger, watchdog.clone());
    let (reports_in, mut reports) = mpsc::channel(8);
    let (requests_in, mut requests) = mpsc::channel::<LeaseRequest>(64);
    driver.on_heard(PEER, Heard::Up(reports_in)).unwrap();
    driver.on_heard(PEER, Heard::LeaseUp(requests_in)).unwrap();
    driver.assign(GroupAssignment { failsafe: None, lease, ..assigned(1) }, 1);
    let action = Action::Promote { site: SiteId::new("p1").unwrap() };
    driver.hear(Command { action, deadline: Millis(60_000), ..fence() });
    let report = loop {
        disk.settle();
        driver.next_done().await;
        while let Ok(request) = requests.try_recv() {
            driver.grant(&request, lease);
        }
        if let Ok(report) = reports.try_recv() {
            break report;
        }
    };
    (driver, disk, report)
}

impl Driver {
    fn grant(&mut self, request: &LeaseRequest, lease: Millis) {
        let term = Term(1);
        let LeaseRequest { group, epoch, nonce, .. } = request.clone();
        let gate_margin = lease.div_ceil(20);
        let grant = LeaseGrant { group, epoch, nonce, term, lease, gate_margin };
        self.on_heard(PEER, Heard::Lease(LeaseReply::Granted(grant))).unwrap();
    }
}

#[tokio::test]
async fn a7_nobody_is_told_of_an_outcome_that_is_not_durable_however_often_they_ask() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, mut disk) = driver(dir.path());
    let (reports_in, mut reports) = mpsc::channel(8);
    driver.on_heard(PEER, Heard::Up(reports_in)).unwrap();
    driver.hear(fence());
    while driver.ledger.memory().command(&fence().id).unwrap().outcome.is_none() {
        driver.next_done().await;
    }
    driver.hear(fence());
    driver.hear(Command { term: Term(2), ..fence() });
    assert!(reports.try_recv().is_err(), "told before it is on disk");

    disk.settle();
    driver.next_done().await;
    let told = reports.try_recv().unwrap();
    assert!(matches!(told.outcome, Outcome::Fenced { .. }), "{told:?}");
    driver.hear(fence());
    assert_eq!(reports.try_recv().unwrap(), told, "told again");
    assert!(reports.try_recv().is_err());
}
