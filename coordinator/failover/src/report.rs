//! The report of an incident: a fold of its records. Timeline, RTO by phase,
//! RPO where it is known, the proof.

use crate::{
    incident::Incident,
    plan::{Plan, PlanKind, StepState},
    state::State,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{Millis, Wall};
use serde::Serialize;

/// How long each phase took; `None` where it was not reached or not needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Phases {
    /// Last known good to suspect.
    pub detect: Option<Millis>,
    /// Suspect to the committed plan.
    pub decide: Option<Millis>,
    /// To the proof.
    pub fence: Option<Millis>,
    /// To every service healthy.
    pub activate: Option<Millis>,
    /// The DNS hook.
    pub redirect: Option<Millis>,
    /// To the first fresh message.
    pub verify: Option<Millis>,
}

impl Phases {
    /// The phases of one plan, as far as it has come.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let ended = |word: &str| {
            plan.steps
                .iter()
                .rfind(|step| step.kind.word() == word && step.state == StepState::Done)
                .and_then(|step| step.finished_at)
        };
        let opened = plan.opened_at;
        let fenced = ended("fence");
        let activated = ended("start").or_else(|| ended("promote"));
        let redirected = ended("redirect");
        let verified = ended("verify");
        let span = |end: Option<Wall>, start: Option<Wall>| Some(end?.since(start?));
        let unplanned = plan.kind == PlanKind::Failover && plan.last_good < plan.suspected_at;
        Self {
            detect: unplanned.then(|| plan.suspected_at.since(plan.last_good)),
            decide: unplanned.then(|| opened.since(plan.suspected_at)),
            fence: span(fenced, Some(opened)),
            activate: span(activated, fenced.or(Some(opened))),
            redirect: span(redirected, activated),
            verify: span(verified, redirected.or(activated)),
        }
    }

    /// Name and value of every phase that is known, in order.
    pub fn known(&self) -> impl Iterator<Item = (&'static str, Millis)> {
        [
            ("detect", self.detect),
            ("decide", self.decide),
            ("fence", self.fence),
            ("activate", self.activate),
            ("redirect", self.redirect),
            ("verify", self.verify),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
    }
}

/// What a plan reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The group.
    pub group: String,
    /// The recipe.
    pub kind: &'static str,
    /// The site before; empty for a first start.
    pub from: String,
    /// The site after.
    pub to: String,
    /// The plan's number.
    pub plan: u64,
    /// How it ended.
    pub state: &'static str,
    /// Why it is held; empty otherwise.
    pub reason: String,
    /// The epoch before.
    pub epoch_before: u64,
    /// The epoch after; 0 when none was activated.
    pub epoch_after: u64,
    /// The proof's level; 0 when nothing was fenced.
    pub proof_level: u8,
    /// The proof in words.
    pub proof: String,
    /// From the last known good moment to the verified site, ms.
    pub rto_ms: Option<Millis>,
    /// The same, phase by phase, ms.
    pub phases_ms: Phases,
    /// What was lost, where it is known, ms.
    pub rpo_ms: Option<Millis>,
    /// What the RPO was taken from; empty where it is not known.
    pub rpo_source: &'static str,
    /// Why the RPO is not known; empty otherwise.
    pub rpo_note: &'static str,
}

impl Report {
    /// The report of one plan.
    #[must_use]
    pub fn of_plan(plan: &Plan) -> Self {
        let verified = plan
            .find("verify")
            .filter(|step| step.state == StepState::Done)
            .and_then(|step| step.finished_at);
        let start = if plan.kind == PlanKind::Failover { plan.last_good } else { plan.opened_at };
        let reason = match &plan.state {
            crate::plan::PlanState::Held { reason } => reason.clone(),
            crate::plan::PlanState::Running | crate::plan::PlanState::Completed => String::new(),
        };
        let fenced = plan.proof.as_ref().filter(|proof| !proof.hosts().is_empty());
        Self {
            group: plan.group.to_string(),
            kind: plan.kind.word(),
            from: plan.from.as_ref().map(ToString::to_string).unwrap_or_default(),
            to: plan.to.to_string(),
            plan: plan.id.0,
            state: plan.state.word(),
            reason,
            epoch_before: plan.epoch_before.0,
            epoch_after: plan.epoch_after.map_or(0, |epoch| epoch.0),
            proof_level: fenced.map_or(0, |proof| proof.level().number()),
            proof: plan.proof.as_ref().map(|proof| proof.words()).unwrap_or_default(),
            rto_ms: verified.map(|at| at.since(start)),
            phases_ms: Phases::of(plan),
            rpo_ms: plan.data_lag.or(plan.backup_lag),
            rpo_source: match (plan.data_lag, plan.backup_lag) {
                (Some(_), _) => "how far the data lagged at the decision",
                (None, Some(_)) => "the age of the newest proven backups at the decision",
                (None, None) => "",
            },
            rpo_note: match plan.data_lag.or(plan.backup_lag) {
                Some(_) => "",
                None => {
                    "not known: no watermark of this group says how far its copy has come, and no \
                     backup of it survives the host"
                }
            },
        }
    }

    /// One paragraph for a notification.
    #[must_use]
    pub fn summary(&self) -> String {
        let phases: Vec<String> =
            self.phases_ms.known().map(|(name, value)| format!("{name} {value}")).collect();
        let rto = self.rto_ms.map_or("not reached".to_string(), |rto| rto.to_string());
        let proof = match self.proof_level {
            0 => format!("Nothing had to be fenced: {}", self.proof),
            level => format!("Proof level {level}: {}", self.proof),
        };
        format!(
            "{} serves under epoch {}. RTO {rto} ({}). {proof}. RPO {}",
            self.to,
            self.epoch_after,
            phases.join(", "),
            self.rpo(),
        )
    }

    /// What was lost, in words.
    fn rpo(&self) -> String {
        let known = |lag: Millis| format!("{lag} ({})", self.rpo_source);
        self.rpo_ms.map_or(self.rpo_note.to_string(), known)
    }

    /// The whole incident as Markdown. `time` writes a wall clock instant for people.
    #[must_use]
    pub fn markdown(incident: &Incident, state: &State, time: &dyn Fn(Wall) -> String) -> String {
        let mut out = format!(
            "# Incident {}: {}\n\n- State: {}\n- Severity: {}\n- Opened: {}\n- Closed: {}\n",
            incident.id,
            incident.title(),
            incident.state.word(),
            incident.cause.severity(),
            time(incident.opened_at),
            incident.closed_at.map_or("not yet".to_string(), time),
        );
        for plan in incident.plans.iter().filter_map(|id| state.plans.get(id)) {
            out.push_str(&Self::of_plan(plan).plan_markdown());
        }
        out.push_str("\n## Timeline\n\n| Time | What |\n|---|---|\n");
        for entry in &incident.timeline {
            let what = entry.what.replace('|', "\\|").replace('\n', " ");
            out.push_str(&format!("| {} | {what} |\n", time(entry.at)));
        }
        out
    }

    fn plan_markdown(&self) -> String {
        let from = if self.from.is_empty() { "nowhere" } else { &self.from };
        let mut out = format!(
            "\n## Plan {}: {} from {from} to {}\n\n- Result: {}{}{}\n- Epoch: {} -> {}\n\
             - Proof: level {}, {}\n- RTO: {}\n- RPO: {}\n\n| Phase | Took |\n|---|---|\n",
            self.plan,
            self.kind,
            self.to,
            self.state,
            if self.reason.is_empty() { "" } else { ": " },
            self.reason,
            self.epoch_before,
            self.epoch_after,
            self.proof_level,
            self.proof,
            self.rto_ms.map_or("not reached".to_string(), |rto| rto.to_string()),
            self.rpo(),
        );
        for (name, value) in self.phases_ms.known() {
            out.push_str(&format!("| {name} | {value} |\n"));
        }
        out
    }
}
