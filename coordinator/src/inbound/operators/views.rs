//! The core's facts as the operators' views: words and numbers, no decisions.

use failover::{
    Approval, Bound, Check, Incident, Notification, Phases, Plan, PlanPreview, PlanState, Report,
    Step, TimelineEntry,
};
use model::Wall;
use proto::v1;

pub(super) fn bound(bound: &Bound) -> v1::Bound {
    v1::Bound {
        name: bound.name.into(),
        ms: bound.value.0,
        formula: bound.formula.into(),
        meaning: bound.meaning.into(),
    }
}

pub(super) fn check(check: Check) -> v1::Check {
    v1::Check {
        name: check.name.into(),
        subject: check.subject,
        result: check.result.word().into(),
        found: check.found,
        hint: check.hint,
    }
}

fn step(plan: &Plan, number: u64, step: &Step) -> v1::Step {
    v1::Step {
        number,
        kind: step.kind.word().into(),
        what: step.words(plan),
        state: step.state.word().into(),
        attempts: step.attempts,
        detail: step.detail.clone(),
        started_unix_ms: step.started_at.map(|at| at.0),
        finished_unix_ms: step.finished_at.map(|at| at.0),
    }
}

pub(super) fn plan(plan: &Plan) -> v1::Plan {
    let report = Report::of_plan(plan);
    let phases = Phases::of(plan);
    v1::Plan {
        id: plan.id.0,
        group: plan.group.to_string(),
        kind: plan.kind.word().into(),
        from: report.from.clone(),
        to: report.to.clone(),
        incident: plan.incident.0,
        state: plan.state.word().into(),
        reason: match &plan.state {
            PlanState::Held { reason } => reason.clone(),
            PlanState::Running | PlanState::Completed => String::new(),
        },
        steps: (1..).zip(&plan.steps).map(|(number, s)| step(plan, number, s)).collect(),
        opened_unix_ms: plan.opened_at.0,
        closed_unix_ms: plan.closed_at.map(|at| at.0),
        by: plan.by.clone().unwrap_or_else(|| "automatic".into()),
        epoch_before: plan.epoch_before.0,
        epoch_after: report.epoch_after,
        proof_level: u32::from(report.proof_level),
        proof: report.proof,
        phases_ms: phases.known().map(|(name, ms)| (name.to_owned(), ms.0)).collect(),
        rto_ms: report.rto_ms.map(|ms| ms.0),
        approved_by: plan.approved_by.clone().unwrap_or_default(),
    }
}

pub(super) fn approval(approval: &Approval, now: Wall) -> v1::Approval {
    let asked = &approval.asked;
    v1::Approval {
        id: approval.id.0,
        group: asked.group.to_string(),
        kind: asked.kind.word().into(),
        to: asked.to.as_ref().map(ToString::to_string).unwrap_or_default(),
        by: asked.by.clone(),
        reason: asked.reason.clone(),
        accept_proof: asked.accept_proof.map_or(0, |level| u32::from(level.number())),
        asked_unix_ms: approval.at.0,
        expires_unix_ms: approval.expires().0,
        state: approval.word(now).into(),
        approved_by: approval.approved_by.clone().unwrap_or_default(),
        plan: approval.plan.map_or(0, |plan| plan.0),
    }
}

/// A plan that is not one yet: id 0, every step waiting.
pub(super) fn preview(preview: &PlanPreview) -> v1::Plan {
    let draft = &preview.draft;
    let shown = Plan::begin(model::PlanId(0), model::IncidentId(0), draft, draft.last_good);
    v1::Plan { state: "preview".into(), phases_ms: Default::default(), ..plan(&shown) }
}

pub(super) fn incident(incident: &Incident) -> v1::Incident {
    let entry = |entry: &TimelineEntry| v1::TimelineEntry {
        at_unix_ms: entry.at.0,
        what: entry.what.clone(),
    };
    v1::Incident {
        id: incident.id.0,
        group: incident.group.to_string(),
        cause: incident.cause.word().into(),
        severity: incident.cause.severity().word().into(),
        state: incident.state.word().into(),
        title: incident.title(),
        opened_unix_ms: incident.opened_at.0,
        closed_unix_ms: incident.closed_at.map(|at| at.0),
        plans: incident.plans.iter().map(|plan| plan.0).collect(),
        timeline: incident.timeline.iter().map(entry).collect(),
    }
}

pub(super) fn notification(notification: &Notification) -> v1::Notification {
    v1::Notification {
        id: notification.id.0,
        group: notification.group.to_string(),
        incident: notification.incident.0,
        severity: notification.severity.word().into(),
        title: notification.title.clone(),
        body: notification.body.clone(),
        at_unix_ms: notification.at.0,
        deliveries: notification
            .channels
            .iter()
            .map(|(channel, delivery)| v1::Delivery {
                channel: channel.clone(),
                state: delivery.state.word().into(),
                attempts: delivery.attempts,
                detail: delivery.detail.clone(),
            })
            .collect(),
    }
}

/// A task as the journal has it.
pub(super) fn task(entry: &failover::TaskEntry) -> v1::TaskRecord {
    let end = entry.end.as_ref();
    v1::TaskRecord {
        request: entry.request.clone(),
        task: entry.task.clone(),
        by: entry.by.clone(),
        reason: entry.reason.clone(),
        at_unix_ms: entry.at.0,
        end: end.map(|end| v1::TaskEnd { exit: end.exit.into(), detail: end.detail.clone() }),
        ended_unix_ms: end.map_or(0, |end| end.at.0),
        bytes: end.map_or(0, |end| end.bytes),
    }
}
