//! Promises between agents (A6).

use super::{WireError, missing, named, text};
use crate::v1;
use model::{Epoch, GroupId, HostId, Millis, Nonce, PromiseRefusal, PromiseReply, PromiseRequest};

impl From<PromiseRequest> for v1::PromiseRequest {
    fn from(r: PromiseRequest) -> Self {
        Self {
            group: r.group.into(),
            host: r.host.into(),
            epoch: r.epoch.0,
            nonce: r.nonce.0,
            lease_ms: r.lease.0,
        }
    }
}

impl TryFrom<v1::PromiseRequest> for PromiseRequest {
    type Error = WireError;
    fn try_from(r: v1::PromiseRequest) -> Result<Self, WireError> {
        Ok(Self {
            group: named("PromiseRequest", GroupId::new(r.group))?,
            host: named("PromiseRequest", HostId::new(r.host))?,
            epoch: Epoch(r.epoch),
            nonce: Nonce(r.nonce),
            lease: Millis(r.lease_ms),
        })
    }
}

impl From<PromiseReply> for v1::PromiseReply {
    fn from(reply: PromiseReply) -> Self {
        use v1::promise_reply::Answer;
        let (group, host, nonce, answer) = match reply {
            PromiseReply::Promised { group, host, nonce } => {
                (group, host, nonce, Answer::Promised(true))
            }
            PromiseReply::Refused { group, host, nonce, reason } => {
                let answer = match reason {
                    PromiseRefusal::HigherEpoch { epoch } => Answer::RefusedHigherEpoch(epoch.0),
                    PromiseRefusal::Fencing => Answer::RefusedFencing(true),
                    PromiseRefusal::Active => Answer::RefusedActive(true),
                    PromiseRefusal::Unknown { detail } => Answer::RefusedUnknown(detail),
                };
                (group, host, nonce, answer)
            }
        };
        Self { group: group.into(), host: host.into(), nonce: nonce.0, answer: Some(answer) }
    }
}

impl TryFrom<v1::PromiseReply> for PromiseReply {
    type Error = WireError;
    fn try_from(reply: v1::PromiseReply) -> Result<Self, WireError> {
        use v1::promise_reply::Answer;
        let group = named("PromiseReply", GroupId::new(reply.group))?;
        let host = named("PromiseReply", HostId::new(reply.host))?;
        let nonce = Nonce(reply.nonce);
        let reason = match reply.answer.ok_or(missing("PromiseReply", "answer"))? {
            // "Promised: no" is nothing that anybody says; it promises nothing.
            Answer::Promised(false) => {
                PromiseRefusal::Unknown { detail: "it did not promise".into() }
            }
            Answer::Promised(true) => return Ok(Self::Promised { group, host, nonce }),
            Answer::RefusedHigherEpoch(epoch) => {
                PromiseRefusal::HigherEpoch { epoch: Epoch(epoch) }
            }
            Answer::RefusedFencing(_) => PromiseRefusal::Fencing,
            Answer::RefusedActive(_) => PromiseRefusal::Active,
            Answer::RefusedUnknown(detail) => PromiseRefusal::Unknown { detail: text(detail) },
        };
        Ok(Self::Refused { group, host, nonce, reason })
    }
}
