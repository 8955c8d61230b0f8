//! What concerns one group at a time: `hold`, `resume`, `doctor`, `timing`.

use crate::{
    cli::{Hold, OneGroup, Resume},
    client::{Client, Repeat},
    end::{End, Failure},
    group,
    out::Out,
    render,
};
use daemon::exit::Exit;
use proto::v1::{DoctorRequest, HoldRequest, ResumeRequest, TimingRequest};
use serde::Serialize;

/// What `hold --json` and `resume --json` print.
#[derive(Serialize)]
struct Held<'a> {
    groups: &'a [String],
    held: bool,
}

async fn meant(
    client: &mut Client,
    named: Option<String>,
    all: bool,
) -> Result<Vec<String>, Failure> {
    if all {
        return group::all(client).await;
    }
    Ok(vec![group::choose(client, named).await?])
}

pub(crate) async fn hold(args: Hold, client: &mut Client, out: Out) -> Result<End, Failure> {
    let groups = meant(client, args.group, args.all).await?;
    // One call for all of them: in a hurry, no group is forgotten half way.
    let group = if args.all { String::new() } else { groups.join("") };
    let request = HoldRequest { group, reason: args.reason };
    client.call(request, Repeat::Safe, async |api, request| api.hold(request).await).await?;
    let all = args.all;
    out.either(&Held { groups: &groups, held: true }, |held| {
        lines(held.groups, |group| {
            let whom = if all { "--all" } else { group };
            format!("{group} is held: no automatic failover until `coordctl resume {whom}`")
        })
    })?;
    Ok(End::DONE)
}

pub(crate) async fn resume(args: Resume, client: &mut Client, out: Out) -> Result<End, Failure> {
    let groups = meant(client, args.group, args.all).await?;
    // One call for all of them: what `hold --all` stopped is not any one group's.
    let group = if args.all { String::new() } else { groups.join("") };
    let request = ResumeRequest { group };
    client.call(request, Repeat::Safe, async |api, request| api.resume(request).await).await?;
    out.either(&Held { groups: &groups, held: false }, |held| {
        lines(held.groups, |group| {
            format!("{group} is resumed: automatic failover is allowed by its policy again")
        })
    })?;
    Ok(End::DONE)
}

fn lines(groups: &[String], line: impl Fn(&String) -> String) -> String {
    if groups.is_empty() {
        return "there is no group yet".into();
    }
    groups.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(crate) async fn doctor(args: OneGroup, client: &mut Client, out: Out) -> Result<End, Failure> {
    let group = group::choose(client, args.group).await?;
    let request = DoctorRequest { group: group.clone() };
    let reply =
        client.call(request, Repeat::Safe, async |api, request| api.doctor(request).await).await?;
    out.either(&reply, |reply| render::list::checks(&group, reply, out.into()))?;
    Ok(if reply.ready { End::DONE } else { End::As(Exit::Failed) })
}

pub(crate) async fn timing(args: OneGroup, client: &mut Client, out: Out) -> Result<End, Failure> {
    let group = group::choose(client, args.group).await?;
    let reply = client
        .call(TimingRequest { group }, Repeat::Safe, async |api, request| api.timing(request).await)
        .await?;
    out.either(&reply, |reply| render::list::timing(reply, out.into()))?;
    Ok(End::DONE)
}
