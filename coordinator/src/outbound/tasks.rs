//! Tasks on their way: who waits for which host's output.
//!
//! An operator's call enters here before the agent is told; the agent's stream
//! claims it. Everything that passes between the two is bounded: a slow operator
//! fills a short queue, and the agent's stream waits (HTTP/2 flow control).

use model::HostId;
use proto::v1;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

/// Events that may wait for one operator, 64 KiB each at the most: 1 MiB.
pub const EVENTS_MAX: usize = 16;
/// The largest piece of output: what an agent reads from a pipe at once.
pub const PIECE_MAX: usize = 64 * 1024;
/// Tasks under way on one coordinator: 32 MiB of queues.
pub const TASKS_MAX: usize = 32;
/// The protocol's minor number from which agents know tasks.
const SINCE_MINOR: u32 = 1;

/// To the operator.
pub type Events = mpsc::Sender<Result<v1::TaskEvent, tonic::Status>>;

/// How a task ended, as far as this coordinator knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub exit: u8,
    /// Empty, or why it ended so.
    pub detail: String,
    /// What it wrote.
    pub bytes: u64,
}

/// What an agent's stream needs to serve a task.
#[derive(Debug)]
pub struct Claim {
    /// What the task writes goes there.
    pub events: Events,
    /// How it ended; dropped when the agent was lost.
    pub ended: oneshot::Sender<Ended>,
    /// Resolves when the task is to end, with the reason.
    pub stop: oneshot::Receiver<String>,
    /// How much it may write.
    pub limit_bytes: u64,
}

/// A task that has a place.
#[derive(Debug)]
struct Entry {
    host: HostId,
    /// Nothing once an agent has claimed it.
    claim: Option<Claim>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The protocol's minor number of each host's newest session.
    minors: BTreeMap<HostId, u32>,
    entries: BTreeMap<String, Entry>,
}

/// Tasks under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Mutex<Inner>>);

/// A task's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    tasks: Tasks,
    request: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tasks.lock().entries.remove(&self.request);
    }
}

/// Why a task has no place here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// The same request again.
    #[error("this request is under way already")]
    UnderWay,
    /// Too many at once.
    #[error("{TASKS_MAX} tasks are under way on this coordinator; try again when one has ended")]
    Full,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host's agent speaks this minor number of the protocol.
    pub fn hello(&self, host: &HostId, minor: u32) {
        self.lock().minors.insert(host.clone(), minor);
    }

    /// Whether the agent that was heard last from this host knows tasks.
    #[must_use]
    pub fn understands(&self, host: &HostId) -> bool {
        self.lock().minors.get(host).is_none_or(|minor| *minor >= SINCE_MINOR)
    }

    /// A place for a task that its host's agent may claim.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn enter(&self, request: &str, host: &HostId, claim: Claim) -> Result<Place, NoPlace> {
        let mut inner = self.lock();
        if inner.entries.contains_key(request) {
            return Err(NoPlace::UnderWay);
        }
        if inner.entries.len() >= TASKS_MAX {
            return Err(NoPlace::Full);
        }
        let entry = Entry { host: host.clone(), claim: Some(claim) };
        inner.entries.insert(request.to_owned(), entry);
        Ok(Place { tasks: self.clone(), request: request.to_owned() })
    }

    /// What an agent's stream needs; nothing when nobody waits for this host's
    /// output, or a stream has claimed it already.
    #[must_use]
    pub fn claim(&self, request: &str, host: &HostId) -> Option<Claim> {
        let mut inner = self.lock();
        inner.entries.get_mut(request).filter(|entry| entry.host == *host)?.claim.take()
    }
}

impl Place {
    /// Takes the task back when no agent has claimed it yet; whether that was so.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let mut inner = self.tasks.lock();
        inner.entries.get_mut(&self.request).is_some_and(|entry| entry.claim.take().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        let (events, _) = mpsc::channel(1);
        let (ended, _) = oneshot::channel();
        let (_, stop) = oneshot::channel();
        Claim { events, ended, stop, limit_bytes: 1 }
    }

    #[test]
    fn a_task_is_claimed_once_by_its_own_host_and_places_are_bounded() {
        let tasks = Tasks::default();
        let host = |name: &str| HostId::new(name).unwrap();
        let place = tasks.enter("r1", &host("p1"), claim()).unwrap();
        let again = tasks.enter("r1", &host("p1"), claim());
        assert_eq!(again.err(), Some(NoPlace::UnderWay));
        assert!(tasks.claim("r1", &host("s1")).is_none(), "another host's");
        assert!(tasks.claim("r1", &host("p1")).is_some());
        assert!(tasks.claim("r1", &host("p1")).is_none(), "a second stream");
        assert!(!place.withdraw(), "it is claimed");
        let number = |at: usize| format!("n{at}");
        let all: Vec<Place> = (1..TASKS_MAX)
            .map(|at| tasks.enter(&number(at), &host("p1"), claim()).unwrap())
            .collect();
        assert_eq!(tasks.enter("r2", &host("p1"), claim()).err(), Some(NoPlace::Full));
        drop(place);
        let place = tasks.enter("r2", &host("p1"), claim()).unwrap();
        assert!(place.withdraw() && tasks.claim("r2", &host("p1")).is_none());
        assert_eq!(all.len(), TASKS_MAX - 1);
    }

    #[test]
    fn an_agent_that_is_too_old_is_known() {
        let (tasks, host) = (Tasks::default(), HostId::new("p1").unwrap());
        assert!(tasks.understands(&host), "not heard yet: that is another reason");
        tasks.hello(&host, SINCE_MINOR - 1);
        assert!(!tasks.understands(&host));
        tasks.hello(&host, SINCE_MINOR);
        assert!(tasks.understands(&host));
    }
}
