//! Tasks for one host: recorded, handed to its agent, watched until they end.

use super::{OperatorService, by};
use crate::outbound::tasks::{Claim, EVENTS_MAX, Ended, Events, Place};
use certs::Peer;
use failover::{Applied, Record, Request as Change, TaskEntry};
use model::{HostId, Millis, Task, TaskOrder};
use proto::v1;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// How long an agent may take to begin: a dial, and a process.
const CLAIM_WITHIN: Duration = Duration::from_secs(10);
/// How long a task that must end may take to say so.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long the end may wait for an operator who does not read.
const LAST_WORD: Duration = Duration::from_secs(300);
/// The longest that a task may take: a full backup of a large disk.
const LIMIT_MAX: Millis = Millis::from_secs(24 * 3600);
/// The most that a task may write: far more than a host's evidence.
const BYTES_MAX: u64 = 16 << 30;
/// The longest request id and reason.
const TEXT_MAX: usize = 1024;

/// What was asked, checked.
struct Asked {
    host: HostId,
    order: TaskOrder,
    limit_bytes: u64,
}

/// What ends a wait.
enum Next {
    Ended(Ended),
    OperatorGone,
    TimeUp,
}

impl OperatorService {
    /// Streams what a task writes. Everything after the leader is found is told
    /// as the stream's last event, so that the same request can be sent twice.
    pub(super) async fn run_a_task(
        &self,
        peer: &Arc<Peer>,
        asked: v1::RunTaskRequest,
    ) -> Result<ReceiverStream<Result<v1::TaskEvent, Status>>, Status> {
        let asked = checked(peer, asked)?;
        let request = asked.order.request.clone();
        let known = self.ask(move |engine, _| engine.state().task(&request).cloned()).await?;
        let (events, stream) = mpsc::channel(EVENTS_MAX);
        let service = self.clone();
        tokio::spawn(async move {
            let ended = match known {
                Some(entry) => repeated(&entry),
                None => service.have_done(asked, &events).await,
            };
            let end = v1::TaskEnd { exit: ended.exit.into(), detail: ended.detail };
            let last = v1::TaskEvent { body: Some(v1::task_event::Body::End(end)) };
            // An operator who is gone needs no last word.
            let _ = timeout(LAST_WORD, events.send(Ok(last))).await;
        });
        Ok(ReceiverStream::new(stream))
    }

    /// Records the task, has it done, records its end.
    async fn have_done(&self, asked: Asked, events: &Events) -> Ended {
        let Asked { host, order, limit_bytes } = asked;
        if !self.agents.reaches(&host) {
            return failed(
                4,
                format!(
                    "{host} has no session with {}, which leads; is its agent running? On {host} itself: \
                 understudy-agent",
                    self.trust.identity().name()
                ),
            );
        }
        let tasks = self.agents.tasks();
        if !tasks.understands(&host) {
            return failed(1, format!("the agent of {host} does not know tasks yet; upgrade it"));
        }
        let (ended_in, ended) = oneshot::channel();
        let (stop_in, stop) = oneshot::channel();
        let claim = Claim { events: events.clone(), ended: ended_in, stop, limit_bytes };
        let place = match tasks.enter(&order.request, &host, claim) {
            Ok(place) => place,
            Err(why) => return failed(1, why.to_string()),
        };
        if let Err(why) = self.record(ordered(&host, &order)).await {
            return why;
        }
        let (request, limit) = (order.request.clone(), order.limit.to_duration());
        tracing::warn!(%host, by = order.by, task = order.task.words(), "a task was ordered");
        let end = if self.agents.task(&host, order.into()) {
            watch(&place, events, (ended, stop_in), limit).await
        } else {
            failed(4, format!("{host} cannot be told: its session has just ended, or is full"))
        };
        drop(place);
        tracing::info!(%host, request, exit = end.exit, detail = end.detail, "a task has ended");
        let (exit, detail, bytes) = (end.exit, end.detail.clone(), end.bytes);
        let record = Record::TaskEnded { request, exit, detail, bytes, at: certs::now() };
        if let Err(why) = self.record(record).await {
            tracing::warn!(why = why.detail, "the end of a task is not recorded");
        }
        end
    }

    async fn record(&self, record: Record) -> Result<(), Ended> {
        match self.handle.ask(Change::Write(Box::new(record))).await {
            Ok(Applied::Ignored(why)) => Err(failed(1, why)),
            Ok(
                Applied::Done
                | Applied::PlanOpened(_)
                | Applied::ApprovalAsked(_)
                | Applied::HostOrdered(_),
            ) => Ok(()),
            Err(why) => Err(failed(4, why.to_string())),
        }
    }
}

fn failed(exit: u8, detail: String) -> Ended {
    Ended { exit, detail, bytes: 0 }
}

fn ordered(host: &HostId, order: &TaskOrder) -> Record {
    Record::TaskOrdered {
        request: order.request.clone(),
        host: host.clone(),
        task: order.task.words(),
        by: order.by.clone(),
        reason: order.reason.clone(),
        at: certs::now(),
    }
}

/// The same request is done once: what came of it, as far as it is known.
fn repeated(entry: &TaskEntry) -> Ended {
    match &entry.end {
        Some(end) => {
            let detail = match end.detail.as_str() {
                "" => "it was done already; its output is not kept".to_owned(),
                detail => detail.to_owned(),
            };
            Ended { exit: end.exit, detail, bytes: end.bytes }
        }
        None => failed(1, "this request was ordered already, and its end is not recorded".into()),
    }
}

fn checked(peer: &Arc<Peer>, asked: v1::RunTaskRequest) -> Result<Asked, Status> {
    let wrong = |words: String| Status::invalid_argument(words);
    let host = HostId::new(&asked.host).map_err(|e| wrong(e.to_string()))?;
    let request = asked.request_id;
    if request.is_empty() || request.len() > TEXT_MAX || asked.reason.len() > TEXT_MAX {
        return Err(wrong(format!(
            "a request id is needed, and it and the reason have at most {TEXT_MAX} bytes"
        )));
    }
    let task = asked.task.ok_or_else(|| wrong("no task was named".into()))?;
    let task = Task::try_from(task).map_err(|e| wrong(e.to_string()))?;
    let reason = asked.reason.trim().to_owned();
    let limit = match Millis(asked.limit_ms) {
        Millis(0) => LIMIT_MAX,
        limit => limit.min(LIMIT_MAX),
    };
    let limit_bytes = match asked.limit_bytes {
        0 => BYTES_MAX,
        limit => limit.min(BYTES_MAX),
    };
    let order = TaskOrder { request, by: by(peer), reason, limit, json: asked.json, task };
    Ok(Asked { host, order, limit_bytes })
}

/// Waits for the end of a task, and ends it when its time is up or its operator
/// is gone.
async fn watch(
    place: &Place,
    events: &Events,
    (mut ended, stop): (oneshot::Receiver<Ended>, oneshot::Sender<String>),
    limit: Duration,
) -> Ended {
    let mut next = next_of(&mut ended, events, CLAIM_WITHIN).await;
    if matches!(next, Next::TimeUp) {
        if place.withdraw() {
            let why = format!("its agent did not begin within {} s", CLAIM_WITHIN.as_secs());
            return failed(4, why);
        }
        next = next_of(&mut ended, events, limit).await;
    }
    let why = match next {
        Next::Ended(ended) => return ended,
        Next::OperatorGone => "the operator left".to_owned(),
        Next::TimeUp => format!("it took longer than {} s", limit.as_secs()),
    };
    if place.withdraw() {
        return failed(1, why);
    }
    // Fails only when it has ended in this moment.
    let _ = stop.send(why.clone());
    match timeout(STOP_WITHIN, &mut ended).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_)) | Err(_) => failed(1, why),
    }
}

async fn next_of(ended: &mut oneshot::Receiver<Ended>, events: &Events, limit: Duration) -> Next {
    tokio::select! {
        ended = ended => Next::Ended(
            ended.unwrap_or_else(|_| failed(4, "its agent's stream ended".into())),
        ),
        () = events.closed() => Next::OperatorGone,
        () = tokio::time::sleep(limit) => Next::TimeUp,
    }
}
