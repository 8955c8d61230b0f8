//! What the other members and newcomers ask of this node.
//!
//! That the caller is a coordinator or witness at all is checked before, where
//! its certificate is known. Here: a message is for this node's number and in a
//! language that it understands, or it is refused in words.

use super::{
    members::ChangeError,
    network::{MESSAGE_MAX, SnapshotMessage},
    node::Node,
    types::{Member, Snapshot},
};
use openraft::errors::{Fatal, RaftError};
use proto::v1::{
    IntroduceReply, IntroduceRequest, JoinReply, JoinRequest, PeerMessage, PeerReply,
    peer_server::{Peer, PeerServer},
};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use tonic::{Request, Response, Status, metadata::MetadataValue};

/// Beside a follower's refusal of a newcomer: where the leader is.
pub(super) const LEADER_HEADER: &str = "understudy-leader";

/// Who calls, as its certificate says. Whoever checks certificates puts it into
/// a request's extensions; then a newcomer can only join under its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The certificate's name. Whether it is a witness no certificate says:
    /// the role in the cluster is the configuration's.
    pub name: String,
}

/// The peer service of one node.
#[derive(Clone)]
pub struct PeerService(pub(super) Arc<Node>);

impl PeerService {
    pub(super) fn server(node: Arc<Node>) -> PeerServer<Self> {
        PeerServer::new(Self(node))
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    fn read<M: DeserializeOwned>(&self, request: Request<PeerMessage>) -> Result<M, Status> {
        let message = request.into_inner();
        let version = proto::v1::Version {
            major: message.protocol_major,
            minor: message.protocol_minor,
            program: format!("of node {}", message.from),
        };
        proto::check_version(Some(&version))
            .map_err(|skew| Status::failed_precondition(skew.to_string()))?;
        if message.to != self.0.id {
            return Err(Status::failed_precondition(format!(
                "this is {} with number {}, and the message is for number {}: this coordinator \
                 was rebuilt, or the address belonged to another; the members show who is meant",
                self.0.settings.member.name, self.0.id, message.to
            )));
        }
        serde_json::from_slice(&message.body).map_err(|why| {
            let program = env!("CARGO_PKG_VERSION");
            Status::invalid_argument(format!(
                "this coordinator (version {program}) cannot read the message: {why}; upgrade it"
            ))
        })
    }

    fn ended(&self, why: &Fatal<super::types::Types>) -> Status {
        let why = self.0.ended(why);
        Status::unavailable(super::fatal::in_full(&*why))
    }

    fn answer<A: Serialize>(
        &self,
        answer: Result<A, RaftError<super::types::Types>>,
    ) -> Result<Response<PeerReply>, Status> {
        reply(&answer.map_err(|why| self.ended(&why.unwrap_fatal()))?)
    }

    async fn join(&self, newcomer: JoinRequest, caller: Option<Caller>) -> Result<(), ChangeError> {
        let witness = match newcomer.role.as_str() {
            "coordinator" => false,
            "witness" => true,
            other => {
                let words = format!("`{other}` is no role; use \"coordinator\" or \"witness\"");
                return Err(ChangeError::Refused(words));
            }
        };
        if let Some(caller) = caller
            && caller.name != newcomer.name
        {
            return Err(ChangeError::Refused(format!(
                "the certificate is for {}, and it asks to join as the {} {}",
                caller.name, newcomer.role, newcomer.name
            )));
        }
        let member = Member { name: newcomer.name, address: newcomer.address, witness };
        self.0.admit(newcomer.node, member).await
    }
}

fn reply<A: Serialize>(answer: &A) -> Result<Response<PeerReply>, Status> {
    let body = serde_json::to_vec(answer).map_err(|why| Status::internal(why.to_string()))?;
    Ok(Response::new(PeerReply { body }))
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn append_entries(
        &self,
        request: Request<PeerMessage>,
    ) -> Result<Response<PeerReply>, Status> {
        self.answer(self.0.raft.append_entries(self.read(request)?).await)
    }

    async fn vote(&self, request: Request<PeerMessage>) -> Result<Response<PeerReply>, Status> {
        self.answer(self.0.raft.vote(self.read(request)?).await)
    }

    async fn pre_vote(&self, request: Request<PeerMessage>) -> Result<Response<PeerReply>, Status> {
        self.answer(self.0.raft.pre_vote(self.read(request)?).await)
    }

    async fn install_snapshot(
        &self,
        request: Request<PeerMessage>,
    ) -> Result<Response<PeerReply>, Status> {
        let (vote, meta, snapshot): SnapshotMessage = self.read(request)?;
        let snapshot = Snapshot { meta, snapshot };
        let answer = self.0.raft.install_full_snapshot(vote, snapshot).await;
        reply(&answer.map_err(|why| self.ended(&why))?)
    }

    async fn transfer_leader(
        &self,
        request: Request<PeerMessage>,
    ) -> Result<Response<PeerReply>, Status> {
        let answer = self.0.raft.handle_transfer_leader(self.read(request)?).await;
        reply(&answer.map_err(|why| self.ended(&why))?)
    }

    async fn introduce(
        &self,
        _request: Request<IntroduceRequest>,
    ) -> Result<Response<IntroduceReply>, Status> {
        let own = &self.0.settings.member;
        Ok(Response::new(IntroduceReply {
            node: self.0.id,
            name: own.name.clone(),
            role: own.role().into(),
            address: own.address.clone(),
            member: self.0.membership().get_node(&self.0.id).is_some(),
            enrol_address: self.0.settings.enrol_address.clone(),
        }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let done = self.join(request.into_inner(), caller).await;
        let accepted = done.is_ok();
        let (detail, leader) = match done {
            Ok(()) => ("admitted as a voter".to_owned(), None),
            Err(ChangeError::NotLeader { leader }) => {
                (ChangeError::NotLeader { leader: leader.clone() }.to_string(), leader)
            }
            Err(why) => (super::fatal::in_full(&why), None),
        };
        let mut response = Response::new(JoinReply { accepted, detail });
        if let Some(leader) = leader
            && let Ok(address) = MetadataValue::try_from(leader.address)
        {
            response.metadata_mut().insert(LEADER_HEADER, address);
        }
        Ok(response)
    }
}
