//! Records on their way into the journal: who waits for which, and what came of them.

use crate::{
    effect::{Effect, Ticket},
    event::{AppendFailure, RequestId},
    record::{Position, Record},
    request::Refused,
    state::Applied,
};
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use model::{GroupId, NotificationId, Term};

/// Appends under way at most; a quorum that is gone must not fill the memory.
const PENDING_MAX: usize = 1000;
/// Outcomes of the newest records, kept for answers that come after their commit.
const OUTCOMES_MAX: usize = 2000;

/// What a record is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To move this group on; there is never more than one.
    Group(GroupId),
    /// To send this notification to this channel.
    Delivery(NotificationId, String),
    /// To answer this request.
    Request(RequestId),
    /// To keep what was held about this group, and why.
    Considered(GroupId),
    /// To tell that a backup of this group is too old.
    Rpo(GroupId),
    /// To tell whether this group could fail over.
    Readiness(GroupId),
}

#[derive(Debug)]
struct Pending {
    purpose: Purpose,
    position: Option<Position>,
}

/// The appends of one leadership.
#[derive(Debug, Default)]
pub(super) struct Appends {
    last: Ticket,
    pending: BTreeMap<Ticket, Pending>,
    outcomes: BTreeMap<u64, Applied>,
}

impl Appends {
    /// Forgets everything; whoever waits for an answer is told that none will come.
    pub(super) fn reset(&mut self, out: &mut Vec<Effect>) {
        for (_, pending) in core::mem::take(&mut self.pending) {
            if let Purpose::Request(id) = pending.purpose {
                let why = "the leader changed meanwhile".to_string();
                out.push(Effect::Reply { id, result: Err(Refused::Unknown(why)) });
            }
        }
        self.outcomes.clear();
    }

    /// Whether a record is on its way for this group.
    pub(super) fn busy(&self, group: &GroupId) -> bool {
        self.pending.values().any(|p| matches!(&p.purpose, Purpose::Group(g) if g == group))
    }

    /// Whether a record is on its way for just this purpose.
    pub(super) fn under_way(&self, purpose: &Purpose) -> bool {
        self.pending.values().any(|pending| pending.purpose == *purpose)
    }

    /// Whether a record is on its way for this delivery.
    pub(super) fn delivering(&self, id: NotificationId, channel: &str) -> bool {
        self.pending
            .values()
            .any(|p| matches!(&p.purpose, Purpose::Delivery(i, c) if *i == id && c == channel))
    }

    /// Sends a record on its way.
    ///
    /// # Errors
    /// [`Refused::Busy`] when too many are under way.
    pub(super) fn propose(
        &mut self,
        purpose: Purpose,
        record: Record,
        term: Term,
    ) -> Result<Effect, Refused> {
        if self.pending.len() >= PENDING_MAX {
            return Err(Refused::Busy);
        }
        self.last = Ticket(self.last.0 + 1);
        self.pending.insert(self.last, Pending { purpose, position: None });
        Ok(Effect::Append { ticket: self.last, term, record: Box::new(record) })
    }

    /// A record was committed and applied.
    pub(super) fn committed(
        &mut self,
        position: Position,
        applied: Applied,
        out: &mut Vec<Effect>,
    ) {
        let waiting = self
            .pending
            .iter()
            .find(|(_, pending)| pending.position == Some(position))
            .map(|(ticket, _)| *ticket);
        if let Some(pending) = waiting.and_then(|ticket| self.pending.remove(&ticket)) {
            answer(&pending.purpose, applied, out);
            return;
        }
        self.outcomes.insert(position.index, applied);
        while self.outcomes.len() > OUTCOMES_MAX {
            self.outcomes.pop_first();
        }
    }

    /// The journal answered an append; its commit may be still to come, or be here already.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        result: Result<Position, AppendFailure>,
        applied_to: Position,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(position) if position.index > applied_to.index => {
                if let Some(pending) = self.pending.get_mut(&ticket) {
                    pending.position = Some(position);
                }
            }
            Ok(position) => {
                let applied = self.outcomes.remove(&position.index);
                if let Some(pending) = self.pending.remove(&ticket) {
                    let unknown = || Applied::Ignored("its outcome was not kept".to_string());
                    answer(&pending.purpose, applied.unwrap_or_else(unknown), out);
                }
            }
            Err(failure) => {
                let Some(pending) = self.pending.remove(&ticket) else { return };
                if let Purpose::Request(id) = pending.purpose {
                    let refused = match failure {
                        AppendFailure::NotLeader => Refused::NotLeader,
                        AppendFailure::Unknown(why) => Refused::Unknown(why),
                    };
                    out.push(Effect::Reply { id, result: Err(refused) });
                }
            }
        }
    }
}

fn answer(purpose: &Purpose, applied: Applied, out: &mut Vec<Effect>) {
    match purpose {
        Purpose::Request(id) => out.push(Effect::Reply { id: *id, result: Ok(applied) }),
        // What these led to shows in the state; a void one is simply decided anew.
        Purpose::Group(_)
        | Purpose::Delivery(..)
        | Purpose::Considered(_)
        | Purpose::Rpo(_)
        | Purpose::Readiness(_) => {}
    }
}
