//! The lease connection's two streams (A4). The time of a request was noted
//! before it came here (A2).

use super::{Heard, LEASE_LINK, Line, REQUESTS_MAX, SessionError, Tries};
use futures::{StreamExt, stream};
use model::LeaseReply;
use proto::v1::{self, agent_link_client::AgentLinkClient};
use tokio::sync::mpsc;

/// Lease traffic with one coordinator, until it ends.
pub(super) async fn traffic(line: &Line, tries: &mut Tries) -> SessionError {
    match until_fault(line, tries).await {
        Ok(()) => SessionError::Ended,
        Err(error) => error,
    }
}

async fn until_fault(line: &Line, tries: &mut Tries) -> Result<(), SessionError> {
    let channel = line.connect(&LEASE_LINK).await?;
    let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
    let up = stream::unfold(waiting, |mut waiting| async move {
        let request: model::LeaseRequest = waiting.recv().await?;
        Some((v1::LeaseRequest::from(request), waiting))
    });
    // Requests may come before the coordinator has accepted the stream: it may
    // wait for the first one.
    line.tell(Heard::LeaseUp(requests)).await;
    let mut down = AgentLinkClient::new(channel).lease(up).await?.into_inner();
    tries.worked();
    let mut said = None;
    while let Some(reply) = down.next().await {
        match LeaseReply::try_from(reply?) {
            Ok(reply) => line.tell(Heard::Lease(reply)).await,
            // Ten a second of them may come: each fault is told once.
            Err(error) if said.as_ref() != Some(&error) => {
                tracing::warn!(coordinator = %line.address, %error, "an answer is dropped");
                said = Some(error);
            }
            Err(_) => {}
        }
    }
    Ok(())
}
