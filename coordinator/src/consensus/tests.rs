//! Clusters in this process over loopback, each node with its own journal file
//! and behind relays that can be cut.

use super::*;
use model::Wall;
use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Endpoint, Server};

/// Longer than anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a bounded condition.
pub(super) async fn eventually<T, F>(what: &str, mut shown: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(shown) = shown().await {
            return shown;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn record(number: u64) -> Record {
    Record::CertificateRevoked {
        serial: format!("serial-{number}"),
        reason: "a test".into(),
        at: Wall(number),
    }
}

pub(super) fn member(name: &str, address: &str) -> Member {
    Member { name: name.into(), address: address.into(), witness: name.starts_with('w') }
}

pub(super) fn settings(directory: &std::path::Path, member: Member) -> Settings {
    Settings {
        // Twice the product's, for machines that build something else meanwhile.
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(600),
        ..Settings::new(directory, member)
    }
}

/// Passes connections on while the gate is open; breaks them when it closes.
fn relay(mut gate: watch::Receiver<bool>, to: SocketAddr) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((mut inside, _)) = listener.accept().await {
            if !*gate.borrow_and_update() {
                continue;
            }
            let mut gate = gate.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = TcpStream::connect(to).await else { return };
                let _ = outside.set_nodelay(true);
                let _ = inside.set_nodelay(true);
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut inside, &mut outside) => {}
                    _ = gate.wait_for(|open| !*open) => {}
                }
            });
        }
    });
    address
}

/// What a driver has seen.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) state: failover::State,
    pub(super) positions: Vec<Position>,
    pub(super) snapshots: usize,
}

impl Seen {
    fn take(&mut self, applied: Applied) {
        match applied {
            Applied::Record { position, record } => {
                assert!(self.positions.last().is_none_or(|last| *last < position));
                self.state.apply(position, &record);
                self.positions.push(position);
            }
            Applied::Snapshot(state, position) => {
                assert!(self.positions.last().is_none_or(|last| *last <= position));
                self.state = *state;
                self.positions.push(position);
                self.snapshots += 1;
            }
        }
    }

    pub(super) fn holds(&self, number: u64) -> bool {
        self.state.revoked.contains_key(&format!("serial-{number}"))
    }
}

/// One node: its directory outlives its runs.
pub(super) struct TestNode {
    pub(super) directory: TempDir,
    pub(super) name: String,
    /// Where the others reach it.
    pub(super) address: String,
    gate: watch::Sender<bool>,
    at: SocketAddr,
    pub(super) tune: fn(&mut Settings),
    run: Option<(Consensus, JoinHandle<()>)>,
    seen: Arc<Mutex<Seen>>,
}

impl TestNode {
    pub(super) async fn start(name: &str) -> Self {
        Self::start_tuned(name, |_| {}).await
    }

    pub(super) async fn start_tuned(name: &str, tune: fn(&mut Settings)) -> Self {
        let gate = watch::Sender::new(true);
        let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = relay(gate.subscribe(), at).to_string();
        let directory = tempfile::tempdir().unwrap();
        let (name, seen) = (name.to_owned(), Arc::default());
        let mut node = Self { directory, name, address, gate, at, tune, run: None, seen };
        node.run().await;
        node
    }

    pub(super) fn member(&self) -> Member {
        member(&self.name, &self.address)
    }

    /// Starts it (again) on what its directory holds.
    pub(super) async fn run(&mut self) {
        let (applied, mut records) = mpsc::channel(4);
        let seen = Arc::<Mutex<Seen>>::default();
        self.seen = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(applied) = records.recv().await {
                seen.lock().unwrap().take(applied);
            }
        });
        let gate = self.gate.clone();
        let dial: Dialer = Arc::new(move |to: &str| {
            let via = relay(gate.subscribe(), to.parse().unwrap());
            let endpoint = Endpoint::from_shared(format!("http://{via}")).unwrap();
            endpoint.tcp_nodelay(true).connect_timeout(Duration::from_millis(300)).connect_lazy()
        });
        let mut settings = settings(self.directory.path(), self.member());
        (self.tune)(&mut settings);
        let consensus = Consensus::open(settings, dial, applied).await.unwrap();
        let listener = TcpListener::bind(self.at).await.unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let service = consensus.peer_service();
        let server = tokio::spawn(async move {
            let server = Server::builder().tcp_nodelay(true).add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        self.run = Some((consensus, server));
    }

    /// Gives the stopped node another address.
    pub(super) fn move_house(&mut self) {
        assert!(self.run.is_none());
        self.gate = watch::Sender::new(true);
        self.at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.address = relay(self.gate.subscribe(), self.at).to_string();
    }

    /// Stops it and closes its journal.
    pub(super) async fn stop(&mut self) {
        let (consensus, server) = self.run.take().unwrap();
        server.abort();
        let _ = server.await;
        consensus.shutdown().await;
    }

    /// Connects it with the others, or cuts it off from all of them.
    pub(super) fn connect(&self, connected: bool) {
        self.gate.send_replace(connected);
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl std::ops::Deref for TestNode {
    type Target = Consensus;
    fn deref(&self) -> &Consensus {
        &self.run.as_ref().expect("the node is stopped").0
    }
}

/// The one that may act.
pub(super) async fn leader<'a>(nodes: impl IntoIterator<Item = &'a TestNode>) -> &'a TestNode {
    let nodes: Vec<&TestNode> = nodes.into_iter().collect();
    eventually("a leader that may act", || async {
        nodes.iter().find(|node| node.leadership().borrow().ready).copied()
    })
    .await
}

/// Appends through whoever leads, again where it is certain that it was not appended.
pub(super) async fn commit(nodes: &[&TestNode], number: u64) -> Position {
    eventually("a committed record", || async {
        let leader = leader(nodes.iter().copied()).await;
        match leader.append(record(number)).await {
            Ok(position) => Some(position),
            // Appending the same revocation twice leaves the same state.
            Err(AppendError::NotLeader { .. } | AppendError::TimedOut) => None,
            Err(fatal @ AppendError::Fatal(_)) => panic!("{fatal:?}"),
        }
    })
    .await
}

pub(super) async fn sees(node: &TestNode, numbers: std::ops::RangeInclusive<u64>) {
    eventually("the records at every node", || async {
        let seen = node.seen();
        numbers.clone().all(|number| seen.holds(number)).then_some(())
    })
    .await;
}

/// A founded cluster of these names, the first of which founded it.
pub(super) async fn cluster(names: &[&str]) -> Vec<TestNode> {
    cluster_tuned(names, |_| {}).await
}

pub(super) async fn cluster_tuned(names: &[&str], tune: fn(&mut Settings)) -> Vec<TestNode> {
    let mut nodes: Vec<TestNode> = Vec::new();
    for name in names {
        let node = TestNode::start_tuned(name, tune).await;
        assert!(!node.is_initialised().await.unwrap());
        if nodes.is_empty() {
            node.found(node.member()).await.unwrap();
        } else {
            let known: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
            eventually("a newcomer's admission", || async { node.ask_to_join(&known).await.ok() })
                .await;
        }
        nodes.push(node);
        leader(&nodes).await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_alone_leads_and_keeps_its_records() {
    let mut nodes = cluster(&["c1"]).await;
    let node = &mut nodes[0];
    assert!(matches!(node.found(node.member()).await, Err(FoundError::Already)));
    let first = node.append(record(1)).await.unwrap();
    let second = node.append(record(2)).await.unwrap();
    assert!(first < second && first.term == second.term);
    node.confirm_quorum().await.unwrap();
    let (id, before) = (node.id(), node.leadership().borrow().clone());
    assert_eq!(before.leader, Some(Leader { node: id, member: node.member() }));
    sees(node, 1..=2).await;
    let state = node.seen().state;

    node.stop().await;
    node.run().await;
    assert_eq!(node.id(), id);
    leader([&*node]).await;
    sees(node, 1..=2).await;
    assert_eq!(node.seen().state, state);
    // A new leadership has a new term, also of the same node (C4).
    assert!(node.leadership().borrow().term > before.term);
    node.append(record(3)).await.unwrap();

    // It moves, and tells itself.
    assert!(node.joined());
    node.stop().await;
    node.move_house();
    node.run().await;
    leader([&*node]).await;
    assert!(!node.joined());
    node.ask_to_join(&[]).await.unwrap();
    assert!(node.joined());
    assert_eq!(node.members()[0].member, node.member());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_needs_both() {
    let nodes = cluster(&["c1", "c2"]).await;
    for number in 1..=5 {
        commit(&[&nodes[0], &nodes[1]], number).await;
    }
    for node in &nodes {
        sees(node, 1..=5).await;
    }
    let leader = leader(&nodes).await;
    let other = nodes.iter().find(|node| node.id() != leader.id()).unwrap();
    assert!(matches!(
        other.append(record(6)).await,
        Err(AppendError::NotLeader { leader: Some(found) }) if found == leader.member()
    ));
    assert!(matches!(
        other.confirm_quorum().await,
        Err(QuorumError::NotLeader { leader: Some(found) }) if found == leader.member()
    ));
    other.connect(false);
    assert!(leader.append(record(7)).await.is_err());
    other.connect(true);
    commit(&[&nodes[0], &nodes[1]], 8).await;
    sees(other, 8..=8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_stops_another_holds_everything_acknowledged() {
    let mut nodes = cluster(&["c1", "c2", "c3"]).await;
    let mut number = 0;
    for _ in 0..3 {
        let at = leader(&nodes).await.id();
        let term = leader(&nodes).await.leadership().borrow().term;
        for _ in 0..20 {
            number += 1;
            let refs: Vec<&TestNode> = nodes.iter().collect();
            commit(&refs, number).await;
        }
        let at = nodes.iter().position(|node| node.id() == at).unwrap();
        let mut gone = nodes.remove(at);
        gone.stop().await;
        let next = leader(&nodes).await;
        assert!(next.leadership().borrow().term > term);
        sees(next, 1..=number).await;
        number += 1;
        let refs: Vec<&TestNode> = nodes.iter().collect();
        commit(&refs, number).await;
        gone.run().await;
        nodes.push(gone);
        let back = nodes.last().unwrap();
        sees(back, 1..=number).await;
    }
    let states: Vec<_> = nodes.iter().map(|node| node.seen().state.revoked).collect();
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_leader_cut_off_from_its_quorum_confirms_nothing() {
    let nodes = cluster(&["c1", "c2", "c3"]).await;
    let old = leader(&nodes).await;
    old.confirm_quorum().await.unwrap();
    old.connect(false);
    let refused = old.confirm_quorum().await.unwrap_err();
    assert!(
        matches!(refused, QuorumError::NoQuorum { answered: 1, voters: 3 }),
        "{refused:?}: {refused}"
    );
    eventually("the old leader's readiness to go", || async {
        (!old.leadership().borrow().ready).then_some(())
    })
    .await;
    assert!(old.append(record(1)).await.is_err());
    let rest: Vec<&TestNode> = nodes.iter().filter(|node| node.id() != old.id()).collect();
    let next = leader(rest.iter().copied()).await;
    next.confirm_quorum().await.unwrap();
    commit(&rest, 2).await;

    old.connect(true);
    eventually("the old leader to follow", || async {
        let seen = old.leadership().borrow().clone();
        seen.leader.filter(|leader| leader.node != old.id())
    })
    .await;
    sees(old, 2..=2).await;
    assert!(matches!(old.confirm_quorum().await, Err(QuorumError::NotLeader { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_a_witness_that_wins_gives_leadership_away() {
    let nodes = cluster(&["c1", "c2", "w"]).await;
    let witness = &nodes[2];
    for round in 0..5 {
        // Elections that the witness itself calls, as if the leader were silent to it.
        eventually("the witness to campaign", || async {
            witness.node.raft.trigger().elect(false).await.unwrap();
            let won = witness.node.until(Duration::from_millis(300), |now| {
                now.state.is_leader() && now.current_leader == Some(witness.id())
            });
            won.await.then_some(())
        })
        .await;
        let next = leader(&nodes).await;
        assert_ne!(next.id(), witness.id());
        assert!(!witness.leadership().borrow().ready);
        commit(&[&nodes[0], &nodes[1]], round).await;
    }
    sees(witness, 0..=4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_and_one_coordinator_carry_on() {
    let mut nodes = cluster(&["c1", "c2", "w"]).await;
    commit(&[&nodes[0], &nodes[1]], 1).await;
    let at = leader(&nodes).await.id();
    let at = nodes.iter().position(|node| node.id() == at).unwrap();
    let mut gone = nodes.remove(at);
    gone.stop().await;
    let next = leader(&nodes).await;
    assert!(!next.member().witness);
    commit(&[next], 2).await;
    sees(next, 1..=2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_node_gets_the_snapshot_and_a_restart_replays_to_the_same_state() {
    let tune = |settings: &mut Settings| {
        settings.snapshot_every = 20;
        settings.snapshot_keep = 5;
    };
    let mut nodes = cluster_tuned(&["c1", "c2", "c3"], tune).await;
    let ahead = leader(&nodes).await.id();
    let at = nodes.iter().position(|node| node.id() != ahead).unwrap();
    let mut late = nodes.remove(at);
    late.stop().await;
    let refs: Vec<&TestNode> = nodes.iter().collect();
    for number in 1..=70 {
        commit(&refs, number).await;
    }
    eventually("a short log", || async {
        let purged = nodes[0].node.metrics().purged?.index;
        (purged > 40).then_some(())
    })
    .await;
    late.run().await;
    sees(&late, 1..=70).await;
    assert!(late.seen().snapshots >= 1, "it replayed entries that were removed");
    nodes.push(late);

    for number in 71..=75 {
        let refs: Vec<&TestNode> = nodes.iter().collect();
        commit(&refs, number).await;
    }
    for node in &mut nodes {
        sees(node, 1..=75).await;
        let live = node.seen().state;
        node.stop().await;
        node.run().await;
        // What was not yet known to be committed comes with the next leader.
        let recovered = node.seen();
        assert!(recovered.snapshots <= 1);
        eventually("the state from before", || async { (node.seen().state == live).then_some(()) })
            .await;
    }
}
