//! Promises between two real agents, over mTLS (A6).

use crate::{
    bench::{Bench, assignment, lease_left, promote, start, state},
    coordinator::{Coordinator, Lease, until},
};
use certs::{Expected, Link, RoleKind, Trust};
use model::{
    Epoch, GroupAssignment, GroupStanding, HostId, Millis, Nonce, Outcome, PeerAddress,
    PromiseRefusal, PromiseReply, PromiseRequest, Refusal, ServiceState, SiteId,
};
use proto::v1::{self, agent_peer_client::AgentPeerClient};
use std::time::{Duration, Instant};

const PEER: &str = "[peer]\nlisten = \"127.0.0.1:0\"\n";
/// T: two rounds of promises fit on a busy machine.
const LEASE: u64 = 5000;

fn standing(coordinator: &Coordinator) -> Option<GroupStanding> {
    coordinator.newest()?.groups.first().cloned()
}

/// Where the agent says that others reach it.
async fn address(coordinator: &Coordinator) -> String {
    until("its address", || {
        coordinator.newest().map(|newest| newest.peer).filter(|at| !at.is_empty())
    })
    .await
}

fn at(host: &str, address: &str) -> Option<Vec<PeerAddress>> {
    let host = HostId::new(host).unwrap();
    Some(vec![PeerAddress { host, address: address.into() }])
}

/// The active host p1 and its standby s1, each with a coordinator of its own.
struct Pair {
    p1: Coordinator,
    s1: Coordinator,
    agents: Vec<crate::bench::Running>,
    /// Directories of both.
    benches: [Bench; 2],
}

impl Pair {
    async fn new() -> Self {
        let bench = Bench::new();
        let other = bench.beside("s1");
        let p1 = Coordinator::start(&bench.pki(), 0).await;
        let s1 = Coordinator::start(&other.pki(), 0).await;
        let agents = vec![bench.run(&[&p1], PEER).await, other.run(&[&s1], PEER).await];
        let pair = Self { p1, s1, agents, benches: [bench, other] };
        pair.s1.assign(pair.of_standby(), 1);
        let active = GroupAssignment {
            failsafe: at("s1", &address(&pair.s1).await),
            ..assignment(1, Some("primary"), LEASE)
        };
        pair.p1.desk().length = Millis(LEASE);
        pair.p1.desk().lease = Lease::Grant(1);
        // Its promotion would wait for what it may have promised before its start,
        // were there failsafe from the beginning.
        pair.p1.assign(assignment(1, Some("primary"), LEASE), 1);
        for command in [promote(1, 1), start(2, 1)] {
            let report = pair.p1.ask(&command).await;
            assert!(matches!(report.outcome, Outcome::Done { .. }), "{report:?}");
        }
        pair.p1.assign(active, 1);
        pair
    }

    fn of_standby(&self) -> GroupAssignment {
        GroupAssignment {
            site: SiteId::new("standby").unwrap(),
            failsafe: at("p1", ""),
            ..assignment(1, Some("primary"), LEASE)
        }
    }

    async fn stop(self) {
        for agent in self.agents {
            agent.stop().await;
        }
    }
}

fn to_s1(mut command: model::Command) -> model::Command {
    command.host = HostId::new("s1").unwrap();
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_the_active_site_goes_on_by_promises_until_one_is_refused() {
    let pair = Pair::new().await;
    // The one that promises is free once it cannot have forgotten a promise.
    until("s1 is free", || standing(&pair.s1)?.promised.is_none().then_some(())).await;
    pair.p1.desk().lease = Lease::Silent;
    let silent = Instant::now();
    until("failsafe", || standing(&pair.p1)?.failsafe.then_some(())).await;
    let promised = until("a promise", || standing(&pair.s1)?.promised).await;
    assert!(promised <= Millis(LEASE + 50 + 250), "{promised}");
    until("a lease's length without a grant", || {
        (silent.elapsed() > Duration::from_millis(LEASE + 500)).then_some(())
    })
    .await;
    assert!(lease_left(&pair.p1).is_some(), "the lease goes on");
    assert_eq!((state(&pair.p1), pair.benches[0].starts()), (Some(ServiceState::Running), 1));

    let report = pair.s1.ask(&to_s1(promote(5, 2))).await;
    let Outcome::Refused(Refusal::Promised { left }) = report.outcome else { panic!("{report:?}") };
    assert!(left > Millis::ZERO);

    // A higher epoch is committed: s1 hears of it, and p1 does not.
    pair.s1.assign(GroupAssignment { epoch: Epoch(2), ..pair.of_standby() }, 1);
    until("p1 stops", || (state(&pair.p1) == Some(ServiceState::Stopped)).then_some(())).await;
    let standing = standing(&pair.p1).unwrap();
    assert!(!standing.failsafe && standing.lease_left.is_none());
    assert_eq!(standing.epoch, Epoch(1), "a peer's word is not adopted");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_a_restarted_agent_may_have_forgotten_a_promise() {
    let pair = Pair::new().await;
    let Pair { p1, s1, mut agents, benches } = pair;
    agents.pop().unwrap().stop().await;
    s1.desk().heartbeats.clear();
    s1.desk().lease = Lease::Grant(2);
    agents.push(benches[1].run(&[&s1], PEER).await);
    let first = until("its first word", || standing(&s1)).await;
    assert!(first.promised.is_some(), "{first:?}");
    let report = s1.ask(&to_s1(promote(5, 2))).await;
    assert!(matches!(report.outcome, Outcome::Refused(Refusal::Promised { .. })), "{report:?}");
    until("it is free", || standing(&s1)?.promised.is_none().then_some(())).await;
    let report = s1.ask(&to_s1(promote(6, 2))).await;
    assert!(matches!(report.outcome, Outcome::Done { .. }), "{report:?}");
    Pair { p1, s1, agents, benches }.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_an_agent_speaks_only_for_itself_and_an_active_one_refuses() {
    let pair = Pair::new().await;
    let to = address(&pair.p1).await;
    let ask = |pki: std::path::PathBuf, host: &str| {
        let request = PromiseRequest {
            group: crate::coordinator::group(),
            host: HostId::new(host).unwrap(),
            epoch: Epoch(1),
            nonce: Nonce(7),
            lease: Millis(LEASE),
        };
        let to = to.clone();
        async move {
            let trust = Trust::load(pki).unwrap();
            let expected = Expected::role(RoleKind::Agent).named("p1");
            let channel = certs::connect(&trust, &to, &expected, &Link::default()).await.unwrap();
            AgentPeerClient::new(channel).promise(v1::PromiseRequest::from(request)).await
        }
    };
    let own = pair.benches[1].state().join("pki");
    let denied = ask(own.clone(), "p1").await.unwrap_err();
    assert_eq!(denied.code(), tonic::Code::PermissionDenied);
    assert!(denied.message().contains("may not ask for `p1`"), "{denied}");
    let denied = ask(pair.benches[1].pki(), "s1").await.unwrap_err();
    assert!(denied.message().contains("only agents may call"), "{denied}");
    let reply = PromiseReply::try_from(ask(own, "s1").await.unwrap().into_inner()).unwrap();
    let PromiseReply::Refused { nonce, reason, .. } = reply else { panic!("{reply:?}") };
    assert_eq!((nonce, reason), (Nonce(7), PromiseRefusal::Active));
    pair.stop().await;
}
