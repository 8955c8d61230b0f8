//! Work that operators order through the coordinators, beside any plan: each in a
//! process of its own, its output on a connection of its own, so that neither
//! heartbeats nor leases feel it (A4).
//!
//! Invariants: only what `[tasks]` of agent.toml allows is done (A7); the same
//! request is done once; a bounded number runs at once; what a process writes waits
//! in it until the operator has read what came before; a process ends when its
//! connection does, or the agent.

mod arguments;
mod child;
mod config;
mod tie;

pub use config::TasksConfig;
pub use tie::tie;

use certs::{Expected, Link, Trust};
use futures::stream;
use model::TaskOrder;
use proto::v1::{
    HostTask, TaskBegin, TaskEnd, TaskUp, agent_link_client::AgentLinkClient, task_up::Body,
};
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Tasks that run at once: a backup, and a look at what there is.
const SEATS: usize = 2;
/// Answers under way at once, refusals among them.
const CALLS_MAX: usize = 8;
/// Requests that are remembered, so that none is done twice.
const SEEN_MAX: usize = 256;
/// What is read from a process at once, and sent as one piece.
const PIECE: usize = 64 * 1024;
/// Pieces that may wait for the connection: 256 KiB.
const PIECES_MAX: usize = 4;
/// How long the end of a task may take to be taken.
const LAST_WORD: Duration = Duration::from_secs(360);
/// The longest that a task may take, whatever the coordinator says.
const LIMIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// The exit code of what a rule of this host refuses.
const REFUSED: u32 = 3;

/// A cut is noticed within ten seconds, and the task ended.
const TASK_LINK: Link = Link {
    connect: Duration::from_secs(5),
    keepalive_interval: Duration::from_secs(4),
    keepalive_timeout: Duration::from_secs(4),
    user_timeout: Duration::from_secs(10),
    call: None,
};

/// Why a task's output did not arrive.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    /// The coordinator cannot be dialled.
    #[error("{}", certs::explain(.0))]
    Connect(#[from] certs::ConnectError),
    /// It refused the call, or ended it, or was lost.
    #[error("{}", certs::explain_status(.0))]
    Call(Box<tonic::Status>),
    /// It did not take the task's end.
    #[error("it did not take the task's end within {} s", LAST_WORD.as_secs())]
    Silent,
}

impl From<tonic::Status> for TaskError {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// Where the output of one task goes.
#[derive(Debug, Clone)]
struct Up(mpsc::Sender<TaskUp>);

impl Up {
    const fn to(queue: mpsc::Sender<TaskUp>) -> Self {
        Self(queue)
    }

    /// Waits for room; an error when nobody takes it any more.
    async fn send(&self, body: Body) -> Result<(), mpsc::error::SendError<TaskUp>> {
        self.0.send(TaskUp { body: Some(body) }).await
    }
}

#[derive(Debug)]
struct Inner {
    program: PathBuf,
    config: PathBuf,
    allowed: TasksConfig,
    seats: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    seen: Mutex<VecDeque<String>>,
}

/// What this host does for operators. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks(Arc<Inner>);

impl Tasks {
    /// Tasks done by `program`, which is this very program, with the agent.toml at
    /// `config`, as far as that allows them.
    #[must_use]
    pub fn new(program: PathBuf, config: PathBuf, allowed: TasksConfig) -> Self {
        let (seats, calls) = (Semaphore::new(SEATS).into(), Semaphore::new(CALLS_MAX).into());
        Self(Arc::new(Inner { program, config, allowed, seats, calls, seen: Mutex::default() }))
    }

    /// Takes up a task that came from the coordinator at `address`, and answers
    /// there. Never waits.
    pub(crate) fn take_up(&self, trust: &Trust, address: &str, task: HostTask) {
        let request = task.request.clone();
        let Ok(call) = Arc::clone(&self.0.calls).try_acquire_owned() else {
            tracing::warn!(coordinator = address, request, "a task is dropped: too many at once");
            return;
        };
        let work = self.admit(task);
        let (tasks, trust, address) = (self.clone(), trust.clone(), address.to_owned());
        tokio::spawn(async move {
            if let Err(error) = tasks.answer(&trust, &address, &request, work).await {
                tracing::warn!(coordinator = address, request, %error, "a task was cut short");
            }
            drop(call);
        });
    }

    /// A seat for a task that may be done; its end for one that may not.
    fn admit(&self, task: HostTask) -> Result<(OwnedSemaphorePermit, TaskOrder), TaskEnd> {
        let refused = |exit, detail: String| {
            tracing::warn!(reason = detail, "a task was refused");
            TaskEnd { exit, detail }
        };
        let order = TaskOrder::try_from(task)
            .map_err(|error| refused(1, format!("{error}; is this agent too old?")))?;
        let what = order.task.words();
        tracing::warn!(by = order.by, task = what, reason = order.reason, "a task was ordered");
        if let Some(why) = self.0.allowed.refusal(order.task.kind()) {
            return Err(refused(REFUSED, why));
        }
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(&order.request) {
            return Err(refused(1, "this request was taken up already".into()));
        }
        let Ok(seat) = Arc::clone(&self.0.seats).try_acquire_owned() else {
            let why = format!("{SEATS} tasks run on this host; try again when one has ended");
            return Err(refused(1, why));
        };
        seen.push_back(order.request.clone());
        if seen.len() > SEEN_MAX {
            seen.pop_front();
        }
        Ok((seat, order))
    }

    async fn answer(
        &self,
        trust: &Trust,
        address: &str,
        request: &str,
        work: Result<(OwnedSemaphorePermit, TaskOrder), TaskEnd>,
    ) -> Result<(), TaskError> {
        let channel = certs::connect(trust, address, &Expected::coordinator(), &TASK_LINK).await?;
        let (queue, waiting) = mpsc::channel(PIECES_MAX);
        let up = Up::to(queue);
        let begin = Body::Begin(TaskBegin { request: request.to_owned() });
        // The queue is empty and its reader is at hand.
        let _ = up.send(begin).await;
        let pieces = stream::unfold(waiting, |mut waiting| async move {
            waiting.recv().await.map(|piece| (piece, waiting))
        });
        let mut client = AgentLinkClient::new(channel);
        let call = client.task_output(pieces);
        let (stop_in, stop) = oneshot::channel();
        let work = self.work(work, &up, stop);
        tokio::pin!(call, work);
        let end = tokio::select! {
            answer = &mut call => {
                // An answer before the end: it is to stop.
                drop(stop_in);
                let end = work.await;
                tracing::warn!(request, detail = end.detail, "a task was ended");
                return answer.map(drop).map_err(Into::into);
            }
            end = &mut work => end,
        };
        tracing::info!(request, exit = end.exit, detail = end.detail, "a task has ended");
        let last = async {
            // Fails only when the call has ended, which says why itself.
            let _ = up.send(Body::End(end)).await;
        };
        let both = async { tokio::join!(last, call).1 };
        let answer = tokio::time::timeout(LAST_WORD, both).await.map_err(|_| TaskError::Silent)?;
        answer.map(drop).map_err(Into::into)
    }

    async fn work(
        &self,
        work: Result<(OwnedSemaphorePermit, TaskOrder), TaskEnd>,
        up: &Up,
        stop: oneshot::Receiver<()>,
    ) -> TaskEnd {
        match work {
            Err(end) => end,
            Ok((seat, order)) => {
                let arguments = arguments::of(&order, &self.0.config);
                let limit = order.limit.to_duration().min(LIMIT_MAX);
                let end = child::run(&self.0.program, arguments, limit, up, stop).await;
                drop(seat);
                end
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Millis, Task};
    use proto::v1;

    fn tasks(allow: &str) -> Tasks {
        let allowed = toml::from_str(&format!("allow = [{allow}]")).unwrap();
        Tasks::new("/bin/true".into(), "/etc/agent.toml".into(), allowed)
    }

    fn order(request: &str) -> HostTask {
        let (by, reason) = ("ann".to_owned(), String::new());
        let task = Task::BackupList { source: None };
        let limit = Millis(1000);
        TaskOrder { request: request.into(), by, reason, limit, json: false, task }.into()
    }

    #[test]
    fn a_request_is_done_once_and_a_bounded_number_at_once() {
        let tasks = tasks("\"backup\"");
        let first = tasks.admit(order("r1")).unwrap();
        assert!(tasks.admit(order("r1")).unwrap_err().detail.contains("already"));
        let second = tasks.admit(order("r2")).unwrap();
        let full = tasks.admit(order("r3")).unwrap_err();
        assert!(full.exit == 1 && full.detail.contains("2 tasks run"), "{}", full.detail);
        drop(first);
        // One that was refused for want of a seat may be ordered again.
        assert!(tasks.admit(order("r3")).is_ok());
        drop(second);
        for number in 0..2 * SEEN_MAX {
            drop(tasks.admit(order(&format!("n{number}"))));
        }
        assert_eq!(tasks.0.seen.lock().unwrap().len(), SEEN_MAX, "bounded");
    }

    #[test]
    fn a7_what_agent_toml_does_not_allow_is_refused_and_so_is_what_is_not_known() {
        let refused = tasks("\"restore\"").admit(order("r1")).unwrap_err();
        assert!(refused.exit == REFUSED && refused.detail.contains("[tasks]"), "{refused:?}");
        let newer = HostTask { task: Some(v1::Task { work: None }), ..order("r1") };
        let refused = tasks("\"backup\"").admit(newer).unwrap_err();
        assert!(refused.exit == 1 && refused.detail.contains("too old"), "{refused:?}");
    }
}
