//! The agents' open sessions and lease streams: where commands, assignments
//! and lease answers go out. Bounded everywhere: what does not fit is dropped,
//! and the core asks again.

use failover::Asker;
use model::{Command, GroupAssignment, HostId, LeaseReply, Term};
use proto::v1;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::mpsc;

/// Messages that may wait for one agent: a plan's commands, several times over.
pub const QUEUE: usize = 64;

type Out = mpsc::Sender<Result<v1::CoordinatorMessage, tonic::Status>>;
type LeaseOut = mpsc::Sender<Result<v1::LeaseReply, tonic::Status>>;

#[derive(Default)]
struct Inner {
    sessions: BTreeMap<HostId, (u64, Out)>,
    leases: BTreeMap<Asker, LeaseOut>,
    last: u64,
}

/// Who is connected. Cheap to clone.
#[derive(Clone, Default)]
pub struct Agents(Arc<Mutex<Inner>>);

impl Agents {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session is open; it replaces an older one of the same host.
    #[must_use]
    pub fn enter(&self, host: &HostId, out: Out) -> u64 {
        let mut inner = self.lock();
        inner.last += 1;
        let number = inner.last;
        inner.sessions.insert(host.clone(), (number, out));
        number
    }

    /// A session has ended, unless a newer one took its place.
    pub fn leave(&self, host: &HostId, number: u64) {
        let mut inner = self.lock();
        if inner.sessions.get(host).is_some_and(|(current, _)| *current == number) {
            inner.sessions.remove(host);
        }
    }

    /// A lease stream is open.
    pub fn enter_lease(&self, asker: Asker, out: LeaseOut) {
        self.lock().leases.insert(asker, out);
    }

    /// A lease stream has ended.
    pub fn leave_lease(&self, asker: Asker) {
        self.lock().leases.remove(&asker);
    }

    /// Sends the answer to a renewal; a full stream drops it, the agent asks again.
    pub fn answer(&self, asker: Asker, reply: LeaseReply) {
        if let Some(out) = self.lock().leases.get(&asker) {
            let _dropped_when_full = out.try_send(Ok(reply.into()));
        }
    }

    /// Sends a command; false when there is no session or it is full.
    #[must_use]
    pub fn command(&self, command: Command) -> bool {
        let host = command.host.clone();
        self.send(&host, v1::coordinator_message::Body::Command(command.into()))
    }

    /// Tells an agent where its groups stand.
    pub fn assign(&self, host: &HostId, term: Term, groups: Vec<GroupAssignment>) {
        let groups = groups.into_iter().map(Into::into).collect();
        let assignment = v1::Assignment { groups, term: term.0 };
        // Without a session it is told at the next one's start.
        let _told_later = self.send(host, v1::coordinator_message::Body::Assignment(assignment));
    }

    /// Tells every agent which certificates are revoked.
    pub fn trust(&self, revoked: &BTreeMap<String, String>) {
        let revoked = revoked.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        self.broadcast(&v1::coordinator_message::Body::Trust(v1::TrustUpdate { revoked }));
    }

    /// Tells every agent who the coordinators are.
    pub fn welcome(&self, welcome: &v1::Welcome) {
        self.broadcast(&v1::coordinator_message::Body::Welcome(welcome.clone()));
    }

    fn broadcast(&self, body: &v1::coordinator_message::Body) {
        let hosts: Vec<HostId> = self.lock().sessions.keys().cloned().collect();
        for host in hosts {
            let _told_later = self.send(&host, body.clone());
        }
    }

    fn send(&self, host: &HostId, body: v1::coordinator_message::Body) -> bool {
        let message = v1::CoordinatorMessage { body: Some(body) };
        match self.lock().sessions.get(host) {
            Some((_, out)) => out.try_send(Ok(message)).is_ok(),
            None => false,
        }
    }
}
