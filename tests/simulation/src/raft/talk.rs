//! What voters say to each other, and what they keep.

use crate::stage::Node;
use failover::Record;
use model::Mono;
use std::rc::Rc;

/// One place in the log; a leader's first entry holds nothing.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The term of the leader that wrote it.
    pub(crate) term: u64,
    /// The record.
    pub(crate) record: Option<Rc<Record>>,
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// The highest term.
    pub(crate) term: u64,
    /// For whom this node voted in it.
    pub(crate) vote: Option<Node>,
    /// The log; the first place is 1.
    pub(crate) log: Vec<Entry>,
    /// Up to where it was known to be committed at the last write.
    pub(crate) commit: u64,
}

/// One message.
#[derive(Debug, Clone)]
pub(crate) enum Talk {
    /// "Would you vote for me in this term?" Nobody's term changes by it.
    PreVote { term: u64, last: (u64, u64) },
    /// The answer to that.
    PreVoted { term: u64, granted: bool },
    /// "Vote for me"; `handed` when the leader itself wants it.
    Vote { term: u64, last: (u64, u64), handed: bool },
    /// The answer.
    Voted { term: u64, granted: bool },
    /// Entries, or none: the leader lives.
    Append {
        term: u64,
        previous: (u64, u64),
        entries: Vec<Entry>,
        commit: u64,
        round: u64,
        sent: Mono,
    },
    /// The answer: up to where the logs match, or where to try next.
    Appended { term: u64, matched: Result<u64, u64>, round: u64, sent: Mono },
    /// "Take over now."
    TakeOver { term: u64 },
}
