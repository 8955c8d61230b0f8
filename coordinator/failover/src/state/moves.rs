//! Plans into the state: opened, stepped, fenced, activated, closed.

use super::{Applied, Hold, State, apply::ignored};
use crate::{
    failsafe,
    fence::FenceProof,
    incident::{Cause, Incident, IncidentState, TimelineEntry},
    plan::{Plan, PlanDraft, PlanKind, PlanState, StepKind, StepState},
    policy::GroupSpec,
    record::{Record, StepResult},
    report::Report,
    sight::Sight,
};
use alloc::{
    format,
    string::{String, ToString},
    vec,
};
use model::{AttemptId, Epoch, GroupId, IncidentId, PlanId, Severity, SiteId, StepId, Wall};

impl State {
    pub(super) fn apply_plan_opened(
        &mut self,
        draft: &PlanDraft,
        cause: &Cause,
        evidence: &Sight,
        at: Wall,
    ) -> Applied {
        let Some(group) = self.groups.get(&draft.group) else {
            return ignored(format!("no group is called {}", draft.group));
        };
        if let Some(plan) = group.plan {
            return ignored(format!("plan {plan} of {} is already under way", draft.group));
        }
        if group.epoch != draft.epoch_before || group.active != draft.from {
            return ignored(format!(
                "{} has moved since: epoch {} is committed",
                draft.group, group.epoch
            ));
        }
        if let Some(why) = misfit(&group.spec, draft).or_else(|| self.not_approved(draft, at)) {
            return ignored(why);
        }
        let id = self.next_plan();
        self.approved(draft, id);
        let incident = self.incident_for(draft, cause, evidence, at);
        let mut plan = Plan::begin(id, incident, draft, at);
        plan.data_lag = evidence.data_lag(&draft.to);
        plan.backup_lag = evidence.backup_lag();
        let actor = Record::actor(plan.by.as_deref());
        let mut line = format!("plan {id}: {} to {} ({actor}): {cause}", plan.kind, plan.to);
        if !plan.reason.is_empty() {
            line = format!("{line}; proof {} accepted: {}", plan.proof_needed, plan.reason);
        }
        if let Some(second) = &plan.approved_by {
            line = format!("{line}; approved by {second}");
        }
        if let Some(incident) = self.incidents.get_mut(&incident) {
            incident.plans.push(id);
            incident.state = IncidentState::Open;
            incident.tell(at, line.clone());
        }
        if plan.kind != PlanKind::Start {
            let title = format!("{}: {} to {} begins", plan.group, plan.kind, plan.to);
            self.notify((cause.severity(), &draft.group, incident), &title, line, at);
        }
        self.plans.insert(id, plan);
        if let Some(group) = self.groups.get_mut(&draft.group) {
            group.plan = Some(id);
        }
        self.prune();
        Applied::PlanOpened(id)
    }

    fn incident_for(
        &mut self,
        draft: &PlanDraft,
        cause: &Cause,
        evidence: &Sight,
        at: Wall,
    ) -> IncidentId {
        if let Some(open) = self.open_incident(&draft.group) {
            return open.id;
        }
        let id = self.next_incident();
        let mut timeline = vec![];
        if cause.severity() == Severity::Critical {
            timeline.push(TimelineEntry { at: draft.last_good, what: "last known good".into() });
            timeline.push(TimelineEntry { at: draft.suspected_at, what: "suspect".into() });
        }
        self.incidents.insert(
            id,
            Incident {
                id,
                group: draft.group.clone(),
                cause: cause.clone(),
                state: IncidentState::Open,
                opened_at: at,
                closed_at: None,
                plans: vec![],
                evidence: evidence.clone(),
                timeline,
            },
        );
        id
    }

    /// The running plan and its current step, when `plan` and `step` are those.
    fn current_step(&mut self, plan: PlanId, step: StepId) -> Result<&mut Plan, Applied> {
        let Some(found) = self.plans.get_mut(&plan) else {
            return Err(ignored(format!("plan {plan} is unknown")));
        };
        if !found.is_running() {
            return Err(ignored(format!("plan {plan} is over")));
        }
        match found.current() {
            Some((current, _)) if current == step => Ok(found),
            Some((current, _)) => Err(ignored(format!("plan {plan} is at step {current}"))),
            None => Err(ignored(format!("plan {plan} has no step left"))),
        }
    }

    pub(super) fn apply_step_started(
        &mut self,
        plan: PlanId,
        step: StepId,
        attempt: AttemptId,
        at: Wall,
    ) -> Applied {
        let term = self.position.term;
        let found = match self.current_step(plan, step) {
            Ok(found) => found,
            Err(applied) => return applied,
        };
        let incident = found.incident;
        let words = found.step(step).map(|s| s.words(found)).unwrap_or_default();
        let Some(target) = found.step_mut(step) else { return ignored("no such step") };
        if attempt.0 != target.attempts + 1 {
            return ignored(format!("attempt {attempt} is not the next"));
        }
        target.attempts = attempt.0;
        target.term = term;
        target.state = StepState::Running;
        target.started_at = target.started_at.or(Some(at));
        let again = if attempt.0 > 1 { format!(" (attempt {attempt})") } else { String::new() };
        self.tell(incident, at, format!("step {}: {words}{again}", step.0 + 1));
        Applied::Done
    }

    pub(super) fn apply_step_finished(
        &mut self,
        (plan, step, attempt): (PlanId, StepId, AttemptId),
        result: &StepResult,
        at: Wall,
    ) -> Applied {
        let found = match self.current_step(plan, step) {
            Ok(found) => found,
            Err(applied) => return applied,
        };
        let incident = found.incident;
        let Some(target) = found.step_mut(step) else { return ignored("no such step") };
        if target.state != StepState::Running || attempt.0 != target.attempts {
            return ignored(format!("attempt {attempt} of step {step} is not running"));
        }
        if matches!(target.kind, StepKind::Fence { .. } | StepKind::Activate)
            && matches!(result, StepResult::Done { .. })
        {
            // Only `Fenced` and `Activated`, which carry the proof, end these well.
            return ignored("this step ends with a proof, not with a word");
        }
        let line = match result {
            StepResult::Done { detail } => {
                target.state = StepState::Done;
                target.finished_at = Some(at);
                target.detail = detail.clone();
                format!("step {}: done: {detail}", step.0 + 1)
            }
            StepResult::Failed { detail } => {
                target.failures += 1;
                target.detail = detail.clone();
                let given_up = target.failures >= target.kind.failures_allowed();
                if given_up {
                    target.state = StepState::Failed;
                    target.finished_at = Some(at);
                } else {
                    target.state = StepState::Waiting;
                }
                let end = if given_up { "given up" } else { "failed, will be tried again" };
                format!("step {}: {end}: {detail}", step.0 + 1)
            }
        };
        self.tell(incident, at, line);
        Applied::Done
    }

    pub(super) fn apply_fenced(
        &mut self,
        plan: PlanId,
        step: StepId,
        proof: &FenceProof,
        at: Wall,
    ) -> Applied {
        let found = match self.current_step(plan, step) {
            Ok(found) => found,
            Err(applied) => return applied,
        };
        if *proof.group() != found.group || proof.epoch() != found.epoch_before {
            return ignored("the proof is about another group or epoch");
        }
        if proof.level() < found.proof_needed {
            return ignored(format!("the proof is {}, too weak", proof.level()));
        }
        found.proof = Some(proof.clone());
        let incident = found.incident;
        let detail = format!("proof level {}: {}", proof.level(), proof.words());
        let Some(target) = found.step_mut(step) else { return ignored("no such step") };
        target.state = StepState::Done;
        target.finished_at = Some(at);
        target.detail = detail.clone();
        self.tell(incident, at, format!("step {}: fenced: {detail}", step.0 + 1));
        Applied::Done
    }

    pub(super) fn apply_activated(
        &mut self,
        (plan, step): (PlanId, StepId),
        (name, site, epoch): (&GroupId, &SiteId, Epoch),
        proof: &FenceProof,
        at: Wall,
    ) -> Applied {
        let (needed, to) = match self.current_step(plan, step) {
            Ok(found) if found.group == *name => (found.proof_needed, found.to.clone()),
            Ok(_) => return ignored("the plan is another group's"),
            Err(applied) => return applied,
        };
        let Some(group) = self.groups.get_mut(name) else {
            return ignored(format!("no group is called {name}"));
        };
        let covers = *proof.group() == *name && proof.epoch() == group.epoch;
        if !covers || proof.level() < needed || *site != to || epoch != group.epoch.next() {
            return ignored("the proof does not cover this activation (C3)");
        }
        group.epoch = epoch;
        group.active = Some(site.clone());
        group.failsafe = failsafe::frozen(&group.spec);
        let Some(found) = self.plans.get_mut(&plan) else { return ignored("no such plan") };
        found.epoch_after = Some(epoch);
        found.proof.get_or_insert_with(|| proof.clone());
        let incident = found.incident;
        if let Some(target) = found.step_mut(step) {
            target.state = StepState::Done;
            target.attempts = target.attempts.max(1);
            target.started_at = target.started_at.or(Some(at));
            target.finished_at = Some(at);
            target.detail = format!("epoch {epoch}");
        }
        self.tell(incident, at, format!("site {site} is active under epoch {epoch}"));
        Applied::Done
    }

    pub(super) fn apply_plan_closed(
        &mut self,
        plan: PlanId,
        held: Option<&str>,
        at: Wall,
    ) -> Applied {
        let Some(found) = self.plans.get_mut(&plan).filter(|found| found.is_running()) else {
            return ignored(format!("plan {plan} is over or unknown"));
        };
        if held.is_none() && found.current().is_some() {
            return ignored(format!("plan {plan} has steps left"));
        }
        found.closed_at = Some(at);
        found.state = match held {
            None => PlanState::Completed,
            Some(reason) => PlanState::Held { reason: reason.to_string() },
        };
        let closed = found.clone();
        if let Some(group) = self.groups.get_mut(&closed.group) {
            group.plan = None;
            let moved = closed.from.as_ref() != Some(&closed.to);
            if held.is_none() && closed.kind == PlanKind::Failover && moved {
                group.failed_over_at = Some(at);
            }
            if let Some(reason) = held {
                let (by, reason) = (format!("plan {plan}"), reason.to_string());
                group.hold = Some(Hold { by, reason, at, plan: Some(plan) });
            } else if group.hold.as_ref().is_some_and(|hold| hold.plan.is_some()) {
                group.hold = None;
            }
        }
        self.close_incident(&closed, held, at);
        self.prune();
        Applied::Done
    }

    fn close_incident(&mut self, plan: &Plan, held: Option<&str>, at: Wall) {
        let (state, line) = match held {
            None => (IncidentState::Closed, format!("plan {} completed", plan.id)),
            Some(reason) => (IncidentState::Held, format!("plan {} held: {reason}", plan.id)),
        };
        if let Some(incident) = self.incidents.get_mut(&plan.incident) {
            incident.tell(at, line);
            incident.state = state;
            incident.closed_at = held.is_none().then_some(at);
        }
        let group = &plan.group;
        let (severity, title, body) = match held {
            None => {
                let summary = Report::of_plan(plan).summary();
                let severity =
                    if plan.kind == PlanKind::Start { Severity::Info } else { Severity::High };
                (severity, format!("{group}: {} to {} completed", plan.kind, plan.to), summary)
            }
            Some(reason) => (
                Severity::Critical,
                format!("{group}: {} to {} needs a person", plan.kind, plan.to),
                format!(
                    "{reason}. Look with: coordctl plan show {}. Automation for {group} is held \
                     until: coordctl resume {group}",
                    plan.id
                ),
            ),
        };
        self.notify((severity, group, plan.incident), &title, body, at);
    }

    fn tell(&mut self, incident: IncidentId, at: Wall, what: String) {
        if let Some(incident) = self.incidents.get_mut(&incident) {
            incident.tell(at, what);
        }
    }
}

/// Why a plan does not fit the policy as it is now: it was made for another one.
fn misfit(spec: &GroupSpec, draft: &PlanDraft) -> Option<String> {
    if spec.site(&draft.to).is_none() {
        return Some(format!("{} has no site {} any more", spec.name, draft.to));
    }
    let fenced = draft.steps.iter().find_map(|step| match &step.kind {
        StepKind::Fence { hosts, .. } => Some(hosts),
        StepKind::Activate
        | StepKind::Promote { .. }
        | StepKind::Start { .. }
        | StepKind::Redirect
        | StepKind::Verify { .. } => None,
    });
    let from = draft.from.as_ref().and_then(|from| spec.site(from)).map(|site| &site.hosts);
    (fenced != from).then(|| format!("the hosts of {}'s active site have changed", spec.name))
}
