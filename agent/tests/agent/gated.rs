//! Gated services and the kernel gate, as a coordinator sees them. Needs root
//! and nftables; without them these tests say nothing.

use crate::{
    bench::{AGENT, Bench, assignment, fence, lease_left, promote, start, state},
    coordinator::{Coordinator, Lease, until},
};
use model::{
    Epoch, GateState, GroupAssignment, GroupStanding, Millis, Outcome, ServiceState, StandbyMode,
};
use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// A table of this test's own, taken away at the end.
struct Table(String);

impl Table {
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let table = Self(format!("understudy_agent_{}_{number}", std::process::id()));
        // What nft can list it may change.
        table.nft(&["list", "tables"]).then_some(table)
    }

    fn nft(&self, words: &[&str]) -> bool {
        let mut nft = Command::new("nft");
        let done = nft.args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    }

    fn toml(&self) -> String {
        format!("standby = \"gated\"\n[gate]\ntable = \"{}\"\n", self.0)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.nft(&["delete", "table", "inet", &self.0]);
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            let room = format!("{root}/understudy/{}", self.0);
            let _ = std::fs::remove_dir(format!("{room}/bridge"));
            let _ = std::fs::remove_dir(room);
        }
    }
}

fn standing(coordinator: &Coordinator) -> Option<GroupStanding> {
    coordinator.newest()?.groups.first().cloned()
}

async fn gate_is(coordinator: &Coordinator, wanted: GateState) -> GroupStanding {
    until(&format!("the gate is {wanted}"), || {
        standing(coordinator).filter(|standing| standing.gate == wanted)
    })
    .await
}

async fn wait_for(coordinator: &Coordinator, wanted: ServiceState) {
    until(wanted.word(), || (state(coordinator) == Some(wanted)).then_some(())).await;
}

fn elsewhere(epoch: u64) -> GroupAssignment {
    assignment(epoch, Some("standby"), 3000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_gated_service_waits_behind_the_gate_and_is_not_started_again() {
    let Some(table) = Table::new() else { return };
    let bench = Bench::new();
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    coordinator.desk().assignment = vec![elsewhere(1)];
    coordinator.desk().length = Millis(3000);
    let agent = bench.run(&[&coordinator], &table.toml()).await;
    wait_for(&coordinator, ServiceState::Running).await;
    bench.started(1).await;
    let waits = gate_is(&coordinator, GateState::Closed).await;
    assert!(waits.lease_left.is_none());
    assert_eq!(coordinator.newest().unwrap().services[0].standby, StandbyMode::Gated);

    // Activation opens the gate; what runs is only given its lease.
    coordinator.desk().lease = Lease::Grant(2);
    coordinator.assign(assignment(2, Some("primary"), 3000), 1);
    for command in [promote(1, 2), start(2, 2)] {
        let report = coordinator.ask(&command).await;
        assert!(matches!(report.outcome, Outcome::Done { .. }), "{report:?}");
    }
    gate_is(&coordinator, GateState::Open).await;
    assert_eq!((state(&coordinator), bench.starts()), (Some(ServiceState::Running), 1));

    // A3: a lost lease stops it, gated or not.
    coordinator.desk().lease = Lease::Silent;
    wait_for(&coordinator, ServiceState::Stopped).await;
    gate_is(&coordinator, GateState::Closed).await;
    assert!(lease_left(&coordinator).is_none());

    // Once another site is active it comes back behind the gate.
    coordinator.assign(elsewhere(3), 1);
    wait_for(&coordinator, ServiceState::Running).await;
    bench.started(2).await;
    assert_eq!(standing(&coordinator).unwrap().gate, GateState::Closed);
    let report = coordinator.ask(&fence(7, 3)).await;
    let Outcome::Fenced { stopped, gate_closed } = &report.outcome else { panic!("{report:?}") };
    assert!(stopped.len() == 1 && *gate_closed, "{report:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_without_a_gate_a_gated_service_waits_stopped_and_says_so() {
    let bench = Bench::new();
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    coordinator.desk().assignment = vec![elsewhere(1)];
    let agent = bench.run(&[&coordinator], "standby = \"gated\"\n").await;
    until("heartbeats", || (coordinator.desk().heartbeats.len() > 8).then_some(())).await;
    let newest = coordinator.newest().unwrap();
    let bridge = &newest.services[0];
    assert_eq!((bridge.state, bridge.standby), (ServiceState::Stopped, StandbyMode::Stopped));
    assert!(bridge.detail.contains("no kernel gate"), "{}", bridge.detail);
    assert_eq!(newest.groups[0].gate, GateState::Absent);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_removed_table_is_in_the_next_heartbeat_and_closed_until_a_renewal() {
    let Some(table) = Table::new() else { return };
    let bench = Bench::new();
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    coordinator.desk().lease = Lease::Grant(1);
    // A heartbeat every 3 s: only one out of turn comes sooner.
    coordinator.desk().length = Millis(30_000);
    coordinator.desk().assignment = vec![assignment(1, Some("primary"), 30_000)];
    let agent = bench.run(&[&coordinator], &table.toml()).await;
    for command in [promote(1, 1), start(2, 1)] {
        let report = coordinator.ask(&command).await;
        assert!(matches!(report.outcome, Outcome::Done { .. }), "{report:?}");
    }
    gate_is(&coordinator, GateState::Open).await;
    coordinator.desk().lease = Lease::Silent;
    let before = coordinator.newest().unwrap().sequence;
    assert!(table.nft(&["delete", "table", "inet", &table.0]));
    let closed = gate_is(&coordinator, GateState::Closed).await;
    assert!(closed.gate_detail.contains("restored closed"), "{closed:?}");
    assert!(closed.lease_left.is_some(), "the lease is still live");
    let beats: Vec<_> = {
        let desk = coordinator.desk();
        desk.heartbeats.iter().filter(|beat| beat.sequence > before).cloned().collect()
    };
    let told = beats.iter().position(|beat| beat.groups[0].gate != GateState::Open);
    // One may have been on its way while nft worked, and one is out of turn.
    assert!(told.is_some_and(|place| place <= 2), "{told:?} of {}", beats.len());
    coordinator.desk().lease = Lease::Grant(1);
    gate_is(&coordinator, GateState::Open).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_stopped_agent_finds_its_gate_closed_until_a_renewal_sent_after() {
    let Some(table) = Table::new() else { return };
    let bench = Bench::new();
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    coordinator.desk().lease = Lease::Grant(1);
    coordinator.desk().length = Millis(30_000);
    coordinator.desk().assignment = vec![assignment(1, Some("primary"), 5000)];
    let file = bench.dir.path().join("agent.toml");
    let text =
        format!("coordinators = [\"{}\"]\n{}", coordinator.address, bench.toml(&table.toml()));
    std::fs::write(&file, text).unwrap();
    let mut agent = tokio::process::Command::new(AGENT)
        .args(["run", "--config"])
        .arg(&file)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for command in [promote(1, 1), start(2, 1)] {
        let report = coordinator.ask(&command).await;
        assert!(matches!(report.outcome, Outcome::Done { .. }), "{report:?}");
    }
    gate_is(&coordinator, GateState::Open).await;
    coordinator.desk().lease = Lease::Silent;
    let pid = agent.id().unwrap().to_string();
    let signal = |name: &str| {
        assert!(Command::new("/bin/kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let stopped = Instant::now();
    until("a stall", || (stopped.elapsed() > Duration::from_millis(400)).then_some(())).await;
    signal("-CONT");
    let closed = gate_is(&coordinator, GateState::Closed).await;
    assert!(closed.gate_detail.contains("did nothing for"), "{closed:?}");
    assert!(closed.lease_left.is_some() && closed.epoch == Epoch(1), "the lease is still live");
    assert_eq!((state(&coordinator), bench.starts()), (Some(ServiceState::Running), 1));
    coordinator.desk().lease = Lease::Grant(1);
    gate_is(&coordinator, GateState::Open).await;
    signal("-TERM");
    agent.wait().await.unwrap();
}
