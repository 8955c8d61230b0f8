//! What a task writes on a host, passed on to the operator who waits for it,
//! as slowly as the operator reads.

use super::agents::{AgentService, HELLO};
use crate::outbound::tasks::{Claim, Ended, PIECE_MAX};
use model::HostId;
use proto::v1::{self, task_event, task_up::Body};
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

/// What comes next on an agent's stream.
enum Next {
    /// Output.
    Event(task_event::Body, usize),
    /// Its own end.
    End(v1::TaskEnd),
    /// It must end, and why.
    Stop(String),
    /// The agent said nonsense, or is gone.
    Broken(Status),
}

impl AgentService {
    /// Serves one task's output until it ends.
    pub(super) async fn serve_task(
        &self,
        host: HostId,
        mut incoming: Streaming<v1::TaskUp>,
    ) -> Result<v1::TaskReply, Status> {
        let first = tokio::time::timeout(HELLO, incoming.message()).await;
        let Ok(Ok(Some(v1::TaskUp { body: Some(Body::Begin(begin)) }))) = first else {
            return Err(Status::invalid_argument("a task's output begins with its request"));
        };
        let Some(claim) = self.tasks().claim(&begin.request, &host) else {
            return Err(Status::not_found("nobody waits for this task here"));
        };
        tracing::info!(%host, request = begin.request, "a task begins");
        pass_on(claim, incoming).await
    }
}

async fn pass_on(
    claim: Claim,
    mut incoming: Streaming<v1::TaskUp>,
) -> Result<v1::TaskReply, Status> {
    let Claim { events, ended, mut stop, limit_bytes } = claim;
    let mut bytes = 0_u64;
    let (end, answer) = loop {
        let next = tokio::select! {
            biased;
            why = &mut stop => Next::Stop(reason(why)),
            () = events.closed() => Next::Stop("the operator left".into()),
            said = incoming.message() => understood(said),
        };
        match next {
            Next::Event(body, length) => {
                bytes += length as u64;
                if bytes > limit_bytes {
                    let why = format!("it wrote more than {limit_bytes} bytes");
                    break ((1, why.clone()), Err(Status::resource_exhausted(why)));
                }
                let event = v1::TaskEvent { body: Some(body) };
                let sent = tokio::select! {
                    biased;
                    why = &mut stop => Err(reason(why)),
                    sent = events.send(Ok(event)) => sent.map_err(|_| "the operator left".into()),
                };
                if let Err(why) = sent {
                    break ((1, why.clone()), Err(Status::cancelled(why)));
                }
            }
            Next::End(end) => {
                // A number that is no exit code is no success either.
                let exit = u8::try_from(end.exit).unwrap_or(1);
                break ((exit, end.detail), Ok(v1::TaskReply {}));
            }
            Next::Stop(why) => break ((1, why.clone()), Err(Status::cancelled(why))),
            Next::Broken(status) => {
                let why = format!("its host was lost: {}", status.message());
                break ((4, why), Err(status));
            }
        }
    };
    let (exit, detail) = end;
    // Fails only when nobody waits any more.
    let _ = ended.send(Ended { exit, detail, bytes });
    answer
}

fn reason(why: Result<String, oneshot::error::RecvError>) -> String {
    why.unwrap_or_else(|_| "nobody waits for it any more".into())
}

fn understood(said: Result<Option<v1::TaskUp>, Status>) -> Next {
    let body = match said {
        Ok(Some(message)) => message.body,
        Ok(None) => return Next::Broken(Status::aborted("it ended the stream without an end")),
        Err(status) => return Next::Broken(status),
    };
    match body {
        Some(Body::Out(piece) | Body::Talk(piece)) if piece.len() > PIECE_MAX => {
            Next::Broken(Status::invalid_argument("a piece of output is too large"))
        }
        Some(Body::Out(piece)) => {
            let length = piece.len();
            Next::Event(task_event::Body::Out(piece), length)
        }
        Some(Body::Talk(piece)) => {
            let length = piece.len();
            Next::Event(task_event::Body::Talk(piece), length)
        }
        Some(Body::End(end)) => Next::End(end),
        Some(Body::Begin(_)) => {
            Next::Broken(Status::invalid_argument("a task's output begins once"))
        }
        None => Next::Broken(Status::invalid_argument(
            "its agent said something that this coordinator does not know; upgrade the coordinator",
        )),
    }
}
