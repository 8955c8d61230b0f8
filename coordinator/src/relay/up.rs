//! The side of the voter that does not lead: one stream to the leader.

use super::{Eyes, queue::Queue};
use crate::{
    consensus::{Consensus, Leader, Leadership},
    outbound::agents::Agents,
};
use certs::{Expected, Link, Trust};
use daemon::backoff::Backoff;
use failover::Asker;
use futures::{FutureExt, future::BoxFuture};
use model::HostId;
use proto::v1::{self, relay_down::Body, voter_link_client::VoterLinkClient};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// The bounds of the connection: lease traffic goes this way too, so a silent
/// cut is noticed within two seconds, as on an agent's own lease connection (A4).
const LINK: Link = Link {
    connect: Duration::from_secs(1),
    keepalive_interval: Duration::from_secs(1),
    keepalive_timeout: Duration::from_secs(1),
    user_timeout: Duration::from_secs(2),
    call: None,
};
/// How long the leader may take to accept the stream.
const ACCEPT: Duration = Duration::from_secs(2);
/// First wait after a break, and the longest: a new leader is not ready at
/// once, and every wait here is one in which an agent may go without a lease.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_CAP: Duration = Duration::from_secs(1);
/// Percent by which a wait may be shorter, so that voters do not come as one.
const RETRY_JITTER: u8 = 50;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{}", certs::explain(.0))]
    Connect(#[from] certs::ConnectError),
    #[error("{}", certs::explain_status(.0))]
    Call(Box<tonic::Status>),
    #[error("the leader did not accept the stream within {ACCEPT:?}")]
    Slow,
    #[error("the leader ended the stream")]
    Ended,
}

impl From<tonic::Status> for Broken {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// The way up to the leader. Cheap to clone; nothing of it waits. What is put
/// in while there is no leader's stream is dropped.
#[derive(Clone, Default)]
pub struct Uplink(Arc<Queue>);

/// Empties the queue however the stream ends.
struct Open(Arc<Queue>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Uplink {
    /// An agent opened a session here.
    pub fn opened(&self, host: &HostId) {
        // Without a stream: told when one opens.
        let _told_later = self.0.session(host);
    }

    /// An agent's heartbeat, as it came.
    pub fn heartbeat(&self, host: &HostId, heartbeat: v1::Heartbeat) {
        let _another_comes = self.0.heartbeat(host, heartbeat);
    }

    /// An agent's report, as it came.
    pub fn report(&self, report: v1::StepReport) {
        let _asked_for_again = self.0.report(report);
    }

    /// An agent's renewal, as it came; its answer comes to `asker`'s stream.
    /// False when nobody takes it: then it must be answered here.
    #[must_use]
    pub fn renewal(&self, asker: Asker, request: v1::LeaseRequest) -> bool {
        self.0.renewal(v1::RelayedRenewal { asker: asker.0, request: Some(request) })
    }

    /// Holds the stream whenever another voter leads, and tells what is seen;
    /// runs until consensus ends.
    pub async fn run(self, trust: Trust, consensus: Consensus, agents: Agents, eyes: Eyes) {
        let telling = self.clone();
        let tell = move |observation: model::Observation| {
            // Nobody leads, or this voter does: its engine sees for itself.
            let _nobody_asks = telling.0.observation(observation.into());
        };
        let line = Line { queue: self.0, trust, agents };
        tokio::select! {
            () = eyes.watch(tell) => {}
            () = line.relay(consensus) => {}
        }
    }
}

/// What a stream to the leader needs.
#[derive(Clone)]
struct Line {
    queue: Arc<Queue>,
    trust: Trust,
    agents: Agents,
}

/// How one stream ended, and whether the leader had accepted it.
struct Ended {
    accepted: bool,
    why: Broken,
}

impl Line {
    async fn relay(self, consensus: Consensus) {
        let mut leadership = consensus.leadership();
        let mut wait = Backoff::from_os(RETRY_FIRST, RETRY_CAP, RETRY_JITTER);
        let mut said = String::new();
        loop {
            let leader = leadership.borrow_and_update().leader.clone();
            let Some(leader) = leader.filter(|leader| leader.node != consensus.id()) else {
                if leadership.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let ended = tokio::select! {
                ended = self.clone().hold(leader.clone()) => ended,
                () = another(&mut leadership, &leader) => {
                    wait.reset();
                    said.clear();
                    continue;
                }
            };
            let words = ended.why.to_string();
            if ended.accepted || words != said {
                tracing::info!(leader = %leader.member, error = words, "no relay to the leader");
                said = words;
            } else {
                tracing::debug!(leader = %leader.member, error = words, "no relay");
            }
            if ended.accepted {
                wait.reset();
            }
            tokio::select! {
                () = sleep(wait.wait()) => {}
                () = another(&mut leadership, &leader) => {}
            }
        }
    }

    /// One stream, until it breaks. Boxed: its type is a long one.
    fn hold(self, leader: Leader) -> BoxFuture<'static, Ended> {
        async move {
            let mut accepted = false;
            let Err(why) = self.until_it_breaks(&leader, &mut accepted).await;
            Ended { accepted, why }
        }
        .boxed()
    }

    async fn until_it_breaks(
        &self,
        leader: &Leader,
        accepted: &mut bool,
    ) -> Result<Infallible, Broken> {
        let whom = Expected::coordinator().named(&leader.member.name);
        let channel = certs::connect(&self.trust, &leader.member.address, &whom, &LINK).await?;
        let mut client = VoterLinkClient::new(channel);
        // One at a time: whatever waits for longer waits where newer replaces it.
        let (up, stream) = mpsc::channel(1);
        let call = client.relay(ReceiverStream::new(stream));
        let mut down = timeout(ACCEPT, call).await.map_err(|_| Broken::Slow)??.into_inner();
        let _open = Open(Arc::clone(&self.queue));
        self.queue.open(self.agents.hosts());
        *accepted = true;
        tracing::info!(leader = %leader.member, "agents here are relayed to the leader");
        tokio::select! {
            ended = self.listen(&mut down) => ended,
            () = self.speak(up) => Err(Broken::Ended),
        }
    }

    /// Everything that goes up, until nobody takes it.
    async fn speak(&self, up: mpsc::Sender<v1::RelayUp>) {
        while up.send(self.queue.next().await).await.is_ok() {}
    }

    /// What comes down goes to an agent's own stream here, or nowhere.
    async fn listen(&self, down: &mut Streaming<v1::RelayDown>) -> Result<Infallible, Broken> {
        loop {
            match down.message().await?.ok_or(Broken::Ended)?.body {
                Some(Body::Lease(v1::RelayedLease { asker, reply: Some(reply) })) => {
                    self.agents.hand_lease(Asker(asker), reply);
                }
                Some(Body::Command(command)) => self.agents.hand_command(command),
                Some(Body::Assignment(v1::RelayedAssignment {
                    host,
                    assignment: Some(assignment),
                })) => self.agents.hand_assignment(&host, assignment),
                // By the skew rule: a newer leader can do without what is not known here.
                Some(Body::Lease(_) | Body::Assignment(_)) | None => {}
            }
        }
    }
}

/// Returns when `leader` is not the leader any more, as far as is known here.
async fn another(leadership: &mut watch::Receiver<Leadership>, leader: &Leader) {
    let other = |seen: &Leadership| seen.leader.as_ref() != Some(leader);
    if leadership.wait_for(other).await.is_err() {
        // Consensus has ended; the caller sees it at its next look.
        std::future::pending::<()>().await;
    }
}
