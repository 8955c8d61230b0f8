//! The other agents, each on a connection of its own that is kept up while this
//! host is active, so that it is there when the coordinators are not.

use super::Answered;
use certs::{Expected, Link, RoleKind, Trust};
use daemon::backoff::Backoff;
use model::{HostId, PromiseReply, PromiseRequest};
use proto::v1::{self, agent_peer_client::AgentPeerClient};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tonic::{Code, Response, Status, transport::Channel};

/// As the lease's own connection (A4): a cut is noticed within two seconds.
const PEER_LINK: Link = Link {
    connect: Duration::from_secs(1),
    keepalive_interval: Duration::from_secs(1),
    keepalive_timeout: Duration::from_secs(1),
    user_timeout: Duration::from_secs(2),
    call: None,
};
/// First wait after a failed dial, the longest, and by how much it may be shorter.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(1);
const RETRY_JITTER: u8 = 50;
/// An answer is of use for one round, which takes T/5; never less than this, for
/// a busy machine.
const CALL_PART: u64 = 5;
const CALL_MIN: Duration = Duration::from_millis(50);

struct Other {
    address: String,
    /// The newest question: one that waits gives way to it.
    question: watch::Sender<Option<PromiseRequest>>,
    task: AbortHandle,
}

impl Drop for Other {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The agents that can be asked.
pub struct Others {
    trust: Trust,
    answers: mpsc::Sender<Answered>,
    list: BTreeMap<HostId, Other>,
}

impl Others {
    /// Nobody yet; answers go to `answers`.
    #[must_use]
    pub const fn new(trust: Trust, answers: mpsc::Sender<Answered>) -> Self {
        Self { trust, answers, list: BTreeMap::new() }
    }

    /// Keeps connections to these and to nobody else. Within the async runtime.
    pub fn call(&mut self, wanted: &BTreeMap<HostId, String>) {
        self.list.retain(|host, other| wanted.get(host) == Some(&other.address));
        for (host, address) in wanted {
            if self.list.contains_key(host) || address.is_empty() {
                continue;
            }
            let (question, questions) = watch::channel(None);
            let line = Line {
                trust: self.trust.clone(),
                host: host.clone(),
                address: address.clone(),
                answers: self.answers.clone(),
            };
            let task = tokio::spawn(line.run(questions)).abort_handle();
            let other = Other { address: address.clone(), question, task };
            self.list.insert(host.clone(), other);
        }
    }

    /// Asks one of them; never waits. One that is not called is silent.
    pub fn ask(&self, host: &HostId, request: PromiseRequest) {
        if let Some(other) = self.list.get(host) {
            other.question.send_replace(Some(request));
        }
    }
}

struct Line {
    trust: Trust,
    host: HostId,
    address: String,
    answers: mpsc::Sender<Answered>,
}

impl Line {
    async fn run(self, mut questions: watch::Receiver<Option<PromiseRequest>>) {
        let channel = self.connect().await;
        let mut client = AgentPeerClient::new(channel);
        let mut said = String::new();
        // Ends when the driver no longer wants this host.
        while questions.changed().await.is_ok() {
            let Some(request) = questions.borrow_and_update().clone() else { continue };
            let limit = request.lease.div_ceil(CALL_PART).to_duration().max(CALL_MIN);
            let fault = match timeout(limit, ask(&mut client, request)).await {
                Ok(Ok(reply)) => match PromiseReply::try_from(reply.into_inner()) {
                    Ok(reply) => {
                        let answered = Answered { from: self.host.clone(), reply };
                        // The driver is only gone when the agent ends.
                        let _ = self.answers.send(answered).await;
                        said.clear();
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Ok(Err(status)) => certs::explain_status(&status),
                Err(_) => format!("no answer within {limit:?}"),
            };
            if said != fault {
                tracing::warn!(host = %self.host, address = self.address, error = fault, "no promise from another agent");
                said = fault;
            }
        }
    }

    /// Dials until it works; from then on the channel dials again by itself.
    async fn connect(&self) -> Channel {
        let mut backoff = Backoff::from_os(RETRY_FIRST, RETRY_CAP, RETRY_JITTER);
        let expected = Expected::role(RoleKind::Agent).named(self.host.as_str());
        let mut said = String::new();
        loop {
            match certs::connect(&self.trust, &self.address, &expected, &PEER_LINK).await {
                Ok(channel) => {
                    tracing::debug!(host = %self.host, address = self.address, "connected with another agent");
                    return channel;
                }
                Err(error) => {
                    let words = certs::explain(&error);
                    if words != said {
                        tracing::warn!(
                            host = %self.host, address = self.address, error = words,
                            "cannot reach another agent, which failsafe needs; trying again"
                        );
                        said = words;
                    }
                    sleep(backoff.wait()).await;
                }
            }
        }
    }
}

/// Asks; a second time where the connection turns out to be lost, which an idle
/// one only shows when it is used. The same question twice is one promise.
async fn ask(
    client: &mut AgentPeerClient<Channel>,
    request: PromiseRequest,
) -> Result<Response<v1::PromiseReply>, Status> {
    let first = client.promise(v1::PromiseRequest::from(request.clone())).await;
    match first {
        Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) => {
            client.promise(v1::PromiseRequest::from(request)).await
        }
        done => done,
    }
}
