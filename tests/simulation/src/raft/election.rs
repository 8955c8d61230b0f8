//! Elections: pre-vote, vote, and following whoever has the higher term.

use super::{ELECTION, HEARTBEAT, Raft, Role, Talk};
use crate::{
    rng::Rng,
    stage::{Node, VOTERS, W},
};
use model::{Millis, Mono};

impl Raft {
    /// How long this follower waits; a witness waits one election time longer.
    pub(super) fn patience(&mut self, now: Mono, rng: &mut Rng) {
        let (low, high) = ELECTION;
        let more = if self.me == W { high - low } else { 0 };
        self.election_at = now + Millis(rng.between(low + more, high + more));
    }

    /// Follows the leader of `term`, or nobody yet.
    pub(super) fn follow(&mut self, term: u64, now: Mono, rng: &mut Rng) {
        if term > self.term {
            (self.term, self.vote, self.leader) = (term, None, None);
            self.dirty = true;
        }
        if self.role == Role::Leader {
            self.leader_heard = None;
        }
        self.role = Role::Follower;
        self.patience(now, rng);
    }

    /// Silence: would the others vote?
    pub(super) fn ask_for_votes(&mut self, now: Mono, rng: &mut Rng) {
        self.role = Role::Asking;
        self.votes = [false; VOTERS];
        self.patience(now, rng);
        let talk = Talk::PreVote { term: self.term + 1, last: self.last() };
        for node in self.others() {
            self.out.push((node, talk.clone()));
        }
    }

    fn sticks(&self, now: Mono) -> bool {
        let lately = self.leader_heard.is_some_and(|at| now.since(at) < Millis(ELECTION.0));
        self.leads() || lately
    }

    pub(super) fn on_pre_vote(&mut self, from: Node, term: u64, last: (u64, u64), now: Mono) {
        let granted = term > self.term && last >= self.last() && !self.sticks(now);
        let term = if granted { term } else { self.term };
        self.out.push((from, Talk::PreVoted { term, granted }));
    }

    pub(super) fn on_pre_voted(
        &mut self,
        from: Node,
        term: u64,
        granted: bool,
        now: Mono,
        rng: &mut Rng,
    ) {
        if !granted && term > self.term {
            self.follow(term, now, rng);
        } else if granted && self.role == Role::Asking && term == self.term + 1 {
            self.votes[from] = true;
            self.campaign(false, now, rng);
        }
    }

    /// Stands for election in a new term.
    pub(super) fn campaign(&mut self, handed: bool, now: Mono, rng: &mut Rng) {
        self.term += 1;
        (self.vote, self.leader) = (Some(self.me), None);
        self.dirty = true;
        self.role = Role::Candidate;
        self.votes = [false; VOTERS];
        self.patience(now, rng);
        let talk = Talk::Vote { term: self.term, last: self.last(), handed };
        for node in self.others() {
            self.out.push((node, talk.clone()));
        }
    }

    pub(super) fn on_vote(
        &mut self,
        from: Node,
        (term, handed): (u64, bool),
        last: (u64, u64),
        now: Mono,
        rng: &mut Rng,
    ) {
        if !handed && term > self.term && self.sticks(now) {
            self.out.push((from, Talk::Voted { term: self.term, granted: false }));
            return;
        }
        if term > self.term {
            self.follow(term, now, rng);
        }
        let free = self.vote.is_none_or(|vote| vote == from) && self.role == Role::Follower;
        let granted = term == self.term && free && last >= self.last();
        if granted {
            self.dirty |= self.vote.is_none();
            self.vote = Some(from);
            self.patience(now, rng);
        }
        self.out.push((from, Talk::Voted { term: self.term, granted }));
    }

    pub(super) fn on_voted(
        &mut self,
        from: Node,
        term: u64,
        granted: bool,
        now: Mono,
        rng: &mut Rng,
    ) {
        if term > self.term {
            self.follow(term, now, rng);
        } else if granted && term == self.term && self.role == Role::Candidate {
            self.votes[from] = true;
            self.lead(now);
        }
    }

    fn lead(&mut self, now: Mono) {
        self.role = Role::Leader;
        self.leader = Some(self.me);
        let next = self.log.len() as u64 + 1;
        self.next = [next; VOTERS];
        self.matched = [0; VOTERS];
        self.acked = [0; VOTERS];
        self.heard_of = [None; VOTERS];
        // A vote is as good as an answer, until answers come.
        self.heard_of[self.me] = Some(now - HEARTBEAT);
        self.handed_at = Mono(0);
        self.round += 1;
        self.first_own = next;
        let _own = self.propose(None, now);
    }
}
