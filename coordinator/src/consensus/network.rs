//! What this node sends to the other members: the Raft library's messages as
//! JSON inside `PeerMessage`.
//!
//! Who may be connected to, and how, is the dialer's business. Snapshots,
//! heartbeats and the rest each have their own connection to a member, so that
//! a long snapshot cannot make a member believe that its leader is silent.

use super::types::{Member, Snapshot, SnapshotMeta, Types, Vote};
use openraft::{
    OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use proto::v1::{PeerMessage, PeerReply, peer_client::PeerClient};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tonic::{Code, Request, Response, Status, transport::Channel};

/// Makes a channel to "host:port" that connects by itself when it is used.
pub type Dialer = Arc<dyn Fn(&str) -> Channel + Send + Sync>;

/// The largest message taken or sent: a snapshot of the whole state.
pub(super) const MESSAGE_MAX: usize = 256 << 20;
/// A connection on which nothing was answered for this long is made anew. TCP
/// alone would find its way back after a cut only in steps of many seconds.
const REDIAL_AFTER: Duration = Duration::from_secs(1);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Messages,
    Heartbeats,
    Snapshots,
}

/// The connections to all members.
pub(super) struct Links {
    own: u64,
    dial: Dialer,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    addresses: BTreeMap<u64, String>,
    held: BTreeMap<(u64, Purpose), Held>,
    /// The words of the last failure, until an answer comes.
    problems: BTreeMap<u64, String>,
}

struct Held {
    address: String,
    channel: Channel,
    /// Since when nothing was answered.
    silent_since: Option<Instant>,
}

impl Links {
    pub(super) fn new(own: u64, dial: Dialer) -> Self {
        Self { own, dial, table: Mutex::default() }
    }

    /// Connections of any kind that are not to a member (yet).
    pub(super) fn dial(&self, address: &str) -> Channel {
        (self.dial)(address)
    }

    /// Keeps the members' addresses, and forgets who is no member any more.
    pub(super) fn learn<'a>(&self, members: impl Iterator<Item = (&'a u64, &'a Member)>) {
        let mut table = self.table();
        table.addresses = members.map(|(node, member)| (*node, member.address.clone())).collect();
        let Table { addresses, held, problems } = &mut *table;
        held.retain(|(node, _), _| addresses.contains_key(node));
        problems.retain(|node, _| addresses.contains_key(node));
    }

    /// Why the last message to a member failed, if it did.
    pub(super) fn problem(&self, node: u64) -> Option<String> {
        self.table().problems.get(&node).cloned()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channel(&self, to: u64, purpose: Purpose) -> Result<Channel, Status> {
        let mut table = self.table();
        let Some(address) = table.addresses.get(&to).cloned() else {
            return Err(Status::unavailable(format!("node {to} is not a member any more")));
        };
        if let Some(held) = table.held.get(&(to, purpose))
            && held.address == address
            && held.silent_since.is_none_or(|since| since.elapsed() < REDIAL_AFTER)
        {
            return Ok(held.channel.clone());
        }
        let channel = (self.dial)(&address);
        let held = Held { address, channel: channel.clone(), silent_since: None };
        table.held.insert((to, purpose), held);
        Ok(channel)
    }

    fn answered(&self, to: u64, purpose: Purpose) {
        let mut table = self.table();
        table.problems.remove(&to);
        if let Some(held) = table.held.get_mut(&(to, purpose)) {
            held.silent_since = None;
        }
    }

    fn unanswered(&self, to: u64, purpose: Purpose, problem: String) {
        let mut table = self.table();
        if let Some(held) = table.held.get_mut(&(to, purpose)) {
            held.silent_since.get_or_insert_with(Instant::now);
        }
        if table.addresses.contains_key(&to) {
            table.problems.insert(to, problem);
        }
    }
}

/// One message on its way. The library drops it at the deadline without a word:
/// that too counts as no answer.
struct Attempt<'a> {
    line: &'a Line,
    outcome: Option<Result<(), String>>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Line { links, to, purpose } = self.line;
        match self.outcome.take() {
            Some(Ok(())) => links.answered(*to, *purpose),
            Some(Err(words)) => links.unanswered(*to, *purpose, words),
            None => links.unanswered(*to, *purpose, "no answer in time".into()),
        }
    }
}

/// Which of the peer service's calls carries a message.
#[derive(Debug, Clone, Copy)]
enum Call {
    Append,
    Vote,
    PreVote,
    Snapshot,
    Transfer,
}

/// The library's connection to one member.
pub(super) struct Line {
    links: Arc<Links>,
    to: u64,
    purpose: Purpose,
}

impl Line {
    async fn call<M, R>(
        &self,
        call: Call,
        message: &M,
        limit: Duration,
    ) -> Result<R, RPCError<Types>>
    where
        M: Serialize + Sync,
        R: DeserializeOwned,
    {
        let mut attempt = Attempt { line: self, outcome: None };
        let answer = self.exchange(call, message, limit).await;
        attempt.outcome = Some(match &answer {
            Ok(_) => Ok(()),
            Err(status) => Err(status.message().to_owned()),
        });
        answer.map_err(|status| self.failure(call, limit, &status))
    }

    async fn exchange<M, R>(&self, call: Call, message: &M, limit: Duration) -> Result<R, Status>
    where
        M: Serialize + Sync,
        R: DeserializeOwned,
    {
        let unreadable = |why: serde_json::Error| Status::internal(format!("not JSON: {why}"));
        let body = serde_json::to_vec(message).map_err(unreadable)?;
        let mut request = Request::new(PeerMessage {
            protocol_major: proto::MAJOR,
            protocol_minor: proto::MINOR,
            from: self.links.own,
            to: self.to,
            body,
        });
        request.set_timeout(limit);
        let mut client = PeerClient::new(self.links.channel(self.to, self.purpose)?)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        let reply: Response<PeerReply> = match call {
            Call::Append => client.append_entries(request).await?,
            Call::Vote => client.vote(request).await?,
            Call::PreVote => client.pre_vote(request).await?,
            Call::Snapshot => client.install_snapshot(request).await?,
            Call::Transfer => client.transfer_leader(request).await?,
        };
        serde_json::from_slice(&reply.into_inner().body).map_err(unreadable)
    }

    fn failure(&self, call: Call, timeout: Duration, status: &Status) -> RPCError<Types> {
        if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) {
            let action = match call {
                Call::Append => RPCTypes::AppendEntries,
                Call::Vote | Call::PreVote => RPCTypes::Vote,
                Call::Snapshot => RPCTypes::InstallSnapshot,
                Call::Transfer => RPCTypes::TransferLeader,
            };
            let (id, target) = (self.links.own, self.to);
            return RPCError::Timeout(Timeout { action, id, target, timeout });
        }
        RPCError::Unreachable(Unreachable::from_string(status.message()))
    }
}

impl RaftNetworkV2<Types> for Line {
    type SnapshotData = String;

    async fn append_entries(
        &mut self,
        message: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.call(Call::Append, &message, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        message: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Call::Vote, &message, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        message: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Call::PreVote, &message, option.hard_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        message: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.call(Call::Transfer, &message, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let message: SnapshotMessage = (vote, snapshot.meta, snapshot.snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.call(Call::Snapshot, &message, option.hard_ttl()) => Ok(answer?),
        }
    }
}

/// What a snapshot's message holds.
pub(super) type SnapshotMessage = (Vote, SnapshotMeta, String);

/// Makes the library's connections.
pub(super) struct Factory(pub(super) Arc<Links>);

impl Factory {
    fn line(&self, to: u64, member: &Member, purpose: Purpose) -> Line {
        let links = Arc::clone(&self.0);
        links.table().addresses.entry(to).or_insert_with(|| member.address.clone());
        Line { links, to, purpose }
    }
}

impl RaftNetworkFactory<Types> for Factory {
    type Network = Line;

    async fn new_client(&mut self, to: u64, member: &Member) -> Line {
        self.line(to, member, Purpose::Messages)
    }

    async fn new_heartbeat_client(&mut self, to: u64, member: &Member) -> Line {
        self.line(to, member, Purpose::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, to: u64, member: &Member) -> Line {
        self.line(to, member, Purpose::Snapshots)
    }
}
