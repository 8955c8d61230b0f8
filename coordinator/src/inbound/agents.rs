//! Agents' sessions and lease streams, on every voter: the leader's driver
//! hears them directly, the others relay them to it (C6).
//!
//! A host may only speak for itself: every message's host must be the name in
//! its certificate. A message that cannot be understood ends the session with
//! the reason in words; the agent reconnects and the reason is in both logs.

use crate::{
    consensus::Consensus,
    driver::Handle,
    outbound::{
        agents::{Agents, QUEUE},
        tasks::Tasks,
    },
    relay::{Eyes, Uplink},
};
use certs::{Allow, Trust, require};
use failover::{Asker, Event};
use model::{Heartbeat, HostId, LeaseRefusal, LeaseReply, LeaseRequest, StepReport};
use proto::{
    convert::WireError,
    v1::{self, agent_link_server::AgentLink, agent_message::Body, coordinator_message as down},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How long a new session may take to say who it is.
pub(super) const HELLO: Duration = Duration::from_secs(5);
/// Agents send heartbeats 20 ms apart at the least.
const HEARTBEAT_MIN: Duration = Duration::from_millis(5);
/// How often the list of coordinators is looked at for a change.
const MEMBERS_EVERY: Duration = Duration::from_secs(2);

/// What this voter does with what agents say, besides passing it on.
#[derive(Clone)]
pub enum Ears {
    /// A coordinator's: its engine hears everything, so that it knows the hosts
    /// when it comes to lead.
    Driver(Handle),
    /// A witness's: it has no engine.
    Witness(Arc<AtomicU64>),
}

impl Ears {
    /// A witness's ears.
    #[must_use]
    pub fn of_a_witness() -> Self {
        Self::Witness(Arc::new(AtomicU64::new(1)))
    }

    fn asker(&self) -> Asker {
        match self {
            Self::Driver(handle) => handle.asker(),
            Self::Witness(last) => Asker(last.fetch_add(1, Ordering::Relaxed)),
        }
    }

    async fn event(&self, event: Event) {
        match self {
            Self::Driver(handle) => handle.event(event).await,
            Self::Witness(_) => {}
        }
    }
}

/// The service.
#[derive(Clone)]
pub struct AgentService {
    ears: Ears,
    agents: Agents,
    consensus: Consensus,
    trust: Trust,
    uplink: Uplink,
    eyes: Eyes,
}

impl AgentService {
    /// The service of a voter that hears with `ears`, sees with `eyes`, and
    /// relays by `uplink`.
    #[must_use]
    pub fn new(
        ears: Ears,
        agents: Agents,
        consensus: Consensus,
        trust: Trust,
        uplink: Uplink,
        eyes: Eyes,
    ) -> Self {
        Self { ears, agents, consensus, trust, uplink, eyes }
    }

    /// Every voter is to be called: those that do not lead relay and observe.
    fn welcome(&self) -> v1::Welcome {
        let members = self.consensus.members().into_iter();
        let mut coordinators: Vec<String> = members.map(|status| status.member.address).collect();
        coordinators.sort();
        v1::Welcome {
            version: Some(proto::own_version()),
            coordinator: self.trust.identity().name().to_owned(),
            coordinators,
        }
    }

    /// Tells every agent when the coordinators change; runs until dropped.
    pub async fn watch_members(self) {
        let mut told = self.welcome();
        let mut ticks = tokio::time::interval(MEMBERS_EVERY);
        loop {
            ticks.tick().await;
            let now = self.welcome();
            if now != told {
                self.agents.welcome(&now);
                told = now;
            }
        }
    }

    pub(super) const fn tasks(&self) -> &Tasks {
        self.agents.tasks()
    }

    async fn serve(
        self,
        host: HostId,
        mut incoming: Streaming<v1::AgentMessage>,
        out: mpsc::Sender<Result<v1::CoordinatorMessage, Status>>,
    ) {
        // Before the session is known to anybody else: the Welcome must come first.
        let first = [down::Body::Welcome(self.welcome()), down::Body::Trust(self.trust().await)];
        for body in first {
            // A queue that is full at its start belongs to nobody who listens.
            let _ = out.try_send(Ok(v1::CoordinatorMessage { body: Some(body) }));
        }
        let number = self.agents.enter(&host, out.clone());
        self.ears.event(Event::SessionOpened { host: host.clone() }).await;
        self.uplink.opened(&host);
        tracing::info!(%host, "agent connected");
        let mut last = None;
        let end = loop {
            match incoming.message().await {
                Ok(Some(message)) => {
                    if too_soon(&message, &mut last) {
                        continue;
                    }
                    if let Err(status) = self.take(&host, message).await {
                        tracing::warn!(%host, reason = status.message(), "agent refused");
                        let _ = out.try_send(Err(status));
                        break "refused".to_owned();
                    }
                }
                Ok(None) => break "closed".to_owned(),
                Err(status) => break status.message().to_owned(),
            }
        };
        if self.agents.leave(&host, number) {
            self.ears.event(Event::SessionOpened { host: host.clone() }).await;
        }
        tracing::info!(%host, %end, "agent disconnected");
    }

    async fn trust(&self) -> v1::TrustUpdate {
        let revoked = match &self.ears {
            Ears::Driver(handle) => {
                let asked = handle.query(|engine, _| engine.state().revoked.clone()).await;
                asked.unwrap_or_default()
            }
            Ears::Witness(_) => self.trust.revoked(),
        };
        v1::TrustUpdate { revoked: revoked.into_iter().collect() }
    }

    async fn take(&self, host: &HostId, message: v1::AgentMessage) -> Result<(), Status> {
        match message.body {
            Some(Body::Heartbeat(said)) => {
                let heartbeat = Heartbeat::try_from(said.clone()).map_err(|e| misunderstood(&e))?;
                own(host, &heartbeat.host)?;
                self.eyes.heard(host);
                self.uplink.heartbeat(host, said);
                if let Ears::Driver(handle) = &self.ears
                    && !handle.offer(Event::Heartbeat(Box::new(heartbeat)))
                {
                    tracing::warn!(%host, "a heartbeat was dropped: this coordinator is behind");
                }
                Ok(())
            }
            Some(Body::Report(said)) => {
                let report = StepReport::try_from(said.clone()).map_err(|e| misunderstood(&e))?;
                own(host, &report.host)?;
                tracing::info!(%host, id = %report.id, outcome = ?report.outcome, "report");
                self.uplink.report(said);
                self.ears.event(Event::Report(Box::new(report))).await;
                Ok(())
            }
            Some(Body::Hello(_)) => Err(Status::invalid_argument("a session begins once")),
            // By the skew rule: what we do not know, a newer agent can do without.
            None => Ok(()),
        }
    }

    async fn serve_leases(
        self,
        host: HostId,
        asker: Asker,
        mut incoming: Streaming<v1::LeaseRequest>,
        out: mpsc::Sender<Result<v1::LeaseReply, Status>>,
    ) {
        self.agents.enter_lease(asker, out.clone());
        while let Ok(Some(said)) = incoming.message().await {
            let request = LeaseRequest::try_from(said.clone())
                .map_err(|error| misunderstood(&error))
                .and_then(|request| own(&host, &request.host).map(|()| request));
            match request {
                Ok(request) => self.renew(asker, request, said),
                Err(status) => {
                    tracing::warn!(%host, reason = status.message(), "lease request refused");
                    let _ = out.try_send(Err(status));
                    break;
                }
            }
        }
        self.agents.leave_lease(asker);
    }

    /// A renewal goes to the leader, by the relay where another voter leads
    /// (C6); where nobody is known to lead it is refused here.
    fn renew(&self, asker: Asker, request: LeaseRequest, said: v1::LeaseRequest) {
        if self.uplink.renewal(asker, said) {
            return;
        }
        match &self.ears {
            // Dropped when the queue is full: the agent asks again in a heartbeat.
            Ears::Driver(handle) => drop(handle.offer(Event::Renewal { asker, request })),
            Ears::Witness(_) => {
                let term = self.consensus.leadership().borrow().term;
                let (group, nonce) = (request.group, request.nonce);
                let reason = LeaseRefusal::NotLeader;
                self.agents.answer(asker, LeaseReply::Refused { group, nonce, term, reason });
            }
        }
    }
}

/// Whether a heartbeat comes sooner after the last than any honest agent sends
/// one; it is dropped, so that one host cannot crowd out the others.
fn too_soon(message: &v1::AgentMessage, last: &mut Option<Instant>) -> bool {
    if !matches!(message.body, Some(Body::Heartbeat(_))) {
        return false;
    }
    let now = Instant::now();
    if last.is_some_and(|last| now.duration_since(last) < HEARTBEAT_MIN) {
        return true;
    }
    *last = Some(now);
    false
}

fn misunderstood(error: &WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn own(host: &HostId, claimed: &HostId) -> Result<(), Status> {
    if host == claimed {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "the certificate is for host `{host}`, the message is from `{claimed}`"
    )))
}

fn host_of<T>(request: &Request<T>, call: &str) -> Result<HostId, Status> {
    let peer = require(request, call, &[Allow::Agents])?;
    HostId::new(peer.identity.name()).map_err(|e| Status::permission_denied(e.to_string()))
}

#[tonic::async_trait]
impl AgentLink for AgentService {
    type SessionStream = ReceiverStream<Result<v1::CoordinatorMessage, Status>>;
    type LeaseStream = ReceiverStream<Result<v1::LeaseReply, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let host = host_of(&request, "AgentLink.Session")?;
        let mut incoming = request.into_inner();
        let (out, stream) = mpsc::channel(QUEUE);
        let service = self.clone();
        // The answer's headers go out at once: the agent waits for them before it speaks.
        tokio::spawn(async move {
            match tokio::time::timeout(HELLO, incoming.message()).await {
                Ok(Ok(Some(v1::AgentMessage { body: Some(Body::Hello(hello)) }))) => {
                    if let Err(status) = greet(&host, &hello) {
                        tracing::warn!(%host, reason = status.message(), "agent refused");
                        let _ = out.try_send(Err(status));
                        return;
                    }
                    service.tasks().hello(&host, hello.version.map_or(0, |own| own.minor));
                    service.serve(host, incoming, out).await;
                }
                Ok(Ok(_)) => {
                    let words = "a session begins with Hello";
                    let _ = out.try_send(Err(Status::invalid_argument(words)));
                }
                Ok(Err(_)) => {}
                Err(_) => {
                    let words = format!("no Hello within {HELLO:?}");
                    let _ = out.try_send(Err(Status::deadline_exceeded(words)));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn task_output(
        &self,
        request: Request<Streaming<v1::TaskUp>>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let host = host_of(&request, "AgentLink.TaskOutput")?;
        self.serve_task(host, request.into_inner()).await.map(Response::new)
    }

    async fn lease(
        &self,
        request: Request<Streaming<v1::LeaseRequest>>,
    ) -> Result<Response<Self::LeaseStream>, Status> {
        let host = host_of(&request, "AgentLink.Lease")?;
        let (out, stream) = mpsc::channel(QUEUE);
        let asker = self.ears.asker();
        tokio::spawn(self.clone().serve_leases(host, asker, request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn greet(host: &HostId, hello: &v1::Hello) -> Result<(), Status> {
    proto::check_version(hello.version.as_ref())
        .map_err(|skew| Status::failed_precondition(skew.to_string()))?;
    let claimed =
        HostId::new(hello.host.clone()).map_err(|e| Status::invalid_argument(e.to_string()))?;
    own(host, &claimed)
}
