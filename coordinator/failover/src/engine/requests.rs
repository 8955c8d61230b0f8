//! What operators ask of the engine: moves, approvals, records to be written.

use super::{Engine, appends::Purpose};
use crate::{
    approval::ApprovalId,
    effect::Effect,
    event::{Now, RequestId},
    record::Record,
    request::{PlanRequest, Refused, Request},
    state::Applied,
};
use alloc::{format, vec::Vec};

/// What a request leads to.
enum Answer {
    /// A record to be written.
    Write(Record),
    /// It was asked before: what came of it then.
    Known(Applied),
}

impl Engine {
    pub(super) fn request(
        &mut self,
        id: RequestId,
        request: Request,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let answer = match (self.leading, request) {
            (None, _) => Err(Refused::NotLeader),
            (Some(_), Request::Write(record)) => Ok(Answer::Write(*record)),
            (Some(_), Request::Plan(asked)) => self.plan_asked(&asked, now),
            (Some(_), Request::Approve { approval, by }) => {
                self.approve(approval, &by, now).map(Answer::Write)
            }
        };
        let proposed = match answer {
            Ok(Answer::Write(record)) => self.propose(Purpose::Request(id), record, out),
            Ok(Answer::Known(applied)) => {
                out.push(Effect::Reply { id, result: Ok(applied) });
                Ok(())
            }
            Err(refused) => Err(refused),
        };
        if let Err(refused) = proposed {
            out.push(Effect::Reply { id, result: Err(refused) });
        }
    }

    fn plan_asked(&self, asked: &PlanRequest, now: Now) -> Result<Answer, Refused> {
        let again = |request: &str| !asked.request.is_empty() && asked.request == request;
        if let Some(known) = self.state.plans.values().find(|plan| again(&plan.request)) {
            return Ok(Answer::Known(Applied::PlanOpened(known.id)));
        }
        let approvals = self.state.approvals.values();
        if let Some(known) = approvals.rev().find(|approval| again(&approval.asked.request)) {
            return Ok(Answer::Known(Applied::ApprovalAsked(known.id)));
        }
        let group =
            self.state.groups.get(&asked.group).ok_or_else(|| self.no_such_group(&asked.group))?;
        asked.open(group, &self.sight(group, now), self.settings.dns_hook).map(Answer::Write)
    }

    /// A second operator's consent: what was asked for is looked at again, with
    /// today's eyes, and only then opened.
    fn approve(&self, id: ApprovalId, by: &str, now: Now) -> Result<Record, Refused> {
        let approval = self.state.approvals.get(&id).ok_or_else(|| {
            Refused::NoSuch(format!("no request for approval has the number {id}"))
        })?;
        approval.consent(by, now.wall).map_err(|why| Refused::Rule([why].into()))?;
        let asked = &approval.asked;
        let group =
            self.state.groups.get(&asked.group).ok_or_else(|| self.no_such_group(&asked.group))?;
        let sight = self.sight(group, now);
        asked.open_approved(group, &sight, self.settings.dns_hook, (id, by))
    }
}
