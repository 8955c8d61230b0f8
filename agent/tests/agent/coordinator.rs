//! A coordinator that does what a test tells it to.

use certs::{Limits, Trust};
use model::{
    Command, GroupAssignment, GroupId, Heartbeat, LeaseGrant, LeaseRefusal, LeaseReply,
    LeaseRequest, Millis, StepReport, Term,
};
use proto::v1::{
    self,
    agent_link_server::{AgentLink, AgentLinkServer},
    agent_message, coordinator_message,
};
use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// What it answers to lease requests.
#[derive(Debug, Clone)]
pub(crate) enum Lease {
    /// Grants, if the epoch is that one.
    Grant(u64),
    /// Refuses.
    Refuse(LeaseRefusal),
    /// Says nothing.
    Silent,
}

/// What a test sets and sees.
pub(crate) struct Desk {
    pub(crate) lease: Lease,
    pub(crate) length: Millis,
    pub(crate) assignment: Vec<GroupAssignment>,
    pub(crate) term: u64,
    pub(crate) welcome: Vec<String>,
    pub(crate) heartbeats: Vec<Heartbeat>,
    pub(crate) reports: Vec<StepReport>,
    pub(crate) requests: Vec<LeaseRequest>,
    pub(crate) hellos: Vec<v1::Hello>,
    sessions: Vec<mpsc::Sender<Result<v1::CoordinatorMessage, Status>>>,
}

#[derive(Clone)]
struct Link(Arc<Mutex<Desk>>);

pub(crate) struct Coordinator {
    pub(crate) address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    /// Its own, so that stopping it closes every connection.
    runtime: Option<Runtime>,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Coordinator {
    /// Listens with the credentials in `pki`; port 0 means any.
    pub(crate) async fn start(pki: &Path, port: u16) -> Self {
        let trust = Trust::load(pki).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let bind = TcpListener::bind(("127.0.0.1", port));
        let listener = runtime.spawn(bind).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Mutex::new(Desk {
            lease: Lease::Silent,
            length: Millis(5000),
            assignment: vec![],
            term: 1,
            welcome: vec![address.to_string()],
            heartbeats: vec![],
            reports: vec![],
            requests: vec![],
            hellos: vec![],
            sessions: vec![],
        }));
        let service = AgentLinkServer::new(Link(Arc::clone(&desk)));
        runtime.spawn(async move {
            let limits = Limits::default();
            let incoming = certs::listen(listener, &trust, limits, std::future::pending());
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, desk, runtime: Some(runtime) }
    }

    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    pub(crate) fn send(&self, command: &Command) {
        self.say(&coordinator_message::Body::Command(command.clone().into()));
    }

    pub(crate) fn assign(&self, assignment: GroupAssignment, term: u64) {
        let mut desk = self.desk();
        desk.assignment = vec![assignment];
        desk.term = term;
        let message = desk.assignment();
        drop(desk);
        self.say(&message);
    }

    pub(crate) fn say(&self, body: &coordinator_message::Body) {
        self.desk().sessions.retain(|session| {
            let message = v1::CoordinatorMessage { body: Some(body.clone()) };
            session.try_send(Ok(message)).is_ok()
        });
    }

    /// Whether an agent has a session.
    pub(crate) fn has_session(&self) -> bool {
        self.desk().sessions.iter().any(|session| !session.is_closed())
    }

    /// The report of a command, waited for.
    pub(crate) async fn report(&self, command: &Command) -> StepReport {
        let what = format!("the report of {}", command.id);
        until(&what, || {
            self.desk().reports.iter().rev().find(|report| report.id == command.id).cloned()
        })
        .await
    }

    /// Sends a command and waits for its report.
    pub(crate) async fn ask(&self, command: &Command) -> StepReport {
        until("a session", || self.has_session().then_some(())).await;
        self.send(command);
        self.report(command).await
    }

    pub(crate) fn newest(&self) -> Option<Heartbeat> {
        self.desk().heartbeats.last().cloned()
    }
}

impl Desk {
    fn assignment(&self) -> coordinator_message::Body {
        coordinator_message::Body::Assignment(v1::Assignment {
            groups: self.assignment.iter().cloned().map(Into::into).collect(),
            term: self.term,
            ..v1::Assignment::default()
        })
    }

    fn answer(&self, request: LeaseRequest) -> Option<LeaseReply> {
        let (group, nonce, term) = (request.group, request.nonce, Term(self.term));
        let refuse = |reason| LeaseReply::Refused { group: group.clone(), nonce, term, reason };
        match &self.lease {
            Lease::Grant(epoch) if request.epoch.0 == *epoch => {
                Some(LeaseReply::Granted(LeaseGrant {
                    group: group.clone(),
                    epoch: request.epoch,
                    nonce,
                    term,
                    lease: self.length,
                    gate_margin: self.length.div_ceil(20),
                }))
            }
            Lease::Grant(_) => Some(refuse(LeaseRefusal::NotActive)),
            Lease::Refuse(reason) => Some(refuse(reason.clone())),
            Lease::Silent => None,
        }
    }
}

#[tonic::async_trait]
impl AgentLink for Link {
    type SessionStream = ReceiverStream<Result<v1::CoordinatorMessage, Status>>;
    type LeaseStream = ReceiverStream<Result<v1::LeaseReply, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (down, messages) = mpsc::channel(64);
        {
            let mut desk = self.0.lock().unwrap();
            let welcome = coordinator_message::Body::Welcome(v1::Welcome {
                version: Some(proto::own_version()),
                coordinator: "c1".into(),
                coordinators: desk.welcome.clone(),
            });
            for body in [welcome, desk.assignment()] {
                down.try_send(Ok(v1::CoordinatorMessage { body: Some(body) })).unwrap();
            }
            desk.sessions.push(down);
        }
        let desk = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut up = request.into_inner();
            while let Some(Ok(message)) = up.next().await {
                let mut desk = desk.lock().unwrap();
                match message.body.unwrap() {
                    agent_message::Body::Hello(hello) => desk.hellos.push(hello),
                    agent_message::Body::Heartbeat(beat) => {
                        desk.heartbeats.push(beat.try_into().unwrap());
                    }
                    agent_message::Body::Report(report) => {
                        desk.reports.push(report.try_into().unwrap());
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn task_output(
        &self,
        _: Request<Streaming<v1::TaskUp>>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::not_found("this coordinator orders no tasks"))
    }

    async fn lease(
        &self,
        request: Request<Streaming<v1::LeaseRequest>>,
    ) -> Result<Response<Self::LeaseStream>, Status> {
        let (down, replies) = mpsc::channel(64);
        let desk = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut up = request.into_inner();
            while let Some(Ok(request)) = up.next().await {
                let request = LeaseRequest::try_from(request).unwrap();
                let reply = {
                    let mut desk = desk.lock().unwrap();
                    desk.requests.push(request.clone());
                    desk.answer(request)
                };
                if let Some(reply) = reply {
                    let _ = down.send(Ok(reply.into())).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }
}

pub(crate) fn group() -> GroupId {
    GroupId::new("fx").unwrap()
}

/// Polls until there is something, for at most a minute: what a backup's process
/// does at the lowest priority waits for every test beside it.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited a minute for {what}");
}
