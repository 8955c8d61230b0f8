//! Emergency stops through the coordinators: hosts that are off, leaders that die,
//! and a plan under way.

use crate::{FAILOVER, SOON, count, play};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use tests::{
    cluster::Cluster,
    config::{GROUP, Options, PRIMARY, STANDBY},
    journal, view, wait,
};

/// Exit codes of what nobody heard yet, and of what ended held.
const UNREACHABLE: i32 = 4;
const HELD: i32 = 5;
/// Longer than dwell, suspicion and two leases of one second.
const LONG: Duration = Duration::from_secs(5);

/// Nothing is sent from either site, and nothing moves.
fn quiet(cluster: &Cluster) -> Result<()> {
    let since = journal::boot_ms()?;
    let moved = count(cluster, "failover")?;
    wait::throughout("nothing to be sent", LONG, || {
        for host in ["p1", "s1"] {
            let sent = cluster.journal(host)?.ticks_since(since);
            ensure!(sent == 0, "{sent} ticks from {host}");
        }
        ensure!(count(cluster, "failover")? == moved, "a stopped group was moved");
        Ok(())
    })
}

fn stopped(cluster: &mut Cluster, host: &str) -> Result<()> {
    cluster.status_where(&format!("{host} to be stopped"), SOON, |status| {
        let part = view::named(status, "hosts", host)?;
        let part = view::rows(part, "groups").first().context("no group")?;
        ensure!(part["stopped"] == true, "{part}");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn an_emergency_stop_lasts_over_hosts_and_leaders_until_it_is_released() {
    play(Options::default(), |cluster| {
        cluster.node_mut("s1")?.power_off()?;
        let words = ["emergency-stop", GROUP, "--reason", "wrong orders", "--yes"];
        let answer = cluster.ctl.run(&words)?;
        ensure!(answer.code == UNREACHABLE, "{answer:?}");
        ensure!(answer.stdout.contains("fx on p1: stopped"), "{answer:?}");
        ensure!(answer.stdout.contains("fx on s1: recorded"), "{answer:?}");
        quiet(cluster)?;
        let told = cluster.ctl.ok(&["status"])?;
        ensure!(told.contains("EMERGENCY STOP: fx on p1, s1, by"), "{told}");
        ensure!(told.contains("wrong orders"), "{told}");
        let doctor = cluster.ctl.run(&["doctor", GROUP])?;
        ensure!(doctor.code == 1, "{doctor:?}");
        ensure!(doctor.stdout.contains("emergency-stop --release fx"), "{doctor:?}");

        // Who was off carries it out when it comes back, and p1 may die of it.
        cluster.node_mut("s1")?.start()?;
        stopped(cluster, "s1")?;
        let leader = view::text(&cluster.status()?, "leader")?.to_owned();
        cluster.node_mut(&leader)?.power_off()?;
        cluster.node_mut("p1")?.power_off()?;
        cluster.status_where("p1 to be missed by the next leader", FAILOVER, |status| {
            let host = view::named(status, "hosts", "p1")?;
            ensure!(host["state"] == "lost", "p1 is {}", host["state"]);
            Ok(())
        })?;
        quiet(cluster)?;
        cluster.node_mut("p1")?.start()?;
        stopped(cluster, "p1")?;

        cluster.ctl.ok(&["emergency-stop", GROUP, "--release", "--yes"])?;
        cluster.served_by(PRIMARY, FAILOVER)?;
        ensure!(count(cluster, "failover")? == 0, "a stopped group was moved");
        let told = cluster.ctl.json(&["notify", "outbox"])?;
        let titles: Vec<&str> = view::rows(&told, "notifications")
            .iter()
            .filter_map(|notification| notification["title"].as_str())
            .collect();
        ensure!(titles.contains(&"fx: emergency stop on p1, s1"), "{titles:?}");
        Ok(())
    });
}

#[test]
fn a_plan_towards_a_site_that_is_stopped_ends_held() {
    let options =
        Options { automatic: false, hook_takes: Duration::from_secs(6), ..Options::default() };
    play(options, |cluster| {
        let moving = cluster.ctl.begin(&["switchover", GROUP, "--to", STANDBY, "--yes"])?;
        wait::until("the plan to call the DNS hook", FAILOVER, || {
            let plans = cluster.ctl.json(&["plan", "list"])?;
            let plan = view::newest(&plans).context("no plan")?;
            let step = view::current_step(plan).context("no step")?;
            ensure!(plan["kind"] == "switchover" && step["kind"] == "redirect", "{step}");
            Ok(())
        })?;
        let words =
            ["emergency-stop", GROUP, "--site", STANDBY, "--reason", "wrong orders", "--yes"];
        let told = cluster.ctl.json(&words)?;
        let plan = view::text(&told["groups"][0], "plan")?;
        ensure!(plan.contains("ends held"), "{told}");
        ensure!(told["groups"][0]["hosts"][0]["state"] == "done", "{told}");
        let ended = moving.finish()?;
        ensure!(ended.code == HELD, "{ended:?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        ensure!(said.contains("emergency stop"), "{said}");
        Ok(())
    });
}
