//! Agents among themselves, over mTLS: asking for promises and answering (A6).
//!
//! Carries, and decides nothing: what is asked goes to the driver as [`Asked`],
//! what was answered as [`Answered`], both in the model's types. Invariants: a
//! caller speaks only for the host in its certificate; every wait is bounded,
//! and at most one question to each host is under way, the newest waiting;
//! nothing here can hold up the driver.

mod client;
mod config;
mod copies;

pub use client::Others;
pub use config::{KeepConfig, PeerConfig, PeerConfigError};

use certs::{Allow, Limits, Trust, require};
use daemon::shutdown::Shutdown;
use model::{HostId, PromiseReply, PromiseRequest};
use proto::v1::{
    self,
    agent_peer_server::{AgentPeer, AgentPeerServer},
};
use std::{io, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::{Request, Response, Status};

/// Questions that wait for the driver: one from each host of a few groups.
const ASKED_MAX: usize = 32;
/// How long the driver may take to answer: within one round and, for a promise,
/// a write of the ledger's; later than this no asker waits.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// A question is a few names and numbers.
const QUESTION_MAX: usize = 4096;
/// For some tens of hosts; a connection that is silently cut ends in seconds.
const LIMITS: Limits = Limits {
    connections: 64,
    handshakes: 8,
    handshake: Duration::from_secs(2),
    user_timeout: Duration::from_secs(4),
};

/// A question of another agent's.
#[derive(Debug)]
pub struct Asked {
    /// As asked, by the host that it names.
    pub request: PromiseRequest,
    /// Where the answer goes.
    pub answer: oneshot::Sender<PromiseReply>,
}

/// An answer, and from whom.
#[derive(Debug)]
pub struct Answered {
    /// Whom the connection's certificate names.
    pub from: HostId,
    /// What it said.
    pub reply: PromiseReply,
}

/// A service that listens.
#[derive(Debug)]
pub struct Desk {
    /// What other agents dial.
    pub address: String,
    /// What they ask.
    pub asked: mpsc::Receiver<Asked>,
}

/// Why the service cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for other agents ([peer] in agent.toml): {source}")]
pub struct ListenError {
    address: String,
    source: io::Error,
}

/// Begins to answer other agents, until `shutdown`. Must be called within the
/// async runtime.
///
/// # Errors
/// [`ListenError`]: the address is taken, or none of this machine's.
pub async fn serve(
    config: &PeerConfig,
    trust: &Trust,
    shutdown: &Shutdown,
) -> Result<Desk, ListenError> {
    let fault = |source| ListenError { address: config.listen.to_string(), source };
    let listener = TcpListener::bind(config.listen).await.map_err(fault)?;
    let (asks, asked) = mpsc::channel(ASKED_MAX);
    // A port of 0 is the system's choice: for tests.
    let address = match config.listen.port() {
        0 => listener.local_addr().map_err(fault)?.to_string(),
        _ => config.advertise.clone(),
    };
    let (ended, over) = (shutdown.clone(), shutdown.clone());
    let wish = async move { over.requested().await };
    let incoming = certs::listen(listener, trust, LIMITS, async move { ended.requested().await });
    let service = AgentPeerServer::new(Service { asks }).max_decoding_message_size(QUESTION_MAX);
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(2)))
        // One is under way from each caller; the rest is for its reconnecting. A
        // stream of a backup counts until it has begun.
        .concurrency_limit_per_connection(4)
        .timeout(ANSWER_LIMIT + ANSWER_LIMIT)
        .add_service(service)
        .add_optional_service(config.backups.clone().map(copies::service))
        .serve_with_incoming_shutdown(incoming, wish);
    tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "other agents are not answered any more");
        }
    });
    Ok(Desk { address, asked })
}

struct Service {
    asks: mpsc::Sender<Asked>,
}

#[tonic::async_trait]
impl AgentPeer for Service {
    async fn promise(
        &self,
        request: Request<v1::PromiseRequest>,
    ) -> Result<Response<v1::PromiseReply>, Status> {
        let peer = require(&request, "Promise", &[Allow::Agents])?;
        let request = PromiseRequest::try_from(request.into_inner())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if peer.identity.name() != request.host.as_str() {
            let words = format!("this is {}; it may not ask for `{}`", peer.identity, request.host);
            tracing::warn!(peer = %peer.address, reason = words, "refused a call");
            return Err(Status::permission_denied(words));
        }
        let (answer, answered) = oneshot::channel();
        self.asks
            .try_send(Asked { request, answer })
            .map_err(|_| Status::resource_exhausted("this agent has no time for it now"))?;
        match timeout(ANSWER_LIMIT, answered).await {
            Ok(Ok(reply)) => Ok(Response::new(reply.into())),
            Ok(Err(_)) | Err(_) => Err(Status::unavailable("this agent did not answer in time")),
        }
    }
}
