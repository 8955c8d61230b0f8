//! Whole scenarios: the real programs of all five nodes on loopback, faults as
//! they happen, and what an operator and a client then see.
//!
//! Each test has a cluster of its own; a failed one leaves its folder behind
//! and prints the end of every node's log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "all of this is test code"
)]

mod demo;
mod emergency;
mod evidence;
mod fence;
mod leader;
mod loss;
mod operator;
mod quorum;
mod restart;
mod second;
mod tasks;
mod voters;
mod wrong;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use tests::{
    cluster::Cluster,
    config::{self, Options, STANDBY},
    view, wait,
};

/// How long a failover with a lease of one second may take on two busy cores:
/// the dwell of 1 s, proof 1.1 s, start, hook and verify under 2 s
/// each where a scenario stretches them, and an election or two.
pub(crate) const FAILOVER: Duration = Duration::from_secs(20);
/// How long other things may take.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Raises a cluster, plays `body`, and tells everything when it fails.
pub(crate) fn play(options: Options, body: impl FnOnce(&mut Cluster) -> Result<()>) {
    let mut cluster = Cluster::prepare(options).unwrap();
    let played = cluster.raise().and_then(|()| body(&mut cluster));
    if let Err(why) = played {
        cluster.tell();
        panic!("{why:#}");
    }
}

/// The newest plan once it is completed, of this kind.
pub(crate) fn completed(cluster: &Cluster, kind: &str) -> Result<Value> {
    wait::until(&format!("the {kind} to be completed"), FAILOVER, || {
        let plans = cluster.ctl.json(&["plan", "list"])?;
        let plan = view::newest(&plans).context("no plan")?;
        ensure!(plan["kind"] == kind, "the newest plan is a {}", plan["kind"]);
        ensure!(plan["state"] == "completed", "it is {}: {}", plan["state"], plan["reason"]);
        Ok(plan.clone())
    })
}

/// How many plans of this kind there have been.
pub(crate) fn count(cluster: &Cluster, kind: &str) -> Result<usize> {
    let plans = cluster.ctl.json(&["plan", "list"])?;
    Ok(view::rows(&plans, "plans").iter().filter(|plan| plan["kind"] == kind).count())
}

/// The incident once it is closed, and every notification accepted.
pub(crate) fn closed(cluster: &Cluster, incident: u64) -> Result<Value> {
    wait::until("the incident to be closed and told", SOON, || {
        let shown = cluster.ctl.json(&["incident", "show", &incident.to_string()])?;
        ensure!(shown["state"] == "closed", "it is {}", shown["state"]);
        let waiting = view::number(&cluster.status()?, "outbox_waiting")?;
        ensure!(waiting == 0, "{waiting} notifications wait");
        Ok(shown)
    })
}

/// What must be true after every failover, whatever happened on the way: one
/// epoch further, a proof, no effect doubled, never two sites at once.
///
/// The DNS hook must be repeatable, because a leader can die between its end
/// and the record of it: each of `leaders_lost` may cost one more call, by the
/// next leader; none calls twice.
pub(crate) fn done_once(cluster: &Cluster, plan: &Value, leaders_lost: usize) -> Result<()> {
    let before = view::number(plan, "epoch_before")?;
    ensure!(view::number(plan, "epoch_after")? == before + 1, "{plan}");
    ensure!(view::number(plan, "proof_level")? >= 1, "no proof: {plan}");
    ensure!(cluster.dual_active_ms()? == 0, "both sites were sending at once");

    let calls: Vec<Value> =
        cluster.hook.calls()?.into_iter().filter(|call| call["to"] == STANDBY).collect();
    ensure!((1..=1 + leaders_lost).contains(&calls.len()), "DNS hook calls: {calls:?}");
    for call in &calls {
        config::same_on_both_ways(call)?;
    }
    let callers: BTreeSet<&str> = calls.iter().filter_map(|call| call["by"].as_str()).collect();
    ensure!(callers.len() == calls.len(), "one coordinator called twice: {calls:?}");

    let starts = cluster.journal("s1")?.starts.len();
    ensure!(starts == 1, "the standby's service was started {starts} times");
    told_once(cluster)
}

/// Every notification reached the webhook. A leader that died between the
/// receiver's answer and the record of it leaves one repetition, to be dropped
/// by its delivery id: then both must be the same to the byte.
pub(crate) fn told_once(cluster: &Cluster) -> Result<()> {
    let offered = cluster.webhook.offered()?;
    let accepted = cluster.webhook.accepted()?;
    ensure!(!accepted.is_empty(), "no notification came");
    for body in &accepted {
        view::text(body, "delivery")?;
        let same: Vec<&Value> =
            offered.iter().filter(|other| other["delivery"] == body["delivery"]).collect();
        ensure!(same.len() <= 2, "it came {} times: {body}", same.len());
        ensure!(same.iter().all(|other| *other == body), "it changed: {same:?}");
    }
    let told: BTreeSet<u64> =
        accepted.iter().filter_map(|body| body["notification"].as_u64()).collect();
    ensure!(told.len() == accepted.len(), "one notification under two deliveries: {accepted:?}");
    let outbox = cluster.ctl.json(&["notify", "outbox"])?;
    for notification in view::rows(&outbox, "notifications") {
        let id = view::number(notification, "id")?;
        ensure!(told.contains(&id), "notification {id} was lost: {notification}");
    }
    Ok(())
}
