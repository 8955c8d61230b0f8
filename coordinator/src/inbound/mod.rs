//! gRPC -> Event. Here callers are checked (role, name, version), messages
//! become the model's, and refusals become statuses in words.

pub mod agents;
pub mod enrolment;
pub mod operators;
pub mod peers;
mod tasks;

use crate::driver::Gone;
use failover::Refused;
use tonic::{Code, Status, metadata::MetadataValue};

#[cfg(test)]
mod tests;

/// Beside a refusal by a coordinator that does not lead: "host:port" of the
/// one that does, empty when none is known.
pub const LEADER_HEADER: &str = "understudy-leader";
/// Beside a refusal by a safety rule.
pub const REFUSED_HEADER: &str = "understudy-refused-by";

/// A refusal by a coordinator that does not lead.
#[must_use]
pub fn not_leader(leader: Option<&str>) -> Status {
    let words = match leader {
        Some(address) => format!("this coordinator does not lead; {address} does"),
        None => "this coordinator does not lead and knows of no leader yet".to_owned(),
    };
    let mut status = Status::new(Code::FailedPrecondition, words);
    let value = MetadataValue::try_from(leader.unwrap_or_default());
    status.metadata_mut().insert(LEADER_HEADER, value.unwrap_or(MetadataValue::from_static("")));
    status
}

/// A refusal of the core as a status; `leader` as for [`not_leader`].
#[must_use]
pub fn refused(refused: &Refused, leader: Option<&str>) -> Status {
    match refused {
        Refused::NotLeader => not_leader(leader),
        Refused::Unknown(_) => Status::unavailable(refused.to_string()),
        Refused::NoSuch(words) => Status::not_found(words.clone()),
        Refused::Rule(_) => by_rule(refused.to_string()),
        Refused::Busy => Status::resource_exhausted(refused.to_string()),
    }
}

/// A refusal by a safety rule.
#[must_use]
pub fn by_rule(words: String) -> Status {
    let mut status = Status::failed_precondition(words);
    // Empty: the words say which rule.
    status.metadata_mut().insert(REFUSED_HEADER, MetadataValue::from_static(""));
    status
}

impl From<Gone> for Status {
    fn from(gone: Gone) -> Self {
        Self::unavailable(gone.to_string())
    }
}
