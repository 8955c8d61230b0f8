//! Consensus: the journal that all coordinators and the witness share.
//!
//! The only importer of the Raft library and of the journal's database. Gives
//! the rest of the coordinator four things: append a record (C1), be told every
//! committed record in order, know who leads, and confirm with a quorum that
//! this node still does (C2). What records mean and who may connect is decided
//! elsewhere.
//!
//! Invariants: nothing is acknowledged before it is on the disk; a node's number
//! dies with its journal, so nobody votes twice in a term; a leader acts only
//! after it has applied everything before its term; a failed durable write ends
//! the process.

mod append;
mod fatal;
mod join;
mod journal;
mod leadership;
mod log_store;
mod machine;
mod members;
mod network;
mod node;
mod offline;
mod service;
mod types;
mod witness;

pub use append::AppendError;
pub use fatal::FatalError;
pub use join::JoinError;
pub use journal::{JOURNAL_FILE, JournalError};
pub use leadership::{Leader, Leadership};
pub use members::{ChangeError, MemberStatus, TransferError};
pub use network::Dialer;
pub use node::QuorumError;
pub use offline::{OfflineError, read as read_offline};
pub use service::{Caller, PeerService};
pub use types::{Applied, Member, Settings};

use failover::{Position, Record};
use fatal::Fatality;
use journal::Journal;
use log_store::LogStore;
use machine::Machine;
use network::{Factory, Links};
use node::Node;
use openraft::{
    Config, SnapshotPolicy,
    errors::{InitializeError, RaftError},
};
use proto::v1::peer_server::PeerServer;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use types::Raft;

/// What a log filter says of the Raft library by default: it tells every
/// missed heartbeat, and what matters is said here again.
pub const LIBRARY_LOG: &str = "openraft=error";
/// How long the library, and then the journal's file, may take to close.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Why consensus does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal.
    #[error("the journal cannot be used")]
    Journal(#[source] JournalError),
    /// The timing in the configuration.
    #[error("[timing] cannot work: {0}; use for example heartbeat 50ms, election 150ms to 300ms")]
    Timing(String),
    /// The library did not start, or a task of ours did not end well.
    #[error("the consensus does not start: {0}")]
    Library(String),
    /// The receiver of [`Applied`] is already gone.
    #[error("nobody takes the committed records")]
    DriverGone,
}

/// Why no cluster was founded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FoundError {
    /// There is one already.
    #[error("this coordinator already belongs to a cluster")]
    Already,
    /// Consensus has ended in this process.
    #[error("the consensus has ended in this process")]
    Fatal(#[source] Arc<FatalError>),
}

/// This node's part in the consensus. Clones are the same part.
#[derive(Clone)]
pub struct Consensus {
    node: Arc<Node>,
    running: Arc<Mutex<Option<Running>>>,
}

struct Running {
    tasks: Vec<JoinHandle<()>>,
    closed: mpsc::Receiver<Infallible>,
}

impl Consensus {
    /// Opens the journal and takes part. If the journal holds anything, the
    /// first message in `applied` is [`Applied::Snapshot`] of all of it that is
    /// known to be committed; records follow as they are committed. The channel
    /// may be as short as one; its receiver must live until [`Self::shutdown`]
    /// has returned.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub async fn open(
        settings: Settings,
        dial: Dialer,
        applied: mpsc::Sender<Applied>,
    ) -> Result<Self, OpenError> {
        let config = config(&settings)?;
        let fatality = Arc::new(Fatality::default());
        let (journal, closed, machine) = recover(&settings, &applied, &fatality).await?;
        if let Some(recovered) = machine.recovered() {
            applied.send(recovered).await.map_err(|_| OpenError::DriverGone)?;
        }
        let id = journal.node();
        let links = Arc::new(Links::new(id, dial));
        let factory = Factory(Arc::clone(&links));
        let store = LogStore(journal);
        let raft = Raft::new(id, Arc::new(config), factory, store, machine);
        let raft = raft.await.map_err(|why| OpenError::Library(why.to_string()))?;
        let witness = settings.member.witness;
        let node = Arc::new(Node {
            id,
            settings,
            raft,
            links,
            fatality,
            leadership: watch::Sender::default(),
            changing: tokio::sync::Mutex::default(),
            doubt: tokio::sync::Notify::new(),
        });
        let mut tasks = vec![tokio::spawn(Arc::clone(&node).watch_leadership())];
        if witness {
            tasks.push(tokio::spawn(Arc::clone(&node).yield_leadership()));
        }
        let running = Arc::new(Mutex::new(Some(Running { tasks, closed })));
        Ok(Self { node, running })
    }

    /// This node's number: drawn at random when its journal was created.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.node.id
    }

    /// Whether this node belongs to a cluster: founded here, or joined.
    ///
    /// # Errors
    /// When consensus has ended in this process.
    pub async fn is_initialised(&self) -> Result<bool, Arc<FatalError>> {
        self.node.is_initialised().await
    }

    /// Founds a cluster of this node alone.
    ///
    /// # Errors
    /// [`FoundError::Already`] when there is one, which does no harm.
    pub async fn found(&self, member: Member) -> Result<(), FoundError> {
        let alone = std::collections::BTreeMap::from([(self.node.id, member)]);
        match self.node.raft.initialize(alone).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(
                InitializeError::NotAllowed(_) | InitializeError::NotInMembers(_),
            )) => Err(FoundError::Already),
            Err(RaftError::Fatal(why)) => Err(FoundError::Fatal(self.node.ended(&why))),
        }
    }

    /// Whether this node is a voter under the name and address that it has now,
    /// as far as it knows. If not, and it shall not found a cluster, it must ask
    /// to join: at its first start, after a move, and when an earlier admission
    /// was cut short.
    #[must_use]
    pub fn joined(&self) -> bool {
        self.node.joined()
    }

    /// Asks the coordinators at these addresses ("host:port"), and the leader
    /// that they name, to admit this node. Idempotent; also tells a new address.
    ///
    /// # Errors
    /// [`JoinError`] with what each of them answered.
    pub async fn ask_to_join(&self, addresses: &[String]) -> Result<(), JoinError> {
        self.node.ask_to_join(addresses).await
    }

    /// Appends a record (C1). When this returns its place, it is committed, and
    /// applied here; within 2 s it returns one way or the other.
    ///
    /// # Errors
    /// [`AppendError`] says whether the record may still become committed.
    pub async fn append(&self, record: Record) -> Result<Position, AppendError> {
        self.node.append(record).await
    }

    /// Asks a quorum, after this call, whether this node still leads (C2). One
    /// round serves every request that came before it began. Answers within 2 s.
    ///
    /// # Errors
    /// [`QuorumError`]: it must not act as the leader.
    pub async fn confirm_quorum(&self) -> Result<(), QuorumError> {
        self.node.confirm_quorum().await
    }

    /// Who leads, and whether this node may act, as it changes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.node.leadership.subscribe()
    }

    /// All members as this node knows them.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        self.node.members()
    }

    /// Makes a node a voter, on the leader: it gets the journal first, then its
    /// vote. A member of the same name that is dead is replaced. For a member
    /// that is known its new address is noted.
    ///
    /// # Errors
    /// [`ChangeError`]; asking again does no harm.
    pub async fn admit(&self, node: u64, member: Member) -> Result<(), ChangeError> {
        self.node.admit(node, member).await
    }

    /// Removes a member, on the leader.
    ///
    /// # Errors
    /// [`ChangeError`]; the last coordinator that may lead is not removed.
    pub async fn remove(&self, node: u64) -> Result<(), ChangeError> {
        self.node.remove(node).await
    }

    /// Hands leadership to another coordinator, on the leader.
    ///
    /// # Errors
    /// [`TransferError`] says where leadership is instead.
    pub async fn transfer_leadership(&self, to: u64) -> Result<(), TransferError> {
        self.node.transfer_leadership(to).await
    }

    /// What the other members ask of this node. Its caller must be checked to be
    /// a coordinator or witness before; see [`Caller`].
    #[must_use]
    pub fn peer_service(&self) -> PeerServer<PeerService> {
        PeerService::server(Arc::clone(&self.node))
    }

    /// Waits for the error after which this process must end, and answers it.
    pub async fn fatal(&self) -> Arc<FatalError> {
        self.node.fatality.wait().await
    }

    /// Takes no part any more, and closes the journal's file. Not an error for
    /// [`Self::fatal`]; a second call does nothing.
    pub async fn shutdown(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { tasks, mut closed }) = running else { return };
        self.node.fatality.begin_shutdown();
        for task in &tasks {
            task.abort();
        }
        self.node.leadership.send_modify(|last| (last.leader, last.ready) = (None, false));
        let stopped = timeout(SHUTDOWN, self.node.raft.shutdown()).await;
        // The sender lives in the journal and is dropped after its file.
        let closed = timeout(SHUTDOWN, closed.recv()).await;
        if stopped.is_err() || closed.is_err() {
            tracing::warn!(
                "the journal did not close within {SHUTDOWN:?}; the next start checks it"
            );
        }
    }
}

type Recovered = (Arc<Journal>, mpsc::Receiver<Infallible>, Machine);

async fn recover(
    settings: &Settings,
    applied: &mpsc::Sender<Applied>,
    fatality: &Arc<Fatality>,
) -> Result<Recovered, OpenError> {
    let directory = settings.directory.clone();
    let (applied, fatality) = (applied.clone(), Arc::clone(fatality));
    let work = move || {
        let (journal, closed) = Journal::open(&directory, Arc::clone(&fatality))?;
        let machine = Machine::recover(&journal, applied, fatality)?;
        Ok((journal, closed, machine))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(recovered) => recovered.map_err(OpenError::Journal),
        Err(task) => Err(OpenError::Library(task.to_string())),
    }
}

fn config(settings: &Settings) -> Result<Config, OpenError> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // A witness that wins must hand over, which costs a second election. So it
    // waits for one whole election time longer than any coordinator: it still
    // campaigns, and wins, when no coordinator can.
    let spread = settings.election_max.saturating_sub(settings.election_min);
    let (election_min, election_max) = match settings.member.witness {
        false => (settings.election_min, settings.election_max),
        true => (settings.election_max, settings.election_max + spread),
    };
    let config = Config {
        cluster_name: "understudy".into(),
        heartbeat_interval: ms(settings.heartbeat),
        election_timeout_min: ms(election_min),
        election_timeout_max: ms(election_max),
        // A cut-off member that returns must not unseat a good leader.
        enable_pre_vote: Some(true),
        // A restarted leader is elected anew: its grants before the restart are
        // counted from an election (C4), and everything committed is applied first.
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_every),
        max_in_snapshot_log_to_keep: settings.snapshot_keep,
        // A snapshot is sent and installed in one message.
        install_snapshot_timeout: 30_000,
        // A member that returns is served again within half a second.
        backoff: "100ms 200ms 400ms ...500ms".into(),
        ..Config::default()
    };
    config.validate().map_err(|why| OpenError::Timing(why.to_string()))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_journal;
#[cfg(test)]
mod tests_members;
#[cfg(test)]
mod tests_process;
#[cfg(test)]
mod tests_service;
