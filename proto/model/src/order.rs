//! What an operator orders for one host, beside any plan, and what came of it.

use crate::{GroupId, Millis, Wall};
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What an isolation cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IsolationProfile {
    /// Everything, in both directions, but administrators and coordinators.
    Breach,
    /// What the host and its containers begin themselves.
    EgressBlock,
}

impl IsolationProfile {
    /// The word used everywhere for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Breach => "breach",
            Self::EgressBlock => "egress-block",
        }
    }
}

impl fmt::Display for IsolationProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostDeed {
    /// Cut it off.
    Isolate {
        /// What is cut.
        profile: IsolationProfile,
        /// When it ends, whatever happens, from its beginning.
        span: Option<Millis>,
        /// Also where no operator would be left.
        force: bool,
    },
    /// Keep an isolation from reverting.
    Confirm,
    /// End it.
    Release,
}

impl HostDeed {
    /// The word used everywhere for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Isolate { .. } => "isolate",
            Self::Confirm => "confirm",
            Self::Release => "release",
        }
    }
}

/// What makes an order the same order. The time is part of it because another
/// installation counts from 1 as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OrderId {
    /// Given when it was applied.
    pub number: u64,
    /// When it was recorded.
    pub at: Wall,
}

/// The newest order for a host. An agent carries each out once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOrder {
    /// Which.
    pub id: OrderId,
    /// What.
    pub deed: HostDeed,
    /// Who ordered it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Whether a group is stopped in an emergency, or that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopDeed {
    /// Nothing exclusive of it runs, until a release.
    Stop,
    /// It may run again, when a lease says so.
    Release,
}

/// The newest emergency stop, or release, of one group on one host. It stands
/// beside a [`HostOrder`], so that neither displaces the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrder {
    /// Which.
    pub id: OrderId,
    /// The group.
    pub group: GroupId,
    /// What.
    pub deed: StopDeed,
    /// Who ordered it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// Which.
    pub id: OrderId,
    /// Whether it was carried out.
    pub done: bool,
    /// In words, for a person.
    pub detail: String,
}
