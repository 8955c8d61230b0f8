//! What operators and the enrolment service may ask, and the safety rules that
//! may refuse it. A refusal is data and is shown word for word.

use crate::{
    approval::ApprovalId,
    decision::{could_serve, data_ready},
    fence::ProofLevel,
    incident::Cause,
    plan::{self, PlanDraft, PlanKind},
    policy::Timing,
    record::Record,
    sight::{Sight, SiteSight},
    state::Group,
    suspicion::Standing,
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{GroupId, Millis, SiteId};
use serde::{Deserialize, Serialize};

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Move a group.
    Plan(PlanRequest),
    /// Write this record; applying it says whether it fitted.
    Write(Box<Record>),
    /// Approve, as a second operator, what another one asked for.
    Approve {
        /// Which request.
        approval: ApprovalId,
        /// Who approves.
        by: String,
    },
}

/// A move that an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The group.
    pub group: GroupId,
    /// Failover, switchover or failback.
    pub kind: PlanKind,
    /// The target; `None` for the group's primary (failback).
    pub to: Option<SiteId>,
    /// A weaker proof that the operator accepts.
    pub accept_proof: Option<ProofLevel>,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// The request's own id: the same one twice is done once.
    pub request: String,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody leads here.
    #[error("this coordinator does not lead")]
    NotLeader,
    /// The journal could not be written in time; it may yet be.
    #[error(
        "the journal did not confirm in time: {0}; look with coordctl status before you repeat it"
    )]
    Unknown(String),
    /// It names something that is not there.
    #[error("{0}")]
    NoSuch(String),
    /// A safety rule stands against it.
    #[error("{}", .0.join("; "))]
    Rule(Vec<String>),
    /// Too much is waiting.
    #[error("too many requests are waiting; try again")]
    Busy,
}

/// A plan as it would be: what `--dry-run` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanPreview {
    /// The plan.
    pub draft: PlanDraft,
    /// The proof that fencing would reach as things stand.
    pub reachable: ProofLevel,
    /// The proof that it must reach.
    pub needed: ProofLevel,
    /// The rules that stand against it, in words.
    pub refusals: Vec<String>,
    /// The bounds that hold.
    pub timing: Timing,
    /// Whether it takes a second operator's approval.
    pub needs_approval: bool,
}

impl PlanRequest {
    /// Works out the plan and what stands against it, without changing anything.
    ///
    /// # Errors
    /// [`Refused::NoSuch`] when the target is no site of the group.
    pub(crate) fn preview(
        &self,
        group: &Group,
        sight: &Sight,
        dns_hook: bool,
    ) -> Result<PlanPreview, Refused> {
        let spec = &group.spec;
        let to = self.to.clone().unwrap_or_else(|| spec.primary.clone());
        let target = sight.site(&to).ok_or_else(|| {
            let names: Vec<&str> = spec.sites.iter().map(|site| site.name.as_str()).collect();
            Refused::NoSuch(format!(
                "{} has no site `{to}`; its sites: {}",
                spec.name,
                names.join(", ")
            ))
        })?;
        let from = group.active.as_ref().and_then(|name| sight.site(name));
        let reachable = from.map_or(ProofLevel::Venue, |site| sight.reachable_proof(site));
        let needed = self.accept_proof.unwrap_or(spec.automatic_failover_needs);
        let mut refusals = Vec::new();
        if let Some(plan) = sight.plan {
            refusals.push(format!(
                "plan {plan} is under way; watch it with: coordctl plan show {plan}"
            ));
        }
        if group.active.as_ref() == Some(&to) {
            refusals.extend(self.already_there(group, sight, target));
        }
        if let Err(why) = could_serve(sight, target) {
            refusals.push(format!("site {to} could not serve: {why}"));
        } else {
            refusals.extend(too_old(sight, target));
        }
        refusals.extend(from.and_then(|from| sight.unprovable(from, target)));
        if reachable < needed && from.is_some() {
            refusals.push(format!(
                "fencing would reach proof level {reachable}, {needed} is needed; \
                 if you know that the old site is down, repeat with \
                 --accept-proof {} --reason \"...\"",
                reachable.number()
            ));
        }
        if self.kind != PlanKind::Failover
            && let Some(why) = from.and_then(|site| unhealthy(sight, site))
        {
            refusals.push(format!("a {} needs both sites healthy: {why}; use failover", self.kind));
        }
        let silence = from.map_or(Millis::ZERO, |site| worst_silence(sight, site));
        let draft = PlanDraft {
            group: spec.name.clone(),
            kind: self.kind,
            from: group.active.clone(),
            to: to.clone(),
            by: Some(self.by.clone()),
            request: self.request.clone(),
            reason: self.reason.clone(),
            proof_needed: needed,
            epoch_before: group.epoch,
            steps: plan::steps(spec, self.kind, group.active.as_ref(), &to, dns_hook),
            last_good: sight.at - silence,
            suspected_at: sight.at - silence.saturating_sub(sight.timing.suspicion),
            approved_by: None,
            approval: None,
        };
        let needs_approval = spec.two_operators && needed < spec.automatic_failover_needs;
        let timing = sight.timing;
        Ok(PlanPreview { draft, reachable, needed, refusals, timing, needs_approval })
    }

    /// A move to where the group already is makes sense for one purpose: to
    /// bring back a site on which a plan was held, or that does not serve. It
    /// is fenced like any other and gets a new epoch.
    fn already_there(&self, group: &Group, sight: &Sight, site: &SiteSight) -> Option<String> {
        let to = &site.site;
        match self.kind {
            PlanKind::Failover if group.hold.is_some() || unhealthy(sight, site).is_some() => None,
            PlanKind::Failover => {
                Some(format!("site {to} is already the active one, and it is healthy"))
            }
            PlanKind::Start | PlanKind::Switchover | PlanKind::Failback => Some(format!(
                "site {to} is already the active one; if it does not serve, bring it back with: \
                 coordctl failover --to {to}"
            )),
        }
    }

    /// The record that begins the plan, or that asks a second operator for it,
    /// unless a rule stands against it.
    ///
    /// # Errors
    /// [`Refused`] with every rule that refuses it.
    pub(crate) fn open(
        &self,
        group: &Group,
        sight: &Sight,
        dns_hook: bool,
    ) -> Result<Record, Refused> {
        let preview = self.preview(group, sight, dns_hook)?;
        if !preview.refusals.is_empty() {
            return Err(Refused::Rule(preview.refusals));
        }
        if preview.needs_approval {
            return Ok(Record::ApprovalAsked { asked: Box::new(self.clone()), at: sight.at });
        }
        Ok(self.opened(preview.draft, sight))
    }

    /// The same with the consent of a second operator, unless a rule stands
    /// against it by now.
    ///
    /// # Errors
    /// [`Refused`] with every rule that refuses it.
    pub(crate) fn open_approved(
        &self,
        group: &Group,
        sight: &Sight,
        dns_hook: bool,
        (approval, by): (ApprovalId, &str),
    ) -> Result<Record, Refused> {
        let preview = self.preview(group, sight, dns_hook)?;
        if !preview.refusals.is_empty() {
            return Err(Refused::Rule(preview.refusals));
        }
        let mut draft = preview.draft;
        (draft.approval, draft.approved_by) = (Some(approval), Some(by.to_string()));
        Ok(self.opened(draft, sight))
    }

    fn opened(&self, draft: PlanDraft, sight: &Sight) -> Record {
        Record::PlanOpened {
            draft: Box::new(draft),
            cause: Cause::Operator { by: self.by.to_string() },
            evidence: Box::new(sight.clone()),
            at: sight.at,
        }
    }
}

/// Why the data of a site is too old for the policy, with the way around.
fn too_old(sight: &Sight, site: &SiteSight) -> Option<String> {
    let why = data_ready(sight, site).err()?;
    Some(format!(
        "the data of site {} is too old: {why}; if you accept that loss, raise max_data_lag in \
         the group file",
        site.site
    ))
}

/// Why a site is not healthy enough for a planned move.
fn unhealthy(sight: &Sight, site: &SiteSight) -> Option<String> {
    site.hosts.iter().find_map(|host| {
        let standing = sight.standing(host);
        if standing != Standing::Alive {
            return Some(format!("host {} is {}", host.host, standing.word()));
        }
        host.faults.first().map(|f| format!("{} on {} is {}", f.service, host.host, f.state))
    })
}

/// How long the site's most silent host has been silent; nothing while it counts as alive.
fn worst_silence(sight: &Sight, site: &SiteSight) -> Millis {
    site.hosts
        .iter()
        .filter(|host| sight.standing(host) != Standing::Alive)
        .map(|host| host.silence.unwrap_or(sight.watched))
        .max()
        .unwrap_or(Millis::ZERO)
}
