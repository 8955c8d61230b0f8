//! Non-decisions on their way into the journal: trouble that led to no plan.
//!
//! Recorded when the kind of a hold changes, at most once a second and group,
//! and beside the group's own records: it never keeps a plan waiting.

use super::{Engine, appends::Purpose};
use crate::{
    decision::{Decision, Reason},
    effect::Effect,
    event::Now,
    record::Record,
    sight::Sight,
};
use alloc::{boxed::Box, vec::Vec};
use model::{GroupId, Millis, Mono};

/// Between two records of one group: a host whose silence comes and goes must
/// not fill the journal.
const APART: Millis = Millis(1000);

/// A kind of hold must last for this many heartbeats: what the next heartbeat
/// mends is no story.
const LASTING: u64 = 2;

/// What this leader holds about one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Considering {
    /// The kind of hold, and since when it is that one.
    kind: &'static str,
    since: Mono,
    /// The kind that was written down last, unless there was no trouble since.
    told: Option<&'static str>,
    /// When that was.
    at: Option<Mono>,
}

impl Engine {
    /// Writes a hold down when there is trouble and it is of a new kind.
    pub(super) fn consider(
        &mut self,
        name: &GroupId,
        reason: Reason,
        sight: Sight,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if !reason.is_trouble() || sight.active.is_none() {
            if let Some(known) = self.considered.get_mut(name) {
                (known.kind, known.told) = ("", None);
            }
            return;
        }
        let kind = reason.word();
        let new = Considering { kind, since: now.mono, told: None, at: None };
        let known = self.considered.entry(name.clone()).or_insert(new);
        if known.kind != kind {
            (known.kind, known.since) = (kind, now.mono);
        }
        let settled = now.mono.since(known.since) >= sight.timing.heartbeat.times(LASTING);
        let apart = known.at.is_none_or(|at| now.mono.since(at) >= APART);
        let purpose = Purpose::Considered(name.clone());
        if known.told == Some(kind) || !settled || !apart || self.appends.under_way(&purpose) {
            return;
        }
        let record = Record::Considered {
            group: name.clone(),
            evidence: Box::new(sight),
            decision: Decision::Hold(reason),
            at: now.wall,
        };
        // A full queue is tried again at the next tick.
        if self.propose(purpose, record, out).is_ok()
            && let Some(known) = self.considered.get_mut(name)
        {
            (known.told, known.at) = (Some(kind), Some(now.mono));
        }
    }
}
