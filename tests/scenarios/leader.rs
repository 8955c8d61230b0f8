//! The leader dies in each phase of a failover: the next one finishes the plan
//! from the record (C7), and no step's effect is doubled.

use crate::{FAILOVER, closed, completed, count, done_once, play};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use tests::{
    cluster::Cluster,
    config::{GROUP, Options, STANDBY},
    view, wait,
};

/// How long the failover may take to reach a phase.
const REACHED: Duration = Duration::from_secs(15);

/// Long enough to be hit by several looks at the plan.
const LONG: Duration = Duration::from_secs(2);

/// The lease outlives an election on two busy cores in a debug build (0.8 s
/// were seen): a service that stopped and was started again because its lease
/// ran out (A3) would not be a doubled step.
fn by_hand() -> Options {
    Options { lease: "3s", automatic: false, ..Options::default() }
}

#[test]
fn c7_the_leader_dies_while_the_old_site_is_fenced() {
    play(by_hand(), |cluster| {
        cluster.node_mut("p1")?.power_off()?;
        let operator = cluster.ctl.begin(&["failover", GROUP, "--to", STANDBY, "--yes"])?;
        kill_leader_in(cluster, &["fence"])?;
        finished(cluster)?;
        followed(operator.finish()?.code)
    });
}

#[test]
fn c7_the_leader_dies_while_the_new_site_is_activated() {
    play(by_hand(), |cluster| {
        cluster.node_mut("p1")?.power_off()?;
        let operator = cluster.ctl.begin(&["failover", GROUP, "--to", STANDBY, "--yes"])?;
        until_step(cluster, &["fence"])?;
        // It cannot take its lease until it is thawed, so the phase lasts.
        cluster.node("s1")?.freeze()?;
        let killed = kill_leader_in(cluster, &["activate", "promote", "start"]);
        cluster.node("s1")?.thaw()?;
        killed?;
        finished(cluster)?;
        followed(operator.finish()?.code)
    });
}

#[test]
fn c7_the_leader_dies_while_the_dns_hook_runs() {
    play(Options { hook_takes: LONG, ..by_hand() }, |cluster| {
        cluster.node_mut("p1")?.power_off()?;
        let operator = cluster.ctl.begin(&["failover", GROUP, "--to", STANDBY, "--yes"])?;
        kill_leader_in(cluster, &["redirect"])?;
        finished(cluster)?;
        followed(operator.finish()?.code)
    });
}

#[test]
fn c7_the_leader_dies_while_the_new_site_is_verified() {
    play(Options { first_tick_after: LONG, ..by_hand() }, |cluster| {
        cluster.node_mut("p1")?.power_off()?;
        let operator = cluster.ctl.begin(&["failover", GROUP, "--to", STANDBY, "--yes"])?;
        kill_leader_in(cluster, &["verify"])?;
        finished(cluster)?;
        followed(operator.finish()?.code)
    });
}

/// Waits until the plan's step under way is one of these kinds.
fn until_step(cluster: &Cluster, kinds: &[&str]) -> Result<()> {
    wait::until(&format!("a step {kinds:?}"), REACHED, || {
        let plans = cluster.ctl.json(&["plan", "list"])?;
        let plan = view::newest(&plans).context("no plan")?;
        ensure!(plan["kind"] == "failover", "the newest plan is a {}", plan["kind"]);
        let step = view::current_step(plan).context("every step has ended")?;
        let kind = view::text(step, "kind")?;
        ensure!(step["state"] == "running" && kinds.contains(&kind), "the step is {step}");
        Ok(())
    })
}

fn kill_leader_in(cluster: &mut Cluster, kinds: &[&str]) -> Result<()> {
    let leader = cluster.leader(REACHED)?;
    until_step(cluster, kinds)?;
    cluster.node_mut(&leader)?.kill9()
}

/// The next leader has finished the one plan, and everything was done once.
fn finished(cluster: &mut Cluster) -> Result<()> {
    cluster.served_by(STANDBY, FAILOVER)?;
    let plan = completed(cluster, "failover")?;
    ensure!(count(cluster, "failover")? == 1, "there is a second plan");
    closed(cluster, view::number(&plan, "incident")?)?;
    done_once(cluster, &plan, 1)
}

/// The operator's call has followed the plan from one leader to the next.
fn followed(code: i32) -> Result<()> {
    ensure!(code == 0, "the operator's call ended with {code}");
    Ok(())
}
