//! The words of consensus: who is a member, what the journal's entries are, and
//! the types that the Raft library is given.
//!
//! Standard leader ids, one leader a term, so that the term alone is a fencing token.

use failover::{Position, Record};
use model::Term;
use openraft::alias::{
    EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf as RaftVoteOf,
};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A coordinator or witness as the others know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name, as its configuration says it.
    pub name: String,
    /// "host:port" at which the others reach it.
    pub address: String,
    /// Whether it is a witness: votes and stores, and gives leadership away at once (C1).
    pub witness: bool,
}

impl Member {
    /// "coordinator" or "witness", as the wire says it.
    #[must_use]
    pub const fn role(&self) -> &'static str {
        if self.witness { "witness" } else { "coordinator" }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.address)
    }
}

/// What has become fact, for the driver, in the journal's order.
#[derive(Debug, Clone)]
pub enum Applied {
    /// One record was committed.
    Record {
        /// Its place.
        position: Position,
        /// The record.
        record: Record,
    },
    /// Everything up to the position at once: after a restart, and when the
    /// leader sent its snapshot because this node had fallen far behind.
    Snapshot(Box<failover::State>, Position),
}

/// A record as the Raft library carries it; in JSON it is the record itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Recorded(pub(super) Record);

impl fmt::Display for Recorded {
    /// The library asks for this for its own log; the content stays out of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("record")
    }
}

openraft::declare_raft_types!(
    /// Our choice of the library's types.
    pub(super) Types:
        D = Recorded,
        R = (),
        NodeId = u64,
        Node = Member,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

pub(super) type Raft = openraft::Raft<Types, super::machine::Machine>;
pub(super) type Metrics = openraft::RaftMetrics<Types>;
pub(super) type Entry = EntryOf<Types>;
pub(super) type LogId = LogIdOf<Types>;
pub(super) type Vote = RaftVoteOf<Types>;
pub(super) type Membership = StoredMembershipOf<Types>;
pub(super) type SnapshotMeta = SnapshotMetaOf<Types>;
/// A snapshot's data is the state as JSON text.
pub(super) type Snapshot = SnapshotOf<Types, String>;

/// A log id as the rest of the product says it.
pub(super) fn position(log_id: &LogId) -> Position {
    Position { index: log_id.index, term: Term(log_id.leader_id.term) }
}

/// How this node takes part.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where `journal.redb` lives; must exist.
    pub directory: std::path::PathBuf,
    /// This node as the others shall know it.
    pub member: Member,
    /// Where joining hosts reach it, told to whoever asks; empty where it enrols nobody.
    pub enrol_address: String,
    /// How often a leader speaks to the others. Must be longer than the round
    /// trip between coordinators: the library gives each message this long.
    pub heartbeat: Duration,
    /// Shortest silence after which a voter may campaign.
    pub election_min: Duration,
    /// Longest such silence; also how long a leader's word to its voters holds.
    pub election_max: Duration,
    /// A snapshot is taken each time the log has grown by this many entries.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot for members that are a little late.
    pub snapshot_keep: u64,
}

impl Settings {
    /// The settings measured to be good on a local network: a leader that dies
    /// is followed in 0.3 to 0.6 s.
    #[must_use]
    pub fn new(directory: impl Into<std::path::PathBuf>, member: Member) -> Self {
        Self {
            directory: directory.into(),
            member,
            enrol_address: String::new(),
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
            // A short log restarts fast, and redb's file stays small.
            snapshot_every: 2000,
            snapshot_keep: 500,
        }
    }
}
