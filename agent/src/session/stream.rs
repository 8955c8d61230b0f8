//! The session's two streams.

use super::{Heard, Line, REPORTS_MAX, SESSION_LINK, SessionError, Tries, WELCOME_LIMIT};
use certs::Trust;
use futures::{Stream, stream};
use model::{Command, Epoch, GroupId, HostId, Outcome, Refusal, StepReport, Term};
use proto::{
    convert::WireError,
    v1::{self, agent_link_client::AgentLinkClient, agent_message::Body, coordinator_message},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tonic::Streaming;

/// One session, until it ends.
pub(super) async fn session(line: &Line, tries: &mut Tries) -> SessionError {
    match until_fault(line, tries).await {
        Ok(ended) => match ended {},
        Err(error) => error,
    }
}

/// A session ends only with a fault.
enum Never {}

async fn until_fault(line: &Line, tries: &mut Tries) -> Result<Never, SessionError> {
    let channel = line.connect(&SESSION_LINK).await?;
    let (reports, waiting) = mpsc::channel(REPORTS_MAX);
    let up = outgoing(line, waiting);
    let mut client = AgentLinkClient::new(channel);
    let begin = async {
        let mut down = client.session(up).await?.into_inner();
        let first = down.message().await?.ok_or(SessionError::Ended)?;
        match first.body {
            Some(coordinator_message::Body::Welcome(welcome)) => Ok((down, welcome)),
            Some(_) | None => Err(SessionError::NotWelcomed),
        }
    };
    let (mut down, welcome) =
        timeout(WELCOME_LIMIT, begin).await.map_err(|_| SessionError::Silent)??;
    proto::check_version(welcome.version.as_ref())?;
    tries.worked();
    tracing::info!(
        coordinator = welcome.coordinator, address = %line.address, "session with a coordinator"
    );
    line.tell(Heard::Up(reports.clone())).await;
    line.tell(Heard::Welcome(welcome.coordinators)).await;
    listen(line, &mut down, &reports).await
}

async fn listen(
    line: &Line,
    down: &mut Streaming<v1::CoordinatorMessage>,
    reports: &mpsc::Sender<StepReport>,
) -> Result<Never, SessionError> {
    use coordinator_message::Body as Said;
    loop {
        let message = down.message().await?.ok_or(SessionError::Ended)?;
        match message.body {
            Some(Said::Welcome(welcome)) => line.tell(Heard::Welcome(welcome.coordinators)).await,
            Some(Said::Assignment(assignment)) => match assigned(assignment) {
                Ok(assignment) => line.tell(assignment).await,
                Err(error) => dropped(line, &error),
            },
            Some(Said::Command(command)) => match understood(command) {
                Ok(Ok(command)) => line.tell(Heard::Command(command)).await,
                // A full queue means that the coordinator does not read, and
                // then it would not read this either.
                Ok(Err(refused)) => drop(reports.try_send(refused)),
                Err(error) => dropped(line, &error),
            },
            Some(Said::Trust(update)) => {
                let revoked = update.revoked.into_iter().collect();
                trust(line.caller.trust.clone(), revoked).await;
            }
            Some(Said::Task(task)) => {
                line.caller.tasks.take_up(&line.caller.trust, &line.address, task);
            }
            // The skew rule: an arm that is not known is refused in words.
            None => tracing::warn!(
                coordinator = %line.address,
                "it said something that this agent does not know; upgrade the agent"
            ),
        }
    }
}

fn dropped(line: &Line, error: &WireError) {
    tracing::warn!(coordinator = %line.address, %error, "a message is dropped");
}

fn assigned(assignment: v1::Assignment) -> Result<Heard, WireError> {
    let groups: Result<_, _> = assignment.groups.into_iter().map(TryInto::try_into).collect();
    let order = assignment.order.and_then(|order| match order.try_into() {
        Ok(order) => Some(order),
        // Where its groups stand still counts.
        Err(error) => {
            let error: WireError = error;
            tracing::warn!(%error, "an order for this host is not understood; upgrade the agent");
            None
        }
    });
    let stops: Result<_, WireError> = assignment.stops.into_iter().map(TryInto::try_into).collect();
    Ok(Heard::Assignment { groups: groups?, term: Term(assignment.term), order, stops: stops? })
}

/// A command, or the refusal of one whose action this agent does not know.
fn understood(command: v1::Command) -> Result<Result<Command, StepReport>, WireError> {
    if command.action.is_some() {
        return Command::try_from(command).map(Ok);
    }
    let name = |source| WireError::Name { message: "Command", source };
    Ok(Err(StepReport {
        id: command.id.ok_or(WireError::Missing { message: "Command", field: "id" })?.into(),
        host: HostId::new(command.host).map_err(name)?,
        group: GroupId::new(command.group).map_err(name)?,
        epoch: Epoch(command.epoch),
        outcome: Outcome::Refused(Refusal::UnknownAction),
    }))
}

/// Revoked is revoked: a list that lacks what is known comes from a
/// coordinator that is behind.
async fn trust(trust: Trust, mut revoked: BTreeMap<String, String>) {
    let change = move || {
        let given = revoked.clone();
        for (serial, reason) in trust.revoked() {
            revoked.entry(serial).or_insert(reason);
        }
        // With what is known the list may be too long; then the given one counts.
        trust.set_revoked(revoked).or_else(|_| trust.set_revoked(given))
    };
    match tokio::task::spawn_blocking(change).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(
            error = certs::explain(&error),
            "the list of revoked certificates cannot be taken over"
        ),
        Err(error) => tracing::error!(%error, "taking over the list of revoked certificates"),
    }
}

struct Up {
    hello: Option<v1::Hello>,
    reports: mpsc::Receiver<StepReport>,
    heartbeat: watch::Receiver<Arc<v1::Heartbeat>>,
}

/// Hello, then reports as they come and the newest heartbeat: a coordinator
/// that reads slowly misses heartbeats and nothing else.
fn outgoing(
    line: &Line,
    reports: mpsc::Receiver<StepReport>,
) -> impl Stream<Item = v1::AgentMessage> + use<> {
    let caller = &line.caller;
    let hello = v1::Hello {
        version: Some(proto::own_version()),
        host: caller.host.to_string(),
        boot: caller.boot,
    };
    let mut heartbeat = caller.heartbeat.clone();
    // The one at hand was made for nobody in particular: send it at once. Before
    // the loop's first one there is none, and its empty place is told to nobody.
    if !heartbeat.borrow().host.is_empty() {
        heartbeat.mark_changed();
    }
    let up = Up { hello: Some(hello), reports, heartbeat };
    stream::unfold(up, |mut up| async move {
        let body = match up.hello.take() {
            Some(hello) => Body::Hello(hello),
            None => up.next().await?,
        };
        Some((v1::AgentMessage { body: Some(body) }, up))
    })
}

impl Up {
    async fn next(&mut self) -> Option<Body> {
        tokio::select! {
            biased;
            report = self.reports.recv() => report.map(|report| Body::Report(report.into())),
            changed = self.heartbeat.changed() => {
                changed.ok()?;
                let newest = v1::Heartbeat::clone(&self.heartbeat.borrow_and_update());
                Some(Body::Heartbeat(newest))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unknown_action_is_refused_in_words_and_a_broken_one_is_an_error() {
        let id = v1::CommandId { plan: 1, step: 2, attempt: 3, part: 0 };
        let newer = v1::Command {
            id: Some(id),
            host: "p1".into(),
            group: "fx".into(),
            ..v1::Command::default()
        };
        let refused = understood(newer.clone()).unwrap().unwrap_err();
        assert_eq!(refused.outcome, Outcome::Refused(Refusal::UnknownAction));
        assert!(understood(v1::Command { id: None, ..newer.clone() }).is_err());
        assert!(understood(v1::Command { host: "../x".into(), ..newer.clone() }).is_err());
        let fence = v1::command::Action::Fence(v1::Fence {});
        assert!(understood(v1::Command { action: Some(fence), ..newer }).unwrap().is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_from_the_wire_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            use prost::Message;
            if let Ok(message) = v1::CoordinatorMessage::decode(&bytes[..]) {
                match message.body {
                    Some(coordinator_message::Body::Command(command)) => drop(understood(command)),
                    Some(coordinator_message::Body::Assignment(given)) => drop(assigned(given)),
                    Some(_) | None => {}
                }
            }
        }
    }
}
