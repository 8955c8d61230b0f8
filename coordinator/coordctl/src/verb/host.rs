//! `isolate`, `isolate confirm`, `release`: ordered through the journal, carried
//! out by the host's agent, and waited for.

use crate::{
    cli::{Isolate, IsolateVerb, Profile, Release},
    client::{Client, Repeat},
    end::{End, Failure},
    out::Out,
};
use proto::v1::{HostOrderOutcome, OrderHostRequest, StatusRequest};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long the agent is waited for: `nft` and names take it seconds.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);

/// What `--json` prints.
#[derive(Serialize)]
struct Ordered<'a> {
    host: &'a str,
    order: u64,
    done: bool,
    detail: &'a str,
}

pub(crate) async fn isolate(args: Isolate, client: &mut Client, out: Out) -> Result<End, Failure> {
    if let Some(IsolateVerb::Confirm { host }) = args.verb {
        let deed = "confirm".into();
        return order(OrderHostRequest { host, deed, ..Default::default() }, client, out).await;
    }
    let profile = match args.profile {
        Profile::Breach => "breach",
        Profile::EgressBlock => "egress-block",
    };
    let span = args.span.map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let request = OrderHostRequest {
        host: args.host.unwrap_or_default(),
        deed: "isolate".into(),
        profile: profile.into(),
        for_ms: span,
        reason: args.reason,
        force: args.force,
    };
    let host = request.host.clone();
    let end = order(request, client, out).await?;
    out.talk(&format!(
        "next: coordctl isolate confirm {host}; without that it reverts by itself. A group that \
         is active there under `breach` gives up its lease: coordctl status"
    ));
    Ok(end)
}

pub(crate) async fn release(args: Release, client: &mut Client, out: Out) -> Result<End, Failure> {
    let (host, deed, reason) = (args.host, "release".into(), args.reason);
    order(OrderHostRequest { host, deed, reason, ..Default::default() }, client, out).await
}

/// Orders, and waits until the agent says what came of it.
async fn order(request: OrderHostRequest, client: &mut Client, out: Out) -> Result<End, Failure> {
    let host = request.host.clone();
    // The newest order counts, and each has the same effect twice.
    let reply = client
        .call(request, Repeat::Safe, async |api, request| api.order_host(request).await)
        .await?;
    let outcome = outcome(client, &host, reply.order).await?;
    let HostOrderOutcome { order, done, detail } = &outcome;
    if !done {
        return Err(Failure::refused(format!("{host}: {detail}")));
    }
    let ordered = Ordered { host: &host, order: *order, done: *done, detail };
    out.either(&ordered, |ordered| format!("{}: {}", ordered.host, ordered.detail))?;
    Ok(End::DONE)
}

async fn outcome(client: &mut Client, host: &str, order: u64) -> Result<HostOrderOutcome, Failure> {
    let until = Instant::now() + LIMIT;
    loop {
        let status = client.status(StatusRequest::default()).await?;
        let seen = status.hosts.iter().find(|known| known.name == host);
        if let Some(outcome) = seen.and_then(|seen| seen.order.clone())
            && outcome.order == order
        {
            return Ok(outcome);
        }
        if Instant::now() >= until {
            let state = seen.map_or("never heard", |seen| &seen.state);
            return Err(Failure::unreachable(format!(
                "order {order} is recorded, and {host} ({state}) has not said what came of it; \
                 it is carried out as soon as its agent hears of it"
            ))
            .hint(format!("on {host} itself, without coordinators: understudy-agent isolate")));
        }
        tokio::time::sleep(EVERY).await;
    }
}
