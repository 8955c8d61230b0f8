//! What the leader does about a group that no plan moves: asks the decision.

use super::Engine;
use crate::{
    decision::{Decision, Opening, decide},
    effect::Effect,
    event::Now,
    incident::Cause,
    plan::{self, PlanDraft},
    record::Record,
    sight::Sight,
    state::Group,
};
use alloc::{boxed::Box, string::String, vec::Vec};
use model::{GroupId, Millis};

impl Engine {
    /// The record of an automatic decision, when there is one to make; a
    /// decision to hold that is worth a record goes its own way.
    pub(super) fn undisturbed(
        &mut self,
        name: &GroupId,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<Record> {
        let group = self.state.groups.get(name)?;
        let sight = self.sight(group, now);
        match decide(&sight) {
            Decision::Open(opening) => Some(self.opening(group, opening, sight, now)),
            Decision::Hold(reason) => {
                self.consider(name, reason, sight, now, out);
                None
            }
        }
    }

    fn opening(&self, group: &Group, opening: Opening, sight: Sight, now: Now) -> Record {
        let spec = &group.spec;
        let steps = plan::steps(
            spec,
            opening.kind,
            opening.from.as_ref(),
            &opening.to,
            self.settings.dns_hook,
        );
        let suspicion = match opening.cause {
            Cause::HostLost { .. } => sight.timing.suspicion,
            Cause::ServiceFailed { .. }
            | Cause::FirstStart
            | Cause::Operator { .. }
            | Cause::FeedSilent { .. } => Millis::ZERO,
        };
        let last_good = now.wall - opening.lost_for;
        let draft = PlanDraft {
            group: spec.name.clone(),
            kind: opening.kind,
            from: opening.from,
            to: opening.to,
            by: None,
            request: String::new(),
            reason: String::new(),
            proof_needed: spec.automatic_failover_needs,
            epoch_before: group.epoch,
            steps,
            last_good,
            suspected_at: last_good + suspicion,
            approved_by: None,
            approval: None,
        };
        Record::PlanOpened {
            draft: Box::new(draft),
            cause: opening.cause,
            evidence: Box::new(sight),
            at: now.wall,
        }
    }
}
