//! Sessions, leases and commands, seen from the coordinator's side.

use crate::{
    bench::{AGENT, Bench, assignment, command, fence, lease_left, promote, start, state, verify},
    coordinator::{Coordinator, Lease, until},
};
use agent::driver::Ended;
use model::{
    Action, Command, Derived, Epoch, LeaseRefusal, Millis, Outcome, Refusal, ServiceName,
    ServiceState, StepReport, Term,
};
use std::time::{Duration, Instant};

fn is_done(report: &StepReport) -> bool {
    matches!(report.outcome, Outcome::Done { .. })
}

fn bridge() -> ServiceName {
    ServiceName::new("bridge").unwrap()
}

/// A coordinator that grants epoch 1 and has promoted and started this host.
async fn active(bench: &Bench) -> Coordinator {
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    let mut desk = coordinator.desk();
    desk.lease = Lease::Grant(1);
    desk.assignment = vec![assignment(1, Some("primary"), 1000)];
    drop(desk);
    coordinator
}

async fn promoted(coordinator: &Coordinator) {
    let report = coordinator.ask(&promote(1, 1)).await;
    assert!(is_done(&report), "{report:?}");
    let report = coordinator.ask(&start(2, 1)).await;
    assert!(is_done(&report), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_other_bounds_grants_nothing_and_both_sets_are_told() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    let (leader, host) = (Derived::of(Millis(1000)), Derived::of(Millis(1500)));
    coordinator.desk().assignment = vec![assignment(1, Some("primary"), 1500)];
    coordinator.desk().lease = Lease::Refuse(LeaseRefusal::TimingDiffers { leader, host });
    let agent = bench.run(&[&coordinator], "").await;
    let report = coordinator.ask(&Command { deadline: Millis(1500), ..promote(1, 1) }).await;
    let Outcome::Failed { detail } = &report.outcome else { panic!("{report:?}") };
    for set in [format!("the leader: {leader}"), format!("this host: {host}")] {
        assert!(detail.contains(&set), "{detail}");
    }
    // What the leader compares is what this host derives from the assigned lease.
    let derived = coordinator.desk().requests.last().unwrap().derived;
    assert_eq!(derived, Some(host));
    assert_eq!(lease_left(&coordinator), None);
    agent.stop().await;
}

/// Waits for thirty heartbeats, which come ten times a second: two leases of 1.5 s.
async fn outlast(coordinator: &Coordinator) {
    let beats = coordinator.desk().heartbeats.len();
    until("thirty heartbeats", || {
        (coordinator.desk().heartbeats.len() >= beats + 30).then_some(())
    })
    .await;
}

async fn wait_for(coordinator: &Coordinator, wanted: ServiceState) {
    until(wanted.word(), || (state(coordinator) == Some(wanted)).then_some(())).await;
}

/// Waits for so many more.
async fn heartbeats(coordinator: &Coordinator, more: usize) {
    let wanted = coordinator.desk().heartbeats.len() + more;
    until("heartbeats", || (coordinator.desk().heartbeats.len() >= wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_grants_keep_services_running_and_silence_stops_them_within_the_lease() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    coordinator.desk().length = Millis(1500);
    let agent = bench.run(&[&coordinator], "").await;
    promoted(&coordinator).await;
    wait_for(&coordinator, ServiceState::Running).await;
    outlast(&coordinator).await;
    assert_eq!((state(&coordinator), bench.starts()), (Some(ServiceState::Running), 1));
    assert!(lease_left(&coordinator).is_some());

    coordinator.desk().lease = Lease::Silent;
    let silent = Instant::now();
    wait_for(&coordinator, ServiceState::Stopped).await;
    let took = silent.elapsed();
    // T is 1.5 s; the rest is for a busy machine to kill, and to tell of it.
    assert!(took < Duration::from_millis(2500), "stopped only after {took:?}");
    assert!(lease_left(&coordinator).is_none());

    // A3: what committed commands had started comes back with the lease.
    coordinator.desk().lease = Lease::Grant(1);
    wait_for(&coordinator, ServiceState::Running).await;
    bench.started(2).await;
    let newest = coordinator.newest().unwrap();
    assert_eq!(newest.groups[0].gate, model::GateState::Absent);
    assert!(matches!(agent.stop().await, Ended::Asked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_higher_epoch_closes_at_once_whoever_says_it() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    let agent = bench.run(&[&coordinator], "").await;
    promoted(&coordinator).await;
    // An older heartbeat knows of no start yet.
    wait_for(&coordinator, ServiceState::Running).await;
    coordinator.assign(assignment(2, Some("standby"), 60_000), 1);
    wait_for(&coordinator, ServiceState::Stopped).await;
    assert!(lease_left(&coordinator).is_none());
    coordinator.assign(assignment(2, Some("standby"), 500), 1);
    // What was asked for before is on a connection of its own, and may come later.
    heartbeats(&coordinator, 5).await;
    let asked = coordinator.desk().requests.len();
    heartbeats(&coordinator, 5).await;
    assert_eq!(coordinator.desk().requests.len(), asked, "no lease is asked for any more");
    assert_eq!(coordinator.newest().unwrap().groups[0].epoch, Epoch(2));
    let report = coordinator.ask(&start(3, 1)).await;
    let (given, seen) = (Epoch(1), Epoch(2));
    assert_eq!(report.outcome, Outcome::Refused(Refusal::StaleEpoch { given, seen }));
    // The same word of a coordinator that refuses a renewal.
    coordinator.desk().lease = Lease::Grant(3);
    assert!(is_done(&coordinator.ask(&promote(4, 3)).await));
    coordinator.desk().lease = Lease::Refuse(LeaseRefusal::Superseded { epoch: Epoch(7) });
    until("epoch 7", || (coordinator.newest()?.groups[0].epoch == Epoch(7)).then_some(())).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_a_repeated_command_is_answered_and_not_done_twice() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    let agent = bench.run(&[&coordinator], "").await;
    promoted(&coordinator).await;
    let first = coordinator.ask(&start(2, 1)).await;
    for _ in 0..3 {
        coordinator.send(&start(2, 1));
    }
    until("three answers", || {
        let desk = coordinator.desk();
        let same = desk.reports.iter().filter(|report| **report == first).count();
        (same >= 4).then_some(())
    })
    .await;
    bench.started(1).await;
    let ended = coordinator.ask(&fence(3, 1)).await;
    assert_eq!(ended.outcome, Outcome::Fenced { stopped: vec![bridge()], gate_closed: false });
    agent.stop().await;

    // Also after a restart, by another leader, and under a higher term.
    let agent = bench.run(&[&coordinator], "").await;
    coordinator.desk().reports.clear();
    until("the new session", || (coordinator.desk().hellos.len() == 2).then_some(())).await;
    let again = coordinator.ask(&Command { term: Term(9), ..fence(3, 1) }).await;
    assert_eq!(again, ended);
    assert_eq!(coordinator.ask(&start(2, 1)).await, first);
    assert_eq!(bench.starts(), 1);
    let boots: Vec<u64> = coordinator.desk().hellos.iter().map(|hello| hello.boot).collect();
    assert_ne!(boots[0], boots[1], "a restart can be told from a pause");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_stale_leaders_and_strange_commands_are_refused_in_words() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    let agent = bench.run(&[&coordinator], "").await;
    let report = coordinator.ask(&Command { term: Term(5), ..promote(1, 1) }).await;
    assert!(is_done(&report), "{report:?}");
    let report = coordinator.ask(&Command { term: Term(4), ..start(2, 1) }).await;
    let (given, seen) = (Term(4), Term(5));
    assert_eq!(report.outcome, Outcome::Refused(Refusal::StaleTerm { given, seen }));
    until("the term in a heartbeat", || {
        coordinator.newest().filter(|heartbeat| heartbeat.term == Term(5))
    })
    .await;
    let ghost = Action::StartService { service: ServiceName::new("ghost").unwrap() };
    let report = coordinator.ask(&Command { term: Term(5), ..command(3, 1, ghost) }).await;
    assert!(matches!(report.outcome, Outcome::Refused(Refusal::NotAllowed { .. })), "{report:?}");
    let ghost = Command { term: Term(5), ..verify(5, 1, &["ghost"]) };
    let report = coordinator.ask(&ghost).await;
    assert!(matches!(report.outcome, Outcome::Refused(Refusal::NotAllowed { .. })), "{report:?}");
    // The lease of the term before may run on; an assignment of it changes nothing.
    coordinator.assign(assignment(1, None, 60_000), 3);
    let unknown = proto::v1::Command {
        id: Some(verify(4, 1, &[]).id.into()),
        host: "p1".into(),
        group: "fx".into(),
        ..proto::v1::Command::default()
    };
    coordinator.say(&proto::v1::coordinator_message::Body::Command(unknown));
    let report = coordinator.report(&verify(4, 1, &[])).await;
    assert_eq!(report.outcome, Outcome::Refused(Refusal::UnknownAction));
    assert_eq!(bench.starts(), 0);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_a_fence_pre_empts_what_is_at_work() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    // A feed that nobody publishes: verification waits for it.
    let probe = "[[probe]]\nname = \"ticks\"\nkind = \"zeromq\"\ngroup = \"fx\"\n\
                 endpoint = \"tcp://127.0.0.1:9\"\nevery = \"1s\"\nstale_after = \"3s\"\n";
    let agent = bench.run(&[&coordinator], probe).await;
    promoted(&coordinator).await;
    let verify = verify(3, 1, &["ticks"]);
    coordinator.send(&verify);
    let fence = fence(4, 1);
    let report = coordinator.ask(&fence).await;
    assert_eq!(report.outcome, Outcome::Fenced { stopped: vec![bridge()], gate_closed: false });
    let given_up = coordinator.report(&verify).await;
    let Outcome::Failed { detail } = &given_up.outcome else { panic!("{given_up:?}") };
    assert!(detail.contains("given up"), "{detail}");
    wait_for(&coordinator, ServiceState::Stopped).await;
    // Fenced for good: not even the same epoch's lease is asked for again.
    let report = coordinator.ask(&promote(5, 1)).await;
    assert_eq!(report.outcome, Outcome::Refused(Refusal::NoLease { epoch: Epoch(1) }));
    let asked = coordinator.desk().requests.len();
    let beats = coordinator.desk().heartbeats.len();
    until("five heartbeats", || (coordinator.desk().heartbeats.len() >= beats + 5).then_some(()))
        .await;
    assert_eq!(coordinator.desk().requests.len(), asked);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_without_a_lease_fails_at_its_deadline_and_says_why() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    coordinator.desk().lease = Lease::Refuse(LeaseRefusal::NoQuorum);
    let agent = bench.run(&[&coordinator], "").await;
    let short = Command { deadline: Millis(500), ..promote(1, 1) };
    let report = coordinator.ask(&short).await;
    let Outcome::Failed { detail } = &report.outcome else { panic!("{report:?}") };
    assert!(detail.contains("no quorum of coordinators answered"), "{detail}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_serves_is_verified() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    let agent = bench.run(&[&coordinator], "").await;
    promoted(&coordinator).await;
    let report = coordinator.ask(&verify(3, 1, &[])).await;
    let Outcome::Verified(evidence) = &report.outcome else { panic!("{report:?}") };
    assert_eq!((evidence.fresh_feeds, evidence.first_message_after), (0, None));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_is_fresh_only_by_a_message_after_the_promotion() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    let publisher = zmq::Context::new().socket(zmq::PUB).unwrap();
    publisher.bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = publisher.get_last_endpoint().unwrap().unwrap();
    let tick = || publisher.send("tick.EURUSD {\"bid\":1.1}", 0).unwrap();
    let probe = format!(
        "[[probe]]\nname = \"ticks\"\nkind = \"zeromq\"\ngroup = \"fx\"\n\
         endpoint = \"{endpoint}\"\nevery = \"1s\"\nstale_after = \"3s\"\n"
    );
    let agent = bench.run(&[&coordinator], &probe).await;
    let messages = |coordinator: &Coordinator| {
        let newest = coordinator.newest()?;
        newest.readings.first()?.measures.get("messages").copied()
    };
    until("a message before the promotion", || {
        tick();
        messages(&coordinator).filter(|count| *count > 0)
    })
    .await;
    promoted(&coordinator).await;
    let short = Command { deadline: Millis(300), ..verify(4, 1, &["ticks"]) };
    let verify = verify(3, 1, &["ticks"]);
    let report = coordinator.ask(&short).await;
    let Outcome::Failed { detail } = &report.outcome else { panic!("{report:?}") };
    assert!(detail.contains("feed `ticks` has brought no message since"), "{detail}");
    coordinator.send(&verify);
    let report = until("the verification", || {
        tick();
        coordinator.desk().reports.iter().find(|report| report.id == verify.id).cloned()
    })
    .await;
    let Outcome::Verified(evidence) = &report.outcome else { panic!("{report:?}") };
    assert!(evidence.fresh_feeds == 1 && evidence.messages > 0, "{evidence:?}");
    assert!(evidence.first_message_after.is_some_and(|after| after >= Millis(300)));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_restarted_agent_comes_up_closed_and_starts_again_only_with_a_lease() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    let agent = bench.run(&[&coordinator], "").await;
    promoted(&coordinator).await;
    bench.started(1).await;
    assert!(matches!(agent.stop().await, Ended::Asked));
    coordinator.desk().lease = Lease::Silent;
    coordinator.desk().heartbeats.clear();
    let agent = bench.run(&[&coordinator], "").await;
    until("requests", || (coordinator.desk().heartbeats.len() > 5).then_some(())).await;
    assert_eq!((state(&coordinator), bench.starts()), (Some(ServiceState::Stopped), 1));
    coordinator.desk().lease = Lease::Grant(1);
    wait_for(&coordinator, ServiceState::Running).await;
    bench.started(2).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_one_coordinator_may_go_and_come_back_and_hears_what_it_missed() {
    let bench = Bench::new();
    let first = active(&bench).await;
    let second = active(&bench).await;
    second.desk().lease = Lease::Silent;
    first.desk().length = Millis(1500);
    second.desk().length = Millis(1500);
    for coordinator in [&first, &second] {
        let both = vec![first.address.to_string(), second.address.to_string()];
        coordinator.desk().welcome = both;
    }
    let agent = bench.run(&[&first], "").await;
    until("the other one is called as well", || second.has_session().then_some(())).await;
    promoted(&first).await;
    until("the second hears it too", || (second.desk().reports.len() == 2).then_some(())).await;

    let port = first.address.port();
    second.desk().lease = Lease::Grant(1);
    drop(first);
    outlast(&second).await;
    assert_eq!((state(&second), bench.starts()), (Some(ServiceState::Running), 1));

    let first = Coordinator::start(&bench.pki(), port).await;
    until("what it missed", || (first.desk().reports.len() == 2).then_some(())).await;
    until("heartbeats", || first.newest()).await;
    let stored = agent::coordinators::load(&bench.state()).unwrap();
    assert!(stored.contains(&second.address.to_string()), "{stored:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_not_spoken_to_and_a_revocation_is_taken_over() {
    let bench = Bench::new();
    let stranger = Bench::new();
    let foreign = Coordinator::start(&stranger.pki(), 0).await;
    let coordinator = active(&bench).await;
    let agent = bench.run(&[&foreign, &coordinator], "").await;
    until("a session with its own", || coordinator.has_session().then_some(())).await;
    assert!(!foreign.has_session() && foreign.desk().hellos.is_empty());
    let revoked = [("0badc0de".to_owned(), "lost laptop".to_owned())].into_iter().collect();
    coordinator
        .say(&proto::v1::coordinator_message::Body::Trust(proto::v1::TrustUpdate { revoked }));
    let store = certs::Store::at(bench.state().join("pki"));
    until("the list is stored", || {
        store.load_revoked().unwrap().values().any(|reason| reason == "lost laptop").then_some(())
    })
    .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_what_was_stopped_in_an_emergency_stays_so_over_a_restart_until_it_is_released() {
    let bench = Bench::new();
    let coordinator = active(&bench).await;
    let agent = bench.run(&[&coordinator], "").await;
    promoted(&coordinator).await;
    wait_for(&coordinator, ServiceState::Running).await;
    let file = bench.dir.path().join("agent.toml");
    std::fs::write(&file, bench.toml("")).unwrap();
    let program = |args: &[&str]| {
        let mut command = std::process::Command::new(AGENT);
        command.arg("emergency-stop").args(args).arg("--config").arg(&file);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    program(&["fx", "--reason", "wrong orders"]);
    wait_for(&coordinator, ServiceState::Stopped).await;
    let standing = coordinator.newest().unwrap().groups.remove(0);
    assert!(standing.stopped && standing.barred.contains("wrong orders"), "{standing:?}");
    assert_eq!(lease_left(&coordinator), None);
    // Coordinators would grant and promote all the same: this host does neither.
    outlast(&coordinator).await;
    let asked = coordinator.ask(&promote(3, 1)).await;
    assert!(matches!(asked.outcome, Outcome::Refused(Refusal::Barred { .. })), "{asked:?}");
    agent.stop().await;
    let agent = bench.run(&[&coordinator], "").await;
    outlast(&coordinator).await;
    assert_eq!((state(&coordinator), bench.starts()), (Some(ServiceState::Stopped), 1));
    assert!(program(&["--status"]).contains("wrong orders"));
    assert!(program(&["--release"]).contains("released: fx"));
    wait_for(&coordinator, ServiceState::Running).await;
    bench.started(2).await;
    agent.stop().await;
}
