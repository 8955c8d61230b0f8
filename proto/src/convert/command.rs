//! Commands and their reports.

use super::{WireError, bounded, missing, named, text};
use crate::v1;
use model::{
    Action, AttemptId, Command, CommandId, Epoch, GroupId, HostId, Millis, Outcome, PlanId,
    ProbeName, Refusal, ServiceName, SiteId, StepId, StepReport, Term, VerifyEvidence,
};

impl From<CommandId> for v1::CommandId {
    fn from(id: CommandId) -> Self {
        Self { plan: id.plan.0, step: id.step.0, attempt: id.attempt.0, part: id.part }
    }
}

impl From<v1::CommandId> for CommandId {
    fn from(id: v1::CommandId) -> Self {
        Self {
            plan: PlanId(id.plan),
            step: StepId(id.step),
            attempt: AttemptId(id.attempt),
            part: id.part,
        }
    }
}

impl From<Command> for v1::Command {
    fn from(c: Command) -> Self {
        use v1::command::Action as Wire;
        let action = match c.action {
            Action::Fence => Wire::Fence(v1::Fence {}),
            Action::Promote { site } => Wire::Promote(v1::Promote { site: site.into() }),
            Action::StartService { service } => {
                Wire::StartService(v1::StartService { service: service.into() })
            }
            Action::Verify { feeds } => {
                Wire::Verify(v1::Verify { feeds: feeds.into_iter().map(Into::into).collect() })
            }
        };
        Self {
            id: Some(c.id.into()),
            term: c.term.0,
            host: c.host.into(),
            group: c.group.into(),
            epoch: c.epoch.0,
            deadline_ms: c.deadline.0,
            action: Some(action),
        }
    }
}

impl TryFrom<v1::Command> for Command {
    type Error = WireError;
    /// A command whose action this program does not know is `Missing`: the
    /// agent answers it with [`Refusal::UnknownAction`].
    fn try_from(c: v1::Command) -> Result<Self, WireError> {
        use v1::command::Action as Wire;
        Ok(Self {
            id: c.id.ok_or(missing("Command", "id"))?.into(),
            term: Term(c.term),
            host: named("Command", HostId::new(c.host))?,
            group: named("Command", GroupId::new(c.group))?,
            epoch: Epoch(c.epoch),
            deadline: Millis(c.deadline_ms),
            action: match c.action.ok_or(missing("Command", "action"))? {
                Wire::Fence(_) => Action::Fence,
                Wire::Promote(p) => {
                    Action::Promote { site: named("Promote", SiteId::new(p.site))? }
                }
                Wire::StartService(s) => Action::StartService {
                    service: named("StartService", ServiceName::new(s.service))?,
                },
                Wire::Verify(v) => Action::Verify {
                    feeds: bounded("Verify", "feeds", v.feeds)?
                        .into_iter()
                        .map(|name| named("Verify", ProbeName::new(name)))
                        .collect::<Result<_, _>>()?,
                },
            },
        })
    }
}

impl From<StepReport> for v1::StepReport {
    fn from(r: StepReport) -> Self {
        use v1::step_report::Outcome as Wire;
        let outcome = match r.outcome {
            Outcome::Done { detail } => Wire::Done(v1::Done { detail }),
            Outcome::Fenced { stopped, gate_closed } => Wire::Fenced(v1::Fenced {
                stopped: stopped.into_iter().map(Into::into).collect(),
                gate_closed,
            }),
            Outcome::Verified(v) => Wire::Verified(v1::Verified {
                fresh_feeds: v.fresh_feeds,
                messages: v.messages,
                first_message_after_ms: v.first_message_after.map(|after| after.0),
            }),
            Outcome::Failed { detail } => Wire::Failed(v1::Failed { detail }),
            Outcome::Refused(refusal) => Wire::Refused(refusal.into()),
        };
        Self {
            host: r.host.into(),
            id: Some(r.id.into()),
            group: r.group.into(),
            epoch: r.epoch.0,
            outcome: Some(outcome),
        }
    }
}

impl TryFrom<v1::StepReport> for StepReport {
    type Error = WireError;
    fn try_from(r: v1::StepReport) -> Result<Self, WireError> {
        use v1::step_report::Outcome as Wire;
        let outcome = match r.outcome.ok_or(missing("StepReport", "outcome"))? {
            Wire::Done(d) => Outcome::Done { detail: text(d.detail) },
            Wire::Fenced(f) => Outcome::Fenced {
                stopped: bounded("Fenced", "stopped", f.stopped)?
                    .into_iter()
                    .map(|name| named("Fenced", ServiceName::new(name)))
                    .collect::<Result<_, _>>()?,
                gate_closed: f.gate_closed,
            },
            Wire::Verified(v) => Outcome::Verified(VerifyEvidence {
                fresh_feeds: v.fresh_feeds,
                messages: v.messages,
                first_message_after: v.first_message_after_ms.map(Millis),
            }),
            Wire::Failed(f) => Outcome::Failed { detail: text(f.detail) },
            Wire::Refused(refused) => Outcome::Refused(refused.try_into()?),
        };
        Ok(Self {
            host: named("StepReport", HostId::new(r.host))?,
            id: r.id.ok_or(missing("StepReport", "id"))?.into(),
            group: named("StepReport", GroupId::new(r.group))?,
            epoch: Epoch(r.epoch),
            outcome,
        })
    }
}

impl From<Refusal> for v1::Refused {
    fn from(refusal: Refusal) -> Self {
        use v1::refused::Reason as Wire;
        let reason = match refusal {
            Refusal::StaleTerm { given, seen } => {
                Wire::StaleTerm(v1::StaleNumber { given: given.0, seen: seen.0 })
            }
            Refusal::StaleEpoch { given, seen } => {
                Wire::StaleEpoch(v1::StaleNumber { given: given.0, seen: seen.0 })
            }
            Refusal::WrongHost { given, own } => {
                Wire::WrongHost(v1::WrongHost { given: given.into(), own: own.into() })
            }
            Refusal::NotAllowed { what } => Wire::NotAllowed(what),
            Refusal::NoLease { epoch } => Wire::NoLeaseEpoch(epoch.0),
            Refusal::Promised { left } => Wire::PromisedMs(left.0),
            Refusal::Barred { why } => Wire::Barred(why),
            Refusal::TooLate => Wire::TooLate(true),
            Refusal::UnknownAction => Wire::UnknownAction(true),
        };
        Self { reason: Some(reason) }
    }
}

impl TryFrom<v1::Refused> for Refusal {
    type Error = WireError;
    fn try_from(refused: v1::Refused) -> Result<Self, WireError> {
        use v1::refused::Reason as Wire;
        Ok(match refused.reason.ok_or(missing("Refused", "reason"))? {
            Wire::StaleTerm(n) => Self::StaleTerm { given: Term(n.given), seen: Term(n.seen) },
            Wire::StaleEpoch(n) => Self::StaleEpoch { given: Epoch(n.given), seen: Epoch(n.seen) },
            Wire::WrongHost(w) => Self::WrongHost {
                given: named("WrongHost", HostId::new(w.given))?,
                own: named("WrongHost", HostId::new(w.own))?,
            },
            Wire::NotAllowed(what) => Self::NotAllowed { what: text(what) },
            Wire::NoLeaseEpoch(epoch) => Self::NoLease { epoch: Epoch(epoch) },
            Wire::PromisedMs(left) => Self::Promised { left: Millis(left) },
            Wire::Barred(why) => Self::Barred { why: text(why) },
            Wire::TooLate(_) => Self::TooLate,
            Wire::UnknownAction(_) => Self::UnknownAction,
        })
    }
}
