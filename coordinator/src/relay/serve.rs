//! The leader's side: what the other voters relay enters the driver as if the
//! agents had said it here.

use crate::{
    consensus::Consensus,
    driver::Handle,
    inbound::not_leader,
    outbound::agents::{Agents, RELAY_QUEUE},
};
use certs::{Allow, require};
use failover::Event;
use model::{Heartbeat, HostId, LeaseRequest, Observation, StepReport};
use proto::{
    convert::WireError,
    v1::{self, relay_up::Body, voter_link_server::VoterLink},
};
use std::collections::BTreeSet;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The service.
#[derive(Clone)]
pub struct RelayService {
    handle: Handle,
    agents: Agents,
    consensus: Consensus,
}

/// What is wrong with one relayed message.
#[derive(Debug, thiserror::Error)]
enum Odd {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Name(#[from] model::NameError),
    #[error("it holds nothing")]
    Empty,
    #[error("it is an observation by {0}")]
    NotItsOwn(String),
}

impl RelayService {
    /// The service of the coordinator that owns these.
    #[must_use]
    pub fn new(handle: Handle, agents: Agents, consensus: Consensus) -> Self {
        Self { handle, agents, consensus }
    }

    /// Only the leader takes anything, so what was relayed once cannot be
    /// relayed again.
    fn leads(&self) -> Result<(), Status> {
        let leadership = self.consensus.leadership();
        let seen = leadership.borrow();
        if seen.ready {
            return Ok(());
        }
        Err(not_leader(seen.leader.as_ref().map(|leader| leader.member.address.as_str())))
    }

    async fn serve(
        self,
        voter: String,
        mut incoming: Streaming<v1::RelayUp>,
        out: mpsc::Sender<Result<v1::RelayDown, Status>>,
    ) {
        let link = self.agents.enter_relay(&voter, out.clone());
        tracing::info!(%voter, "a voter relays its agents");
        let mut leadership = self.consensus.leadership();
        let mut said = BTreeSet::new();
        let end = loop {
            let message = tokio::select! {
                message = incoming.message() => message,
                _ = leadership.wait_for(|seen| !seen.ready) => {
                    if let Err(status) = self.leads() {
                        let _ = out.try_send(Err(status));
                    }
                    break "this coordinator does not lead any more".to_owned();
                }
            };
            match message {
                Ok(Some(message)) => {
                    // One agent's odd word must not cost the others their relay.
                    if let Err(odd) = self.take(&voter, link, message).await
                        && said.insert(odd.to_string())
                        && said.len() < ODDITIES_MAX
                    {
                        tracing::warn!(%voter, %odd, "a relayed message is dropped");
                    }
                }
                Ok(None) => break "closed".to_owned(),
                Err(status) => break status.message().to_owned(),
            }
            if said.len() >= ODDITIES_MAX {
                said.clear();
            }
        };
        self.agents.leave_relay(&voter, link);
        tracing::info!(%voter, %end, "a voter relays no more");
    }

    async fn take(&self, voter: &str, link: u64, message: v1::RelayUp) -> Result<(), Odd> {
        match message.body {
            Some(Body::Heartbeat(heartbeat)) => {
                let heartbeat = Heartbeat::try_from(heartbeat)?;
                let _another_comes = self.handle.offer(Event::Heartbeat(Box::new(heartbeat)));
            }
            Some(Body::Renewal(renewal)) => {
                let request = LeaseRequest::try_from(renewal.request.ok_or(Odd::Empty)?)?;
                let (host, back) = (&request.host, renewal.asker);
                let fresh = || self.handle.asker();
                if let Some(asker) = self.agents.relayed_asker(voter, link, host, back, fresh) {
                    let _asked_again = self.handle.offer(Event::Renewal { asker, request });
                }
            }
            Some(Body::Report(report)) => {
                let report = StepReport::try_from(report)?;
                tracing::debug!(host = %report.host, id = %report.id, voter, "relayed report");
                self.handle.event(Event::Report(Box::new(report))).await;
            }
            Some(Body::Observation(observation)) => {
                let observation = Observation::try_from(observation)?;
                // A voter speaks for itself alone.
                if observation.observer != voter {
                    return Err(Odd::NotItsOwn(observation.observer));
                }
                let _another_comes = self.handle.offer(Event::Observed(observation));
            }
            Some(Body::SessionHost(host)) => {
                let host = HostId::new(host)?;
                if self.agents.relays(voter, link, &host) {
                    self.handle.event(Event::SessionOpened { host }).await;
                }
            }
            // By the skew rule: what is not known here, a newer voter can do without.
            None => {}
        }
        Ok(())
    }
}

/// Different faults told of one stream before they may be told again.
const ODDITIES_MAX: usize = 100;

#[tonic::async_trait]
impl VoterLink for RelayService {
    type RelayStream = ReceiverStream<Result<v1::RelayDown, Status>>;

    async fn relay(
        &self,
        request: Request<Streaming<v1::RelayUp>>,
    ) -> Result<Response<Self::RelayStream>, Status> {
        let peer = require(&request, "VoterLink.Relay", &[Allow::Coordinators])?;
        let voter = peer.identity.name().to_owned();
        self.leads()?;
        let members = self.consensus.members();
        if !members.iter().any(|member| member.voter && member.member.name == voter) {
            return Err(Status::permission_denied(format!("{voter} is no voter here")));
        }
        let (out, stream) = mpsc::channel(RELAY_QUEUE);
        tokio::spawn(self.clone().serve(voter, request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
