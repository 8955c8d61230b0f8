//! Calls that change something: plans, holds, policies.

use super::{OperatorService, by, group_file, status::level, views};
use crate::outbound::dns::DnsSwitch;
use certs::Peer;
use failover::{
    Applied, ApprovalId, GroupSpec, PlanDraft, PlanKind, PlanRequest, Position, ProofLevel, Record,
    Refused, Request as Change,
};
use model::{AttemptId, IncidentId, PlanId, SiteId, Wall};
use proto::v1;
use std::sync::Arc;
use tonic::Status;

impl OperatorService {
    pub(super) async fn start_a_plan(
        &self,
        peer: &Arc<Peer>,
        asked: v1::StartPlanRequest,
    ) -> Result<v1::StartPlanReply, Status> {
        let dry_run = asked.dry_run;
        let request = self.plan_request(peer, asked).await?;
        let question = request.clone();
        let preview = self.ask(move |engine, now| engine.preview(&question, now)).await?;
        let preview = preview.map_err(|why| self.refuse(&why))?;
        let mut reply = v1::StartPlanReply {
            plan: Some(views::preview(&preview)),
            proof_reachable: level(preview.reachable),
            proof_needed: level(preview.needed),
            bounds: preview.timing.bounds().iter().map(views::bound).collect(),
            refusals: preview.refusals.clone(),
            needs_approval: preview.needs_approval,
            approval: 0,
        };
        if dry_run {
            self.try_hook(&preview.draft, &mut reply).await?;
            return Ok(reply);
        }
        reply.refusals.clear();
        self.carry_out(Change::Plan(request), &mut reply).await?;
        Ok(reply)
    }

    /// The second operator's consent: the plan is opened on what is true now.
    pub(super) async fn approve_a_plan(
        &self,
        peer: &Arc<Peer>,
        asked: v1::ApproveRequest,
    ) -> Result<v1::StartPlanReply, Status> {
        let mut reply = v1::StartPlanReply::default();
        let approval = ApprovalId(asked.approval);
        self.carry_out(Change::Approve { approval, by: by(peer) }, &mut reply).await?;
        Ok(reply)
    }

    async fn carry_out(
        &self,
        change: Change,
        reply: &mut v1::StartPlanReply,
    ) -> Result<(), Status> {
        match self.handle.ask(change).await {
            Ok(Applied::PlanOpened(id)) => {
                let plan = self
                    .ask(move |engine, _| engine.state().plans.get(&id).map(views::plan))
                    .await?;
                reply.plan = plan;
            }
            Ok(Applied::ApprovalAsked(approval)) => reply.approval = approval.0,
            Ok(Applied::Ignored(why)) => reply.refusals.push(why),
            Ok(Applied::Done | Applied::HostOrdered(_)) => {
                return Err(Status::internal("a plan request opened no plan"));
            }
            Err(Refused::Rule(refusals)) => reply.refusals = refusals,
            Err(why) => return Err(self.refuse(&why)),
        }
        Ok(())
    }

    /// Calls the DNS hook with `dry_run` and shows what it says beside its step.
    async fn try_hook(
        &self,
        draft: &PlanDraft,
        reply: &mut v1::StartPlanReply,
    ) -> Result<(), Status> {
        let mut steps = reply.plan.iter_mut().flat_map(|plan| plan.steps.iter_mut());
        let redirect = steps.find(|step| step.kind == "redirect");
        let (Some(hook), Some(redirect)) = (&self.dns, redirect) else { return Ok(()) };
        let group = draft.group.clone();
        let spec = self
            .ask(move |engine, _| engine.state().groups.get(&group).map(|g| g.spec.clone()))
            .await?;
        let addresses = |site: &SiteId| {
            let found = spec.as_ref().and_then(|spec| spec.site(site));
            found.map(|site| site.addresses.clone()).unwrap_or_default()
        };
        let outcome = hook
            .switch(&DnsSwitch {
                round: AttemptId(1),
                group: draft.group.clone(),
                from: draft.from.clone(),
                to: draft.to.clone(),
                addresses: addresses(&draft.to),
                from_addresses: draft.from.as_ref().map(addresses).unwrap_or_default(),
                epoch: draft.epoch_before.next(),
                incident: IncidentId(0),
                plan: PlanId(0),
                dry_run: true,
            })
            .await;
        redirect.detail = format!("dry run: {outcome}");
        Ok(())
    }

    async fn plan_request(
        &self,
        peer: &Arc<Peer>,
        asked: v1::StartPlanRequest,
    ) -> Result<PlanRequest, Status> {
        let wrong = |words: String| Status::invalid_argument(words);
        let kind = match asked.kind.as_str() {
            "failover" => PlanKind::Failover,
            "switchover" => PlanKind::Switchover,
            "failback" => PlanKind::Failback,
            other => {
                return Err(wrong(format!(
                    "`{other}` is no kind of plan that this coordinator knows"
                )));
            }
        };
        let accept_proof = match u8::try_from(asked.accept_proof) {
            Ok(0) => None,
            Ok(number) => Some(ProofLevel::try_from(number).map_err(wrong)?),
            Err(_) => return Err(wrong("a proof level is 1 to 5".into())),
        };
        if accept_proof.is_some() && asked.reason.trim().is_empty() {
            return Err(wrong("accepting a proof needs a reason: --reason \"...\"".into()));
        }
        let to = match asked.to.as_str() {
            "" if kind == PlanKind::Failback => None,
            "" => return Err(wrong(format!("a {kind} needs a target: --to SITE"))),
            name => Some(SiteId::new(name).map_err(|e| wrong(e.to_string()))?),
        };
        Ok(PlanRequest {
            group: self.group(&asked.group).await?,
            kind,
            to,
            accept_proof,
            reason: asked.reason,
            by: by(peer),
            request: asked.request_id,
        })
    }

    pub(super) async fn hold_automation(
        &self,
        peer: &Arc<Peer>,
        asked: v1::HoldRequest,
    ) -> Result<v1::HoldReply, Status> {
        let group = self.optional_group(&asked.group).await?;
        let reason = match asked.reason.trim() {
            "" => "held by an operator".to_owned(),
            reason => reason.to_owned(),
        };
        let record = Record::AutomationHeld { group, by: by(peer), reason, at: certs::now() };
        self.change(Change::Write(Box::new(record))).await?;
        Ok(v1::HoldReply {})
    }

    pub(super) async fn resume_automation(
        &self,
        peer: &Arc<Peer>,
        asked: v1::ResumeRequest,
    ) -> Result<v1::ResumeReply, Status> {
        let group = self.optional_group(&asked.group).await?;
        let record = Record::AutomationResumed { group, by: by(peer), at: certs::now() };
        self.change(Change::Write(Box::new(record))).await?;
        Ok(v1::ResumeReply {})
    }

    async fn optional_group(&self, name: &str) -> Result<Option<model::GroupId>, Status> {
        match name {
            "" => Ok(None),
            name => self.group(name).await.map(Some),
        }
    }

    pub(super) async fn diff_groups(
        &self,
        peer: &Arc<Peer>,
        asked: v1::ApplyRequest,
    ) -> Result<v1::ApplyReply, Status> {
        self.prepare(peer, asked).await.map(|(reply, _)| reply)
    }

    pub(super) async fn apply_groups(
        &self,
        peer: &Arc<Peer>,
        asked: v1::ApplyRequest,
    ) -> Result<v1::ApplyReply, Status> {
        let (reply, records) = self.prepare(peer, asked).await?;
        for record in records {
            self.change(Change::Write(Box::new(record))).await?;
        }
        Ok(reply)
    }

    /// What applying the documents would change, and the records that do it;
    /// no records when there is any fault.
    async fn prepare(
        &self,
        peer: &Arc<Peer>,
        asked: v1::ApplyRequest,
    ) -> Result<(v1::ApplyReply, Vec<Record>), Status> {
        let (specs, mut faults) = group_file::read_all(&asked.documents);
        let (by, at) = (by(peer), certs::now());
        let (changes, refused) = self.try_out(specs.clone(), by.clone(), at).await?;
        faults.extend(refused);
        if !faults.is_empty() {
            return Ok((v1::ApplyReply { faults, changes: Vec::new() }, Vec::new()));
        }
        let changed = |spec: &GroupSpec| {
            changes.iter().any(|c| c.group == spec.name.as_str() && c.kind != "unchanged")
        };
        let records = specs
            .into_iter()
            .filter(|(_, spec)| changed(spec))
            .map(|(_, spec)| Record::GroupApplied { spec: Box::new(spec), by: by.clone(), at })
            .collect();
        Ok((v1::ApplyReply { faults, changes }, records))
    }

    /// Applies the policies to a copy of the state: what would change, what would be refused.
    async fn try_out(
        &self,
        specs: Vec<(String, GroupSpec)>,
        by: String,
        at: Wall,
    ) -> Result<(Vec<v1::Change>, Vec<v1::Fault>), Status> {
        self.ask(move |engine, _| {
            let mut copy = engine.state().clone();
            let (mut changes, mut faults) = (Vec::new(), Vec::new());
            for (file, spec) in specs {
                let before = copy.groups.get(&spec.name).map(|group| group.spec.clone());
                let (kind, lines) = match &before {
                    None => ("added", Vec::new()),
                    Some(old) if *old == spec => ("unchanged", Vec::new()),
                    Some(old) => ("changed", spec.differences(old)),
                };
                let group = spec.name.to_string();
                let record = Record::GroupApplied { spec: Box::new(spec), by: by.clone(), at };
                let next = Position { index: copy.position.index + 1, ..copy.position };
                match copy.apply(next, &record) {
                    Applied::Ignored(message) if kind != "unchanged" => faults.push(v1::Fault {
                        file,
                        line: 1,
                        column: 1,
                        field: "group".into(),
                        message,
                        hint: String::new(),
                    }),
                    Applied::Ignored(_)
                    | Applied::Done
                    | Applied::PlanOpened(_)
                    | Applied::ApprovalAsked(_)
                    | Applied::HostOrdered(_) => {
                        changes.push(v1::Change { group, kind: kind.into(), lines });
                    }
                }
            }
            (changes, faults)
        })
        .await
    }
}
