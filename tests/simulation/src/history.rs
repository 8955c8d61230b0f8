//! What happened in truth: facts that no node could know, for the checkers.

use crate::{clock::Us, stage::Node};
use failover::{Applied, PlanKind, Position, ProofLevel, Record, State};
use model::{Action, CommandId, Epoch, Term};
use std::{collections::BTreeSet, rc::Rc};

/// A gate was open, from one instant to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Whose.
    pub host: Node,
    /// The epoch of its lease.
    pub epoch: Epoch,
    /// From then on.
    pub from: Us,
    /// Until then, not included.
    pub until: Us,
}

/// A service that trades was running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Where.
    pub host: Node,
    /// From then on.
    pub from: Us,
    /// Until then.
    pub until: Us,
}

/// An order that the venue got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// From where.
    pub host: Node,
    /// Its epoch.
    pub epoch: Epoch,
    /// When.
    pub at: Us,
}

/// A record became committed.
#[derive(Debug, Clone)]
pub struct Commit {
    /// When the first node knew.
    pub at: Us,
    /// Its place.
    pub position: Position,
    /// What it says; nothing for a leader's first entry.
    pub record: Option<Rc<Record>>,
    /// What applying it led to.
    pub applied: Applied,
    /// For an activation: the proof that its plan must have.
    pub needed: Option<ProofLevel>,
}

/// An agent carried a command out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// When it began.
    pub at: Us,
    /// Which host.
    pub host: Node,
    /// Which command.
    pub id: CommandId,
    /// Its epoch.
    pub epoch: Epoch,
    /// What it asks for.
    pub action: Action,
}

/// What an agent knew at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Us,
    /// Which host.
    pub host: Node,
    /// Which start of its agent.
    pub boot: u64,
    /// The highest term.
    pub term: Term,
    /// The highest epoch.
    pub epoch: Epoch,
    /// Whether that is on its disk.
    pub durable: bool,
}

/// One voter at the end.
#[derive(Debug, Clone)]
pub struct VoterEnd {
    /// Which.
    pub node: Node,
    /// The live state.
    pub state: State,
}

/// What came about, in numbers: so that a test can show that runs are not empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Activations by a failover.
    pub failovers: u64,
    /// Activations by a planned move away.
    pub switchovers: u64,
    /// Activations by a planned return.
    pub failbacks: u64,
    /// Plans that stopped and wait for a person.
    pub held: u64,
    /// Troubles that were looked at and led to nothing.
    pub considered: u64,
    /// Leases that were extended by a relayed answer (C6).
    pub relayed: u64,
    /// Leases that were extended by promises (A6).
    pub promised: u64,
}

impl Counts {
    /// One more run.
    pub const fn add(&mut self, other: &Self) {
        self.failovers += other.failovers;
        self.switchovers += other.switchovers;
        self.failbacks += other.failbacks;
        self.held += other.held;
        self.considered += other.considered;
        self.relayed += other.relayed;
        self.promised += other.promised;
    }
}

/// Everything that happened.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every time that a gate was open.
    pub gates: Vec<Open>,
    /// Every time that a service was running.
    pub served: Vec<Served>,
    /// Every commit, in the journal's order.
    pub commits: Vec<Commit>,
    /// Every command that was carried out.
    pub ran: Vec<Ran>,
    /// Every change of what an agent knew.
    pub seen: Vec<Seen>,
    /// Alarms, in words.
    pub alarms: Vec<(Us, String)>,
    /// Notifications that the channel took.
    pub accepted: BTreeSet<u64>,
    /// Two nodes that disagree about the journal: the simulation itself is wrong.
    pub forks: Vec<String>,
    /// The voters at the end.
    pub voters: Vec<VoterEnd>,
    /// When the last fault ended.
    pub calm: Us,
    /// When nothing was left to do after it; absent when that never came.
    pub settled: Option<Us>,
    /// What was still under way at the end, in words.
    pub unsettled: String,
    /// Whether nothing in this run may lead to a failover.
    pub mild: bool,
    /// What came about.
    pub counts: Counts,
    /// The fold of the commits.
    pub truth: State,
}

impl History {
    /// A record is committed as far as some node knows.
    pub fn commit(&mut self, at: Us, position: Position, record: Option<&Rc<Record>>) {
        let known = usize::try_from(position.index).unwrap_or(usize::MAX) - 1;
        if let Some(first) = self.commits.get(known) {
            let same = match (&first.record, record) {
                (Some(one), Some(other)) => Rc::ptr_eq(one, other),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if first.position != position || !same {
                self.forks.push(format!("two records at {position:?}"));
            }
            return;
        }
        let needed = match record.map(Rc::as_ref) {
            Some(Record::Activated { plan, .. }) => {
                self.truth.plans.get(plan).map(|plan| plan.proof_needed)
            }
            _ => None,
        };
        self.count(record);
        let applied = match record {
            Some(record) => self.truth.apply(position, record),
            None => Applied::Done,
        };
        let record = record.cloned();
        self.commits.push(Commit { at, position, record, applied, needed });
    }

    fn count(&mut self, record: Option<&Rc<Record>>) {
        let (counts, record) = (&mut self.counts, record.map(Rc::as_ref));
        if let Some(Record::Activated { plan, .. }) = record {
            match self.truth.plans.get(plan).map(|plan| plan.kind) {
                Some(PlanKind::Failover) => counts.failovers += 1,
                Some(PlanKind::Switchover) => counts.switchovers += 1,
                Some(PlanKind::Failback) => counts.failbacks += 1,
                Some(PlanKind::Start) | None => {}
            }
        }
        counts.held += u64::from(matches!(record, Some(Record::PlanClosed { held: Some(_), .. })));
        counts.considered += u64::from(matches!(record, Some(Record::Considered { .. })));
    }

    /// The orders that the venue got: the first and the last of every stretch in
    /// which a service ran behind an open gate.
    #[must_use]
    pub fn orders(&self) -> Vec<Order> {
        let mut orders = Vec::new();
        for gate in &self.gates {
            for served in self.served.iter().filter(|served| served.host == gate.host) {
                let (from, until) = (gate.from.max(served.from), gate.until.min(served.until));
                if from < until {
                    let order = |at| Order { host: gate.host, epoch: gate.epoch, at };
                    orders.extend([order(from), order(until - 1)]);
                }
            }
        }
        orders.sort_by_key(|order| order.at);
        orders
    }
}
