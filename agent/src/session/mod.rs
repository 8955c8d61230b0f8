//! One coordinator, twice: the session (heartbeats and reports up, assignments
//! and commands down) and, on a connection of its own, the lease traffic (A4).
//!
//! Each of the two dials, speaks, and dials again for ever; what it hears goes
//! to the driver as a [`Heard`], already in the model's types. It decides
//! nothing. Invariants: nothing here can hold up the driver (what cannot be
//! sent at once is dropped, and of heartbeats only the newest is ever waiting);
//! a message that makes no sense is dropped, in words, and costs nobody else anything.

mod lease;
mod stream;

use crate::task::Tasks;
use certs::{Expected, Link, Trust};
use daemon::backoff::Backoff;
use model::{
    Command, GroupAssignment, HostId, HostOrder, LeaseReply, LeaseRequest, StepReport, StopOrder,
    Term,
};
use proto::v1;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::sleep,
};

/// First wait after a lost connection, and the longest one.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(1);
/// Percent by which a wait may be shorter, so that agents do not return as one.
const RETRY_JITTER: u8 = 50;
/// How long a coordinator may take from the dial to its first message.
const WELCOME_LIMIT: Duration = Duration::from_secs(5);
/// Reports that may wait for one coordinator; what does not fit is sent again
/// at the next connection or when the command is repeated.
const REPORTS_MAX: usize = 64;
/// Lease requests that may wait for one coordinator: more would be older than
/// a lease anyway.
const REQUESTS_MAX: usize = 16;

/// The bounds of a session's connection: a cut is noticed within four seconds.
const SESSION_LINK: Link = Link {
    connect: Duration::from_secs(3),
    keepalive_interval: Duration::from_secs(2),
    keepalive_timeout: Duration::from_secs(2),
    user_timeout: Duration::from_secs(4),
    call: None,
};
/// The bounds of the lease connection (A4): within two seconds, so that the
/// usual lease (5 s) outlives one lost connection.
const LEASE_LINK: Link = Link {
    connect: Duration::from_secs(2),
    keepalive_interval: Duration::from_secs(1),
    keepalive_timeout: Duration::from_secs(1),
    user_timeout: Duration::from_secs(2),
    call: None,
};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It could not be made.
    #[error("{}", certs::explain(.0))]
    Connect(#[from] certs::ConnectError),
    /// The coordinator refused the call, or the connection was lost.
    #[error("{}", certs::explain_status(.0))]
    Call(Box<tonic::Status>),
    /// The two programs are too far apart.
    #[error(transparent)]
    Skew(#[from] proto::SkewError),
    /// It connected and then said nothing.
    #[error("it did not welcome this agent within {} s", WELCOME_LIMIT.as_secs())]
    Silent,
    /// Its first message was another one.
    #[error("its first message was not a welcome")]
    NotWelcomed,
    /// It ended the stream.
    #[error("it ended the stream")]
    Ended,
}

impl From<tonic::Status> for SessionError {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// What came from one coordinator.
#[derive(Debug)]
pub enum Heard {
    /// A session is up; reports for it go there.
    Up(mpsc::Sender<StepReport>),
    /// Its welcome: where coordinators are.
    Welcome(Vec<String>),
    /// What it says of this host's groups.
    Assignment {
        /// Each group.
        groups: Vec<GroupAssignment>,
        /// The term of the coordinator that says so.
        term: Term,
        /// The newest order for this host.
        order: Option<HostOrder>,
        /// The newest emergency stop, or release, of each group.
        stops: Vec<StopOrder>,
    },
    /// Something to do.
    Command(Command),
    /// The session is gone.
    Down,
    /// Lease traffic can flow; requests go there.
    LeaseUp(mpsc::Sender<LeaseRequest>),
    /// The answer to a lease request.
    Lease(LeaseReply),
    /// Lease traffic cannot flow.
    LeaseDown,
}

/// A [`Heard`] with the number of the coordinator that said it.
pub type FromPeer = (usize, Heard);

/// What every connection of this agent needs.
#[derive(Debug, Clone)]
pub struct Caller {
    /// This host.
    pub host: HostId,
    /// The random number of this start of the agent.
    pub boot: u64,
    /// Credentials.
    pub trust: Trust,
    /// Takes up what operators order.
    pub tasks: Tasks,
    /// The newest heartbeat.
    pub heartbeat: watch::Receiver<Arc<v1::Heartbeat>>,
    /// To the driver.
    pub heard: mpsc::Sender<FromPeer>,
}

/// The two tasks for one coordinator; dropping it ends them.
#[derive(Debug)]
pub struct Calls {
    tasks: [AbortHandle; 2],
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Calls {
    /// Begins to call the coordinator at `address`; `peer` is the driver's
    /// number for it.
    #[must_use]
    pub fn begin(caller: &Caller, peer: usize, address: &str) -> Self {
        let line = Line { caller: caller.clone(), peer, address: address.into() };
        let tasks = [Kind::Session, Kind::Lease].map(|kind| {
            let line = line.clone();
            tokio::spawn(async move { line.for_ever(kind).await }).abort_handle()
        });
        Self { tasks }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Session,
    Lease,
}

/// How calling one coordinator goes.
struct Tries {
    backoff: Backoff,
    said: String,
}

impl Tries {
    /// The coordinator answered: the next fault is news again.
    fn worked(&mut self) {
        self.backoff.reset();
        self.said.clear();
    }
}

#[derive(Debug, Clone)]
struct Line {
    caller: Caller,
    peer: usize,
    address: String,
}

impl Line {
    async fn tell(&self, heard: Heard) {
        // The driver is only gone when the agent ends.
        let _ = self.caller.heard.send((self.peer, heard)).await;
    }

    async fn connect(&self, link: &Link) -> Result<tonic::transport::Channel, SessionError> {
        Ok(certs::connect(&self.caller.trust, &self.address, &Expected::coordinator(), link)
            .await?)
    }

    /// Calls again and again; a fault is logged when it begins and when it changes.
    async fn for_ever(&self, kind: Kind) {
        let backoff = Backoff::from_os(RETRY_FIRST, RETRY_CAP, RETRY_JITTER);
        let mut tries = Tries { backoff, said: String::new() };
        loop {
            let ended = match kind {
                Kind::Session => stream::session(self, &mut tries).await,
                Kind::Lease => lease::traffic(self, &mut tries).await,
            };
            let (what, down) = match kind {
                Kind::Session => ("session", Heard::Down),
                Kind::Lease => ("lease traffic", Heard::LeaseDown),
            };
            self.tell(down).await;
            let error = ended.to_string();
            if error == tries.said {
                tracing::debug!(coordinator = %self.address, error, "no {what}");
            } else {
                tracing::warn!(coordinator = %self.address, error, "no {what}; trying again");
                tries.said = error;
            }
            sleep(tries.backoff.wait()).await;
        }
    }
}
