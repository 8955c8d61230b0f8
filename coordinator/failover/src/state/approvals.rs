//! Requests for a second operator's approval into the state.

use super::{Applied, NO_INCIDENT, State, apply::ignored};
use crate::{
    approval::{Approval, ApprovalId},
    plan::PlanDraft,
    request::PlanRequest,
};
use alloc::{
    format,
    string::{String, ToString},
};
use model::{PlanId, Severity, Wall};

/// Approvals kept, waiting and settled ones.
const APPROVALS_MAX: usize = 50;

impl State {
    pub(super) fn apply_approval_asked(&mut self, asked: &PlanRequest, at: Wall) -> Applied {
        if !self.groups.contains_key(&asked.group) {
            return ignored(format!("no group is called {}", asked.group));
        }
        while self.approvals.len() >= APPROVALS_MAX {
            let settled = self.approvals.values().find(|a| a.word(at) != "waiting").map(|a| a.id);
            let Some(old) = settled else {
                return ignored("too many requests wait for a second operator already");
            };
            self.approvals.remove(&old);
        }
        self.last_approval = self.last_approval.next();
        let id = self.last_approval;
        let approval = Approval { id, asked: asked.clone(), at, approved_by: None, plan: None };
        self.approvals.insert(id, approval);
        self.tell_of(id, at);
        Applied::ApprovalAsked(id)
    }

    /// Says it to people, and in the group's incident where there is one: a drill has
    /// none.
    fn tell_of(&mut self, id: ApprovalId, at: Wall) {
        let Some(asked) = self.approvals.get(&id).map(|approval| approval.asked.clone()) else {
            return;
        };
        let incident = self.open_incident(&asked.group).map_or(NO_INCIDENT, |incident| incident.id);
        let to = asked.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
        let line = format!(
            "operator {} asks for a {}{to} with a weaker proof ({}); a second operator approves \
             it with: coordctl approve {id}",
            asked.by, asked.kind, asked.reason
        );
        if let Some(incident) = self.incidents.get_mut(&incident) {
            incident.tell(at, line.clone());
        }
        let title = format!("{}: a {} needs a second operator", asked.group, asked.kind);
        self.notify((Severity::High, &asked.group, incident), &title, line, at);
    }

    /// Why this draft lacks a second operator's consent, if it needs one. The
    /// same questions as when it was proposed: two may have approved at once.
    pub(super) fn not_approved(&self, draft: &PlanDraft, at: Wall) -> Option<String> {
        let spec = self.groups.get(&draft.group).map(|group| &group.spec)?;
        let weaker = draft.proof_needed < spec.automatic_failover_needs;
        match (&draft.approved_by, draft.approval) {
            (Some(by), Some(id)) => match self.approvals.get(&id) {
                Some(approval) => approval.consent(by, at).err(),
                None => Some(format!("request {id} is not there any more")),
            },
            (None, None) if spec.two_operators && draft.by.is_some() && weaker => {
                Some(format!("{} wants two operators for a weaker proof", spec.name))
            }
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => Some("half an approval is none".to_string()),
        }
    }

    /// Uses the draft's approval up.
    pub(super) fn approved(&mut self, draft: &PlanDraft, plan: PlanId) {
        let used = draft.approval.and_then(|id| self.approvals.get_mut(&id));
        if let Some(approval) = used {
            approval.approved_by.clone_from(&draft.approved_by);
            approval.plan = Some(plan);
        }
    }
}
