//! The loop's order of deeds, with a disk that a test can hold up.

use super::*;
use crate::{
    ledger::SlowDisk,
    service::{ServiceConfig, ServiceRoom},
    session::Heard,
};
use certs::{Authority, Identity, Role};
use model::{Action, AttemptId, Command, Epoch, Millis, Outcome, PlanId, StepId, Term};
use std::time::Duration;

/// The number of the first coordinator.
const PEER: usize = 1;

/// A driver with one exclusive service and one coordinator that nobody reaches.
fn driver(dir: &std::path::Path) -> (Driver, SlowDisk) {
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
    let (ledger, disk) = Ledger::on_slow_disk();
    // Never fails.
    let (_, failure) = tokio::sync::oneshot::channel();
    let setup = Setup {
        host: HostId::new("p1").unwrap(),
        state_dir: dir.into(),
        coordinators: vec!["127.0.0.1:9".into()],
        coordinators_fixed: true,
        groups: [GroupId::new("fx").unwrap()].into(),
        probes: Probes::spawn(&[], &services).unwrap(),
        services,
        ledger,
        failure,
        trust: Trust::load(&pki).unwrap(),
        shutdown: Shutdown::new(),
    };
    (Driver::new(setup).0, disk)
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

impl Driver {
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
