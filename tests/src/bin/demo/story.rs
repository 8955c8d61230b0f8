//! The story: everything up, ticks from the primary, its death, the standby's part.
//!
//! Nothing here decides anything: it looks at what the coordinators say and at
//! what a subscriber gets.

use crate::{outcome::Outcome, stage::Stage};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, path::PathBuf, time::Duration};
use tests::{
    cluster::Cluster,
    config::{self, GROUP, Options, PRIMARY, STANDBY},
    containers::{self, Containers},
    journal,
    programs::Programs,
    ticks::Subscriber,
    view, wait,
};

/// How long the failover may take: the lease is one second, and the RTO a few.
const FAILOVER_PATIENCE: Duration = Duration::from_secs(20);
/// How long each other thing may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Ticks to be seen on a site before we believe it: half a second's worth.
const ENOUGH_TICKS: usize = 10;

/// Plays it, filling in `outcome` as far as it gets.
pub(crate) fn play(stage: &Stage, docker: bool, keep: bool, outcome: &mut Outcome) -> Result<()> {
    let mut options = Options { keep, ..Options::default() };
    if docker {
        containers::available().context("`--docker` cannot run")?;
        options.containers = Some(Containers::names());
    }
    let mut cluster = Cluster::prepare(options)?;
    let mut containers = if docker {
        stage.say("making an image of the tick publisher and its libraries");
        let publisher = Programs::find()?.path("tick-publisher");
        let (folder, ports) = (cluster.folder(), cluster.publishers);
        Some(Containers::create(folder, &publisher, ports, cluster.options())?)
    } else {
        None
    };
    outcome.group = Some(GROUP.into());
    let played = acts(stage, &mut cluster, outcome);
    if let Err(error) = &played {
        stage.say(&format!("FAILED: {error:#}"));
        cluster.tell();
    }
    if keep {
        if let Some(containers) = &mut containers {
            containers.keep();
        }
        tell_how_to_look(stage, cluster, outcome);
    }
    played
}

/// All of it, with what can be counted also after a failure.
fn acts(stage: &Stage, cluster: &mut Cluster, outcome: &mut Outcome) -> Result<()> {
    raise(stage, cluster)?;
    let standby = Subscriber::connect(cluster.publishers[1])?;
    first_act(stage, cluster)?;
    let killed_at = strike(stage, cluster)?;
    let played = second_act(stage, cluster, &standby, killed_at, outcome);
    let gathered = gather(cluster, &standby, killed_at, outcome);
    played.and(gathered)?;
    judge(outcome)
}

/// All five nodes, and the group active on its primary.
fn raise(stage: &Stage, cluster: &mut Cluster) -> Result<()> {
    stage.say("founding: coordctl init, and the first coordinator (c1)");
    cluster.found()?;
    stage.say("joining by token: the second coordinator (c2) and the witness (w1)");
    cluster.join_coordinators()?;
    stage.say("joining by token: the agents of the primary (p1) and the standby (s1)");
    cluster.join_agents()?;
    stage.say("coordctl apply -f groups");
    cluster.apply()?;
    cluster.served_by(PRIMARY, PATIENCE)
}

/// The primary serves.
fn first_act(stage: &Stage, cluster: &Cluster) -> Result<()> {
    let primary = Subscriber::connect(cluster.publishers[0])?;
    let ticks = wait::until("ticks from the primary", PATIENCE, || {
        let ticks = primary.since(0);
        ensure!(ticks.len() >= ENOUGH_TICKS, "{} ticks", ticks.len());
        Ok(ticks)
    })?;
    for tick in ticks.iter().rev().take(3).rev() {
        stage.say(&format!("primary   {} {}", tick.topic, tick.payload));
    }
    stage.say(&cluster.ctl.ok(&["status"])?);
    Ok(())
}

/// The primary dies: its agent and its service, without a word.
fn strike(stage: &Stage, cluster: &mut Cluster) -> Result<u64> {
    stage.say("kill -9 of the primary's agent and of its trading service");
    let containers = cluster.options().containers.clone();
    let killed_at = journal::boot_ms()?;
    cluster.node_mut("p1")?.power_off()?;
    if let Some([primary, _]) = containers {
        containers::kill(&primary)?;
    }
    Ok(killed_at)
}

/// What the coordinators do about it, told as it happens.
fn second_act(
    stage: &Stage,
    cluster: &mut Cluster,
    standby: &Subscriber,
    killed_at: u64,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut told = Vec::new();
    let mut seen_tick = false;
    let plan = wait::until("the failover to be completed", FAILOVER_PATIENCE, || {
        if let Some(tick) = standby.since(killed_at).first()
            && !seen_tick
        {
            seen_tick = true;
            let after = tick.at_boot_ms.saturating_sub(killed_at);
            stage.say(&format!("standby   {} {}  ({after} ms after)", tick.topic, tick.payload));
        }
        let plan = failover_plan(cluster)?;
        tell_steps(stage, &plan, &mut told);
        outcome.plan = Some(plan.clone());
        ensure!(plan["state"] == "completed", "the plan is {}: {}", plan["state"], plan["reason"]);
        Ok(plan)
    })?;
    wait::until("fresh ticks from the standby", PATIENCE, || {
        let got = standby.since(killed_at).len();
        ensure!(got >= ENOUGH_TICKS, "{got} ticks");
        Ok(())
    })?;
    let call = cluster.hook.called_for(STANDBY, PATIENCE)?;
    config::same_on_both_ways(&call)?;
    stage.say(&format!("DNS hook  {}", call["input"]));
    let incident = view::number(&plan, "incident")?;
    wait::until("the incident to be closed and its notifications accepted", PATIENCE, || {
        let shown = cluster.ctl.json(&["incident", "show", &incident.to_string()])?;
        ensure!(shown["state"] == "closed", "the incident is {}", shown["state"]);
        let status = cluster.status()?;
        ensure!(status["outbox_waiting"] == 0, "{} wait", status["outbox_waiting"]);
        Ok(())
    })?;
    for notification in cluster.webhook.accepted()? {
        stage.say(&format!("webhook   {notification}"));
    }
    outcome.report = Some(keep_report(cluster, incident)?);
    stage.say(&cluster.ctl.ok(&["status"])?);
    Ok(())
}

/// The newest plan, when it is the failover that we wait for.
fn failover_plan(cluster: &Cluster) -> Result<Value> {
    let plans = cluster.ctl.json(&["plan", "list"])?;
    let plan = view::newest(&plans).context("no plan yet")?;
    ensure!(plan["kind"] == "failover", "the newest plan is a {}", plan["kind"]);
    let number = view::number(plan, "id")?.to_string();
    cluster.ctl.json(&["plan", "show", &number])
}

/// Says each step once when it begins and once when it ends.
fn tell_steps(stage: &Stage, plan: &Value, told: &mut Vec<String>) {
    for step in view::rows(plan, "steps") {
        let of = |field: &str| step[field].as_str().unwrap_or_default();
        if of("state") == "waiting" {
            continue;
        }
        let line =
            format!("step {}  {}: {}  {}", step["number"], of("what"), of("state"), of("detail"));
        let line = line.trim_end().to_owned();
        if !told.contains(&line) {
            stage.say(&line);
            told.push(line);
        }
    }
}

/// Stores the incident's report beside the built programs, where it outlives the demo.
fn keep_report(cluster: &Cluster, incident: u64) -> Result<PathBuf> {
    let folder = Programs::find()?.folder().join("demo");
    fs::create_dir_all(&folder)?;
    let path = folder.join("incident-report.md");
    let text = cluster.ctl.ok(&["incident", "report", &incident.to_string()])?;
    fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
    Ok(path)
}

/// What can be counted, also after a failure.
fn gather(
    cluster: &Cluster,
    standby: &Subscriber,
    killed_at: u64,
    outcome: &mut Outcome,
) -> Result<()> {
    let ticks = standby.since(killed_at);
    outcome.ticks_on_standby = ticks.len();
    outcome.blackout_ms = ticks.first().map(|tick| tick.at_boot_ms.saturating_sub(killed_at));
    outcome.dns_hook_calls =
        cluster.hook.calls()?.iter().filter(|call| call["to"] == STANDBY).count();
    outcome.notifications_accepted = cluster.webhook.accepted()?.len();
    outcome.dual_active_ms = Some(cluster.dual_active_ms()?);
    Ok(())
}

/// Whether it went as it must.
fn judge(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.ticks_on_standby >= ENOUGH_TICKS, "the standby served no fresh ticks");
    ensure!(outcome.dns_hook_calls >= 1, "the DNS hook was not called");
    ensure!(outcome.notifications_accepted >= 1, "no notification was accepted");
    ensure!(outcome.dual_active_ms == Some(0), "both sites were sending at once");
    Ok(())
}

fn tell_how_to_look(stage: &Stage, cluster: Cluster, outcome: &Outcome) {
    let incident = outcome.plan.as_ref().map_or(1, |plan| plan["incident"].as_u64().unwrap_or(1));
    let context = cluster.ctl.context.display().to_string();
    let program = std::env::current_exe().unwrap_or_default();
    let coordctl = program.with_file_name("coordctl");
    let folder = cluster.keep();
    stage.say(&format!(
        "left running; look with\n  {coordctl} --context {context} status\n  \
         {coordctl} --context {context} incident list\n  \
         {coordctl} --context {context} incident report {incident}\n\
         logs and files are in {folder}; stop it with\n  {program} --stop {folder}",
        coordctl = coordctl.display(),
        program = program.display(),
        folder = folder.display(),
    ));
}
