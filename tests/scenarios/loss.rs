//! The main job: the primary is lost, the standby goes on.

use crate::{FAILOVER, SOON, closed, completed, done_once, play};
use anyhow::ensure;
use nix::sys::signal::Signal;
use std::time::Duration;
use tests::{
    config::{GROUP, Options, PRIMARY, STANDBY},
    journal, process, view, wait,
};

/// The phases of an RTO, in their order.
const PHASES: [&str; 6] = ["detect", "decide", "fence", "activate", "redirect", "verify"];

#[test]
fn a_dead_primary_is_followed_by_the_standby() {
    play(Options::default(), |cluster| {
        cluster.node_mut("p1")?.power_off()?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "failover")?;
        ensure!(plan["from"] == PRIMARY && plan["to"] == STANDBY, "{plan}");
        ensure!(plan["by"] == "automatic", "{plan}");
        let incident = view::number(&plan, "incident")?;
        let shown = closed(cluster, incident)?;
        ensure!(view::rows(&shown, "timeline").len() >= 3, "a thin timeline: {shown}");
        done_once(cluster, &plan, 0)?;

        let rto = view::number(&plan, "rto_ms")?;
        let mut sum = 0;
        for phase in PHASES {
            sum += view::number(&plan["phases_ms"], phase)?;
        }
        ensure!(rto > 0 && sum <= rto, "phases of {sum} ms in an RTO of {rto} ms: {plan}");
        let number = incident.to_string();
        let report = cluster.ctl.ok(&["incident", "report", &number])?;
        for word in PHASES.into_iter().chain(["RTO", GROUP, STANDBY]) {
            ensure!(report.contains(word), "the report does not say {word}:\n{report}");
        }
        cluster.ctl.json(&["incident", "report", &number])?;
        Ok(())
    });
}

#[test]
fn a_returning_primary_stays_off_stage_until_it_is_asked_back() {
    play(Options::default(), |cluster| {
        cluster.node_mut("p1")?.power_off()?;
        cluster.served_by(STANDBY, FAILOVER)?;
        completed(cluster, "failover")?;
        cluster.node_mut("p1")?.start()?;
        cluster.status_where("p1 to be heard again", SOON, |status| {
            let host = view::named(status, "hosts", "p1")?;
            ensure!(host["state"] == "alive", "p1 is {}", host["state"]);
            Ok(())
        })?;
        let since = journal::boot_ms()?;
        wait::throughout("the primary's silence", Duration::from_secs(2), || {
            let sent = cluster.journal("p1")?.ticks_since(since);
            ensure!(sent == 0, "the primary sent {sent} ticks beside the standby");
            Ok(())
        })?;
        let since = journal::boot_ms()?;
        cluster.ctl.ok(&["failback", GROUP, "--yes"])?;
        cluster.served_by(PRIMARY, FAILOVER)?;
        ensure!(cluster.journal("p1")?.ticks_since(since) > 0, "no ticks");
        ensure!(cluster.dual_active_ms()? == 0, "both sites were sending at once");
        Ok(())
    });
}

/// A3: when only the agent dies, its services are left behind alive; they must
/// stop by themselves before the standby starts.
#[test]
fn a3_services_of_a_dead_agent_stop_before_the_standby_starts() {
    play(Options::default(), |cluster| {
        cluster.node_mut("p1")?.kill9()?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "failover")?;
        ensure!(cluster.dual_active_ms()? == 0, "both sites were sending at once");
        done_once(cluster, &plan, 0)
    });
}

#[test]
fn a_dead_service_moves_the_group_with_an_acknowledged_fence() {
    play(Options::default(), |cluster| {
        let agent = cluster.node("p1")?.pid();
        let started = cluster.node("p1")?.ticks().display().to_string();
        let service = process::with_argument(&started);
        ensure!(service.len() == 1 && Some(service[0]) != agent, "services: {service:?}");
        process::signal(service[0], Signal::SIGKILL)?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "failover")?;
        let proof = view::number(&plan, "proof_level")?;
        ensure!(proof == 3, "the living agent acknowledged, but the proof is {proof}: {plan}");
        done_once(cluster, &plan, 0)
    });
}

/// Losing one voter that does not lead changes nothing for the group.
#[test]
fn the_witness_is_not_missed_while_the_pair_lives() {
    play(Options::default(), |cluster| {
        cluster.node_mut("w1")?.kill9()?;
        let since = journal::boot_ms()?;
        wait::until("two seconds of ticks", SOON, || {
            let sent = cluster.journal("p1")?.ticks_since(since);
            ensure!(sent >= 35, "{sent} ticks");
            Ok(())
        })?;
        cluster.node_mut("p1")?.power_off()?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "failover")?;
        done_once(cluster, &plan, 0)
    });
}

/// A3: a frozen agent cannot stop its services; they stop all the same, and
/// when it wakes it finds that its part is over.
#[test]
fn a3_services_of_a_frozen_agent_stop_and_stay_stopped_when_it_wakes() {
    play(Options::default(), |cluster| {
        cluster.node("p1")?.freeze()?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "failover")?;
        cluster.node("p1")?.thaw()?;
        let since = journal::boot_ms()?;
        wait::throughout("the woken primary's silence", Duration::from_secs(2), || {
            let sent = cluster.journal("p1")?.ticks_since(since);
            ensure!(sent == 0, "it sent {sent} ticks beside the standby");
            Ok(())
        })?;
        cluster.node_mut("p1")?.alive()?;
        done_once(cluster, &plan, 0)
    });
}
