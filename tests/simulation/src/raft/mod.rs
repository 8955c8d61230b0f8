//! A small honest Raft, so that stale leaders, lost entries and split votes
//! come about as they do in life: elections with pre-votes, persisted votes and
//! log, replication by messages, commit by majority, quorum rounds, and a
//! witness that hands leadership on.
//!
//! Pure: time and chance are arguments. What is not synced is lost in a crash.

mod election;
mod talk;

pub(crate) use talk::{Disk, Entry, Talk};

use crate::{
    rng::Rng,
    stage::{C1, C2, Node, VOTERS, W},
};
use failover::{Position, Record};
use model::{Millis, Mono, Term};
use std::rc::Rc;

/// Between two signs of life of a leader, as coordinator.toml's default.
pub(crate) const HEARTBEAT: Millis = Millis(50);
/// Shortest and longest silence before an election, as there.
const ELECTION: (u64, u64) = (150, 300);
/// A quorum silent for this long has most likely chosen another leader.
const SILENT: Millis = Millis(600);
/// Between two tries of a witness to hand leadership on.
const HAND_EVERY: Millis = Millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Follower,
    Asking,
    Candidate,
    Leader,
}

/// One voter's part in the consensus.
#[derive(Debug)]
pub(crate) struct Raft {
    me: Node,
    term: u64,
    vote: Option<Node>,
    log: Vec<Entry>,
    commit: u64,
    role: Role,
    votes: [bool; VOTERS],
    next: [u64; VOTERS],
    matched: [u64; VOTERS],
    acked: [u64; VOTERS],
    heard_of: [Option<Mono>; VOTERS],
    election_at: Mono,
    beat_at: Mono,
    leader_heard: Option<Mono>,
    leader: Option<Node>,
    round: u64,
    first_own: u64,
    handed_at: Mono,
    /// From where on the log is not on the disk; term and vote may not be either.
    unsynced: Option<u64>,
    dirty: bool,
    disk: Disk,
    out: Vec<(Node, Talk)>,
}

impl Raft {
    /// Starts with what the disk holds.
    #[must_use]
    pub(crate) fn start(me: Node, disk: Disk, now: Mono, rng: &mut Rng) -> Self {
        let Disk { term, vote, log, commit } = disk.clone();
        let mut raft = Self {
            me,
            term,
            vote,
            log,
            commit,
            role: Role::Follower,
            votes: [false; VOTERS],
            next: [1; VOTERS],
            matched: [0; VOTERS],
            acked: [0; VOTERS],
            heard_of: [None; VOTERS],
            election_at: now,
            beat_at: now,
            leader_heard: None,
            leader: None,
            round: 0,
            first_own: 0,
            handed_at: Mono(0),
            unsynced: None,
            dirty: false,
            disk,
            out: Vec::new(),
        };
        raft.patience(now, rng);
        raft
    }

    /// What is on the disk now.
    #[must_use]
    pub(crate) const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The highest term.
    #[must_use]
    pub(crate) const fn term(&self) -> Term {
        Term(self.term)
    }

    /// Whether this node thinks that it leads.
    #[must_use]
    pub(crate) fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    /// Who leads in the highest term, as far as this node knows.
    #[must_use]
    pub(crate) const fn leader(&self) -> Option<Node> {
        self.leader
    }

    /// Up to where the log is committed as far as this node knows.
    #[must_use]
    pub(crate) const fn committed(&self) -> u64 {
        self.commit
    }

    /// Where this leader's own first entry is.
    #[must_use]
    pub(crate) const fn first_own(&self) -> u64 {
        self.first_own
    }

    /// A place in the log.
    #[must_use]
    pub(crate) fn entry(&self, index: u64) -> Option<(Position, &Option<Rc<Record>>)> {
        let entry = self.log.get(usize::try_from(index.checked_sub(1)?).ok()?)?;
        Some((Position { index, term: Term(entry.term) }, &entry.record))
    }

    /// Whether a quorum was heard lately.
    #[must_use]
    pub(crate) fn heard_quorum(&self, now: Mono) -> bool {
        let newest = self.heard_of.iter().flatten().max();
        newest.is_some_and(|at| now.since(*at) < SILENT)
    }

    /// Whether a quorum has answered this round.
    #[must_use]
    pub(crate) fn confirmed(&self, round: u64) -> bool {
        self.leads() && self.acked.iter().any(|acked| *acked >= round)
    }

    /// Whether something waits for the disk.
    #[must_use]
    pub(crate) const fn unsynced(&self) -> bool {
        self.dirty || self.unsynced.is_some()
    }

    /// Everything is on the disk.
    pub(crate) fn sync(&mut self) {
        (self.disk.term, self.disk.vote, self.disk.commit) = (self.term, self.vote, self.commit);
        if let Some(from) = self.unsynced.take() {
            let kept = usize::try_from(from - 1).unwrap_or(usize::MAX);
            self.disk.log.truncate(kept);
            self.disk.log.extend_from_slice(&self.log[kept.min(self.log.len())..]);
        }
        self.dirty = false;
    }

    /// Whether messages wait.
    #[must_use]
    pub(crate) const fn talks(&self) -> bool {
        !self.out.is_empty()
    }

    /// Messages that wait, to be sent once everything is on the disk.
    pub(crate) fn take_out(&mut self) -> Vec<(Node, Talk)> {
        std::mem::take(&mut self.out)
    }

    fn last(&self) -> (u64, u64) {
        let index = self.log.len() as u64;
        (self.log.last().map_or(0, |entry| entry.term), index)
    }

    fn term_at(&self, index: u64) -> u64 {
        self.entry(index).map_or(0, |(position, _)| position.term.0)
    }

    fn others(&self) -> impl Iterator<Item = Node> + use<> {
        let me = self.me;
        (0..VOTERS).filter(move |node| *node != me)
    }

    /// Writes a record at the end of the log; its place and term.
    pub(crate) fn propose(&mut self, record: Option<Record>, now: Mono) -> Option<(u64, u64)> {
        if !self.leads() {
            return None;
        }
        self.log.push(Entry { term: self.term, record: record.map(Rc::new) });
        let index = self.log.len() as u64;
        self.unsynced = Some(self.unsynced.unwrap_or(index).min(index));
        self.broadcast(now);
        Some((index, self.term))
    }

    /// Begins a round: whoever answers what is sent from now on confirms it (C2).
    pub(crate) fn begin_round(&mut self, now: Mono) -> u64 {
        self.round += 1;
        self.broadcast(now);
        self.round
    }

    fn broadcast(&mut self, now: Mono) {
        self.beat_at = now + HEARTBEAT;
        for node in self.others() {
            self.append_to(node, now);
        }
    }

    fn append_to(&mut self, node: Node, now: Mono) {
        let before = self.next[node] - 1;
        let from = usize::try_from(before).unwrap_or(usize::MAX).min(self.log.len());
        let append = Talk::Append {
            term: self.term,
            previous: (self.term_at(before), before),
            entries: self.log[from..].to_vec(),
            commit: self.commit,
            round: self.round,
            sent: now,
        };
        self.out.push((node, append));
    }

    /// When something is due.
    #[must_use]
    pub(crate) fn wake(&self) -> Mono {
        if self.leads() { self.beat_at } else { self.election_at }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Mono, rng: &mut Rng) {
        if self.leads() {
            if self.beat_at <= now {
                self.broadcast(now);
            }
        } else if self.election_at <= now {
            self.ask_for_votes(now, rng);
        }
    }

    /// Takes a message.
    pub(crate) fn take(&mut self, from: Node, talk: Talk, now: Mono, rng: &mut Rng) {
        match talk {
            Talk::PreVote { term, last } => self.on_pre_vote(from, term, last, now),
            Talk::PreVoted { term, granted } => self.on_pre_voted(from, term, granted, now, rng),
            Talk::Vote { term, last, handed } => {
                self.on_vote(from, (term, handed), last, now, rng);
            }
            Talk::Voted { term, granted } => self.on_voted(from, term, granted, now, rng),
            Talk::Append { term, previous, entries, commit, round, sent } => {
                if term >= self.term {
                    self.follow(term, now, rng);
                    (self.leader_heard, self.leader) = (Some(now), Some(from));
                }
                let matched =
                    if term < self.term { Err(0) } else { self.accept(previous, &entries, commit) };
                let answer = Talk::Appended { term: self.term, matched, round, sent };
                self.out.push((from, answer));
            }
            Talk::Appended { term, matched, round, sent } => {
                if term > self.term {
                    self.follow(term, now, rng);
                } else if self.leads() && term == self.term {
                    self.on_appended(from, matched, (round, sent), now);
                }
            }
            Talk::TakeOver { term } => {
                if term == self.term && !self.leads() && self.me != W {
                    self.campaign(true, now, rng);
                }
            }
        }
    }

    fn accept(
        &mut self,
        (term, before): (u64, u64),
        entries: &[Entry],
        commit: u64,
    ) -> Result<u64, u64> {
        let length = self.log.len() as u64;
        if before > length {
            return Err(length + 1);
        }
        if before > 0 && self.term_at(before) != term {
            return Err(before);
        }
        let mut index = before;
        for entry in entries {
            index += 1;
            if index <= self.log.len() as u64 {
                if self.term_at(index) == entry.term {
                    continue;
                }
                self.log.truncate(usize::try_from(index - 1).unwrap_or(usize::MAX));
            }
            self.log.push(entry.clone());
            self.unsynced = Some(self.unsynced.unwrap_or(index).min(index));
        }
        self.commit = self.commit.max(commit.min(index));
        Ok(index)
    }

    fn on_appended(
        &mut self,
        from: Node,
        matched: Result<u64, u64>,
        (round, sent): (u64, Mono),
        now: Mono,
    ) {
        self.acked[from] = self.acked[from].max(round);
        self.heard_of[from] = self.heard_of[from].max(Some(sent));
        match matched {
            Ok(index) => {
                self.matched[from] = self.matched[from].max(index);
                self.next[from] = self.matched[from] + 1;
                // With three voters one other makes the majority.
                let index = self.matched[from].min(self.log.len() as u64);
                if index > self.commit && self.term_at(index) == self.term {
                    self.commit = index;
                }
            }
            Err(next) => {
                self.next[from] = next.clamp(1, self.next[from].max(1));
                self.append_to(from, now);
            }
        }
        self.hand_on(from, now);
    }

    /// A witness that leads gives leadership to a coordinator that has everything (C1).
    fn hand_on(&mut self, to: Node, now: Mono) {
        let ready = matches!(to, C1 | C2) && self.matched[to] == self.log.len() as u64;
        if self.me == W && ready && now.since(self.handed_at) >= HAND_EVERY {
            self.handed_at = now;
            self.out.push((to, Talk::TakeOver { term: self.term }));
        }
    }
}
