//! What one voter sees of the hosts, told to the leader (C5).

use crate::{Derived, HostId, Millis};
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// One voter's own sight, by its own clock: ages, never instants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The voter's name.
    pub observer: String,
    /// For how long it has been watching without a stall of its own.
    pub watched: Millis,
    /// Its own tick was late: what it did not hear counts against nobody.
    pub abstains: bool,
    /// Every host that it has heard itself, not through another voter, and how
    /// long ago.
    pub hosts: Vec<HostSilence>,
    /// What a lease of five seconds leads to there, to be compared.
    pub derived: Derived,
}

/// One host in an observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSilence {
    /// The host.
    pub host: HostId,
    /// Since its last heartbeat.
    pub silence: Millis,
}
