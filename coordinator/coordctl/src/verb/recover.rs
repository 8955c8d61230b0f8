//! `failover`, `switchover`, `failback`, `approve`: show, ask, start, follow.
//!
//! The order is fixed: consent is settled before anything is dialled, a person
//! sees the plan before the question, and what was started is followed to its
//! end. Whether it may be done at all is the coordinators' word.

use crate::{
    cli::{Approve, Failback, How, Move},
    client::{Client, Repeat, request_id},
    confirm::{self, Consent},
    end::{End, Failure},
    follow, group,
    out::Out,
    render,
};
use daemon::exit::Exit;
use proto::v1::{ApproveRequest, StartPlanReply, StartPlanRequest, StatusRequest};

/// What is to be started, not yet complete.
pub(crate) struct Wish {
    request: StartPlanRequest,
    group: Option<String>,
    how: How,
}

fn moved(kind: &str, args: Move) -> Wish {
    let request = StartPlanRequest {
        kind: kind.into(),
        to: args.to,
        accept_proof: args.accept_proof.unwrap_or(0),
        reason: args.reason.unwrap_or_default(),
        ..Default::default()
    };
    Wish { request, group: args.group, how: args.how }
}

pub(crate) fn failover(args: Move) -> Wish {
    moved("failover", args)
}

pub(crate) fn switchover(args: Move) -> Wish {
    moved("switchover", args)
}

pub(crate) fn failback(args: Failback) -> Wish {
    let request = StartPlanRequest {
        kind: "failback".into(),
        accept_proof: args.accept_proof.unwrap_or(0),
        reason: args.reason.unwrap_or_default(),
        ..Default::default()
    };
    Wish { request, group: args.group, how: args.how }
}

/// Runs one of the three.
pub(crate) async fn run(
    wish: Wish,
    open: impl FnOnce() -> Result<Client, Failure>,
    out: Out,
) -> Result<End, Failure> {
    let consent = if wish.how.dry_run { Consent::Given } else { confirm::consent(wish.how.yes)? };
    let mut client = open()?;
    let mut request = wish.request;
    request.group = group::choose(&mut client, wish.group).await?;
    if wish.how.dry_run {
        return dry_run(&mut client, &request, out).await;
    }
    if consent == Consent::Ask {
        let would =
            start(&mut client, &StartPlanRequest { dry_run: true, ..request.clone() }).await?;
        out.talk(&render::plan::dry_run(&would, out.into()));
        if !would.refusals.is_empty() {
            return Err(refused(&request, &[]));
        }
        if !confirm::ask(question(&request, &would)).await? {
            return Err(Failure::failed("not confirmed; nothing was started"));
        }
    }
    request.request_id = request_id();
    let reply = start(&mut client, &request).await?;
    match started(&reply) {
        Some(plan) => follow::follow(&mut client, out, plan).await,
        None if reply.approval > 0 => asked_for(&request, &reply, out),
        None => not_started(&request, &reply, out),
    }
}

fn started(reply: &StartPlanReply) -> Option<u64> {
    let plan = reply.plan.as_ref().filter(|plan| reply.refusals.is_empty() && plan.id > 0);
    plan.map(|plan| plan.id)
}

/// Nothing moves before a second operator has agreed: held for a human.
fn asked_for(request: &StartPlanRequest, reply: &StartPlanReply, out: Out) -> Result<End, Failure> {
    let number = reply.approval;
    out.either(reply, |_| {
        format!(
            "the {} of {} needs a second operator, within ten minutes; nothing was started\n\
             another operator runs: coordctl approve {number}",
            request.kind, request.group
        )
    })?;
    Ok(End::As(Exit::Held))
}

/// `approve`: a second operator's consent, and then the plan that comes of it.
pub(crate) async fn approve(
    args: Approve,
    open: impl FnOnce() -> Result<Client, Failure>,
    out: Out,
) -> Result<End, Failure> {
    let consent = confirm::consent(args.yes)?;
    let mut client = open()?;
    let number = args.approval;
    if consent == Consent::Ask {
        let status = client.status(StatusRequest::default()).await?;
        let Some(waiting) = status.approvals.iter().find(|approval| approval.id == number) else {
            return Err(Failure::failed(format!("no request {number} waits for an approval"))
                .hint("`coordctl status` shows those that do"));
        };
        out.talk(&render::status::approval(waiting));
        if !confirm::ask(format!("Approve the {} of {} now?", waiting.kind, waiting.group)).await? {
            return Err(Failure::failed("not confirmed; nothing was started"));
        }
    }
    let request = ApproveRequest { approval: number };
    // Approved twice is refused the second time, and the plan goes on.
    let reply = client
        .call(request, Repeat::Never, async |api, request| api.approve(request).await)
        .await?;
    if let Some(plan) = started(&reply) {
        return follow::follow(&mut client, out, plan).await;
    }
    if out.json {
        out.document(&reply)?;
    }
    let mut message = format!("request {number} was not carried out; nothing was started");
    for refusal in &reply.refusals {
        message.push_str("\n  ");
        message.push_str(refusal);
    }
    Err(Failure::refused(message))
}

async fn start(client: &mut Client, request: &StartPlanRequest) -> Result<StartPlanReply, Failure> {
    // The request id makes it safe; a dry run changes nothing.
    client
        .call(request.clone(), Repeat::Safe, async |api, request| api.start_plan(request).await)
        .await
}

async fn dry_run(
    client: &mut Client,
    request: &StartPlanRequest,
    out: Out,
) -> Result<End, Failure> {
    let request = StartPlanRequest { dry_run: true, ..request.clone() };
    let reply = start(client, &request).await?;
    out.either(&reply, |reply| render::plan::dry_run(reply, out.into()))?;
    if reply.refusals.is_empty() {
        return Ok(End::DONE);
    }
    out.talk(&format!("hint: `coordctl doctor {}` says what to do", request.group));
    Ok(End::As(Exit::Refused))
}

fn not_started(
    request: &StartPlanRequest,
    reply: &StartPlanReply,
    out: Out,
) -> Result<End, Failure> {
    if out.json {
        out.document(reply)?;
    }
    if reply.refusals.is_empty() {
        return Err(Failure::failed("the leader answered without a plan; nothing was started")
            .hint("compare `coordctl --version` with the coordinators'"));
    }
    Err(refused(request, &reply.refusals))
}

fn refused(request: &StartPlanRequest, refusals: &[String]) -> Failure {
    let mut message =
        format!("the {} of {} is refused; nothing was started", request.kind, request.group);
    for refusal in refusals {
        message.push_str("\n  ");
        message.push_str(refusal);
    }
    Failure::refused(message).hint(format!("`coordctl doctor {}` says what to do", request.group))
}

fn question(request: &StartPlanRequest, would: &StartPlanReply) -> String {
    let to = would.plan.as_ref().map_or(request.to.as_str(), |plan| plan.to.as_str());
    format!("Start the {} of {} to {to} now?", request.kind, request.group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1::Plan;

    #[test]
    fn the_question_names_the_site_that_the_plan_names() {
        let request =
            StartPlanRequest { kind: "failback".into(), group: "fx".into(), ..Default::default() };
        let would = StartPlanReply {
            plan: Some(Plan { to: "primary".into(), ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(question(&request, &would), "Start the failback of fx to primary now?");
    }

    #[test]
    fn a_refusal_lists_its_rules() {
        let request =
            StartPlanRequest { kind: "failover".into(), group: "fx".into(), ..Default::default() };
        let failure = refused(&request, &["C3: proof level 2 is needed".into()]);
        assert_eq!(failure.end.code(), 3);
        assert_eq!(
            failure.message,
            "the failover of fx is refused; nothing was started\n  C3: proof level 2 is needed"
        );
    }
}
