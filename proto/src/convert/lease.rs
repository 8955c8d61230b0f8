//! Leases.

use super::{WireError, missing, named, text};
use crate::v1;
use model::{
    Epoch, GroupId, HostId, LeaseGrant, LeaseRefusal, LeaseReply, LeaseRequest, Millis, Nonce, Term,
};

impl From<LeaseRequest> for v1::LeaseRequest {
    fn from(r: LeaseRequest) -> Self {
        Self {
            group: r.group.into(),
            host: r.host.into(),
            epoch: r.epoch.0,
            nonce: r.nonce.0,
            derived: r.derived.map(Into::into),
        }
    }
}

impl TryFrom<v1::LeaseRequest> for LeaseRequest {
    type Error = WireError;
    fn try_from(r: v1::LeaseRequest) -> Result<Self, WireError> {
        Ok(Self {
            group: named("LeaseRequest", GroupId::new(r.group))?,
            host: named("LeaseRequest", HostId::new(r.host))?,
            epoch: Epoch(r.epoch),
            nonce: Nonce(r.nonce),
            derived: r.derived.map(Into::into),
        })
    }
}

impl From<LeaseReply> for v1::LeaseReply {
    fn from(reply: LeaseReply) -> Self {
        use v1::{lease_refused::Reason, lease_reply::Body};
        let body = match reply {
            LeaseReply::Granted(g) => Body::Granted(v1::LeaseGrant {
                group: g.group.into(),
                epoch: g.epoch.0,
                nonce: g.nonce.0,
                term: g.term.0,
                lease_ms: g.lease.0,
                gate_margin_ms: g.gate_margin.0,
            }),
            LeaseReply::Refused { group, nonce, term, reason } => Body::Refused(v1::LeaseRefused {
                group: group.into(),
                nonce: nonce.0,
                term: term.0,
                reason: Some(match reason {
                    LeaseRefusal::NotLeader => Reason::NotLeader(true),
                    LeaseRefusal::NoQuorum => Reason::NoQuorum(true),
                    LeaseRefusal::Superseded { epoch } => Reason::SupersededByEpoch(epoch.0),
                    LeaseRefusal::NotActive => Reason::NotActive(true),
                    LeaseRefusal::TimingDiffers { leader, host } => {
                        let (leader, host) = (Some(leader.into()), Some(host.into()));
                        Reason::TimingDiffers(v1::TimingDiffers { leader, host })
                    }
                    LeaseRefusal::Stopped { why } => Reason::Stopped(why),
                    LeaseRefusal::Unknown { detail } => Reason::Unknown(detail),
                }),
            }),
        };
        Self { body: Some(body) }
    }
}

impl TryFrom<v1::LeaseReply> for LeaseReply {
    type Error = WireError;
    fn try_from(reply: v1::LeaseReply) -> Result<Self, WireError> {
        use v1::{lease_refused::Reason, lease_reply::Body};
        match reply.body.ok_or(missing("LeaseReply", "body"))? {
            Body::Granted(g) => Ok(Self::Granted(LeaseGrant {
                group: named("LeaseGrant", GroupId::new(g.group))?,
                epoch: Epoch(g.epoch),
                nonce: Nonce(g.nonce),
                term: Term(g.term),
                lease: Millis(g.lease_ms),
                gate_margin: Millis(g.gate_margin_ms),
            })),
            Body::Refused(r) => Ok(Self::Refused {
                group: named("LeaseRefused", GroupId::new(r.group))?,
                nonce: Nonce(r.nonce),
                term: Term(r.term),
                reason: match r.reason.ok_or(missing("LeaseRefused", "reason"))? {
                    Reason::NotLeader(_) => LeaseRefusal::NotLeader,
                    Reason::NoQuorum(_) => LeaseRefusal::NoQuorum,
                    Reason::SupersededByEpoch(epoch) => {
                        LeaseRefusal::Superseded { epoch: Epoch(epoch) }
                    }
                    Reason::NotActive(_) => LeaseRefusal::NotActive,
                    Reason::TimingDiffers(differs) => LeaseRefusal::TimingDiffers {
                        leader: differs.leader.ok_or(missing("TimingDiffers", "leader"))?.into(),
                        host: differs.host.ok_or(missing("TimingDiffers", "host"))?.into(),
                    },
                    Reason::Stopped(why) => LeaseRefusal::Stopped { why: text(why) },
                    Reason::Unknown(detail) => LeaseRefusal::Unknown { detail: text(detail) },
                },
            }),
        }
    }
}
