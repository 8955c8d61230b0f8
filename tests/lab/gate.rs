//! What needs the kernel gate: an agent that can do nothing any more, and a
//! trader that nobody stops.

use crate::{FAILOVER, SOON, hosts::there_and_back, play};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use tests::{
    cluster::COORDINATORS,
    config::{PRIMARY, STANDBY},
    journal,
    lab::{
        Lab, checker,
        config::{Driver, Options, Standby},
        fault::Fault,
        hardship::Squeeze,
    },
    view, wait,
};

/// No order of a site for a while.
fn silent(lab: &Lab, site: &str, span: Duration) -> Result<()> {
    let since = journal::boot_us()?;
    wait::throughout(&format!("the silence of {site}"), span, || {
        let sent = lab.orders_since(site, since)?;
        ensure!(sent == 0, "it sent {sent} orders");
        Ok(())
    })
}

/// A2: the kernel's own timeout closes the gate, whatever became of the agent,
/// and of Docker, whose containers trade on without it.
#[test]
fn a2_containers_of_a_dead_or_frozen_agent_are_cut_off_before_the_other_starts() {
    let faults = [Fault::Freeze, Fault::Agent, Fault::Dockerd, Fault::CutCoordinators];
    play(Options::gated(), |lab| there_and_back(lab, &faults));
}

#[test]
fn a2_host_networked_containers_are_cut_off_too() {
    let options = Options { driver: Driver::HostNetwork, ..Options::gated() };
    play(options, |lab| there_and_back(lab, &[Fault::Freeze, Fault::Agent]));
}

/// A1: whatever Docker's restart policy says, a returning host comes up closed.
#[test]
fn a1_a_returning_host_whose_docker_restarts_everything_comes_up_closed() {
    let options = Options { restart_always: true, ..Options::gated() };
    play(options, |lab| {
        Fault::Kill.strike(lab, "p1")?;
        lab.served_by(STANDBY, FAILOVER)?;
        Fault::Kill.repair(lab, "p1")?;
        crate::stands_by(lab, "p1")?;
        silent(lab, PRIMARY, Duration::from_secs(2))?;
        checker::never_two(lab)?;
        ensure!(checker::moves(lab)? == 1, "one loss, one move");
        Ok(())
    });
}

/// A1: a table that somebody else flushed is back within a heartbeat, closed;
/// a lease that lives opens it again.
#[test]
fn a1_a_flushed_ruleset_is_restored() {
    play(Options::gated(), |lab| {
        lab.timeline.note("nft flush ruleset on both hosts");
        for host in ["p1", "s1"] {
            lab.machine(host)?.run("nft", &["flush", "ruleset"])?;
        }
        wait::until("the gate's table to be back", SOON, || {
            for host in ["p1", "s1"] {
                let tables = lab.machine(host)?.run("nft", &["list", "tables"])?;
                ensure!(tables.contains("understudy"), "{host} has only {tables}");
            }
            Ok(())
        })?;
        // Docker's own rules went with the flush too; its daemon makes them anew
        // when it starts.
        for host in ["p1", "s1"] {
            lab.daemon(host)?.kill9()?;
            lab.start_docker(host)?;
        }
        lab.steady(PRIMARY, SOON)?;
        Fault::Freeze.strike(lab, "p1")?;
        lab.served_by(STANDBY, FAILOVER)?;
        Fault::Freeze.repair(lab, "p1")?;
        crate::stands_by(lab, "p1")
    });
}

/// A starved agent is a dead one or a slow one; the gate asks neither.
#[test]
fn a2_a_starved_agent_loses_the_lease_and_the_gate_with_it() {
    play(Options::gated(), |lab| {
        let starved = Squeeze::processor(lab.node("p1")?.pid().context("no agent")?)?;
        lab.timeline.note("the agent of p1 has a thousandth of a processor");
        // Whether it is taken for lost is another question: now and then it is heard.
        wait::until("the starved host to fall silent", FAILOVER, || {
            let since = journal::boot_us()?;
            wait::throughout("silence", Duration::from_millis(500), || {
                ensure!(lab.orders_since(PRIMARY, since)? == 0, "it trades");
                Ok(())
            })
        })?;
        checker::never_two(lab)?;
        drop(starved);
        checker::settled(lab)?;
        let status = lab.status()?;
        let group = view::named(&status, "groups", tests::config::GROUP)?;
        lab.steady(view::text(group, "active_site")?, FAILOVER)
    });
}

/// A1, A2: an agent that gets no memory is killed for it or stands still; either
/// way one site trades, and it is well again when there is memory.
#[test]
fn a2_an_agent_without_memory_never_makes_two_sites() {
    play(Options::gated(), |lab| {
        let squeeze = Squeeze::memory()?;
        let mut entry = lab.entry("p1")?;
        entry.extend(squeeze.entry());
        lab.node_mut("p1")?.kill9()?;
        lab.node_mut("p1")?.enter(entry);
        lab.node_mut("p1")?.start()?;
        wait::until("the agent to run in its group", SOON, || {
            let sessions = lab.node("p1")?.log_text().matches("session with").count();
            ensure!(sessions > COORDINATORS.len(), "{sessions} sessions in both its lives");
            Ok(())
        })?;
        lab.steady(PRIMARY, FAILOVER)?;
        lab.timeline.note("the agent of p1 gets no more memory");
        wait::until("the agent to want some", FAILOVER, || {
            // Again and again: at rest it may live on what it has.
            squeeze.tighten()?;
            ensure!(squeeze.shortages()? > 0, "it has not asked for any");
            Ok(())
        })?;
        wait::until("orders of the active site", FAILOVER, || {
            let status = lab.status()?;
            let group = view::named(&status, "groups", tests::config::GROUP)?;
            lab.ordering(view::text(group, "active_site")?, Duration::from_secs(3))
        })?;
        checker::never_two(lab)?;
        lab.timeline.note("there is memory again");
        drop(squeeze);
        let entry = lab.entry("p1")?;
        lab.node_mut("p1")?.enter(entry);
        if lab.node_mut("p1")?.alive().is_err() {
            lab.node_mut("p1")?.kill9()?;
            lab.node_mut("p1")?.start()?;
        }
        checker::settled(lab)?;
        let status = lab.status()?;
        let group = view::named(&status, "groups", tests::config::GROUP)?;
        lab.steady(view::text(group, "active_site")?, FAILOVER)
    });
}

/// Behind the closed gate the trader runs already: activation opens it. How soon
/// is a figure of the benchmarks; a lease of 500 ms does not outlast the stalls
/// of a machine that builds something besides.
#[test]
fn a_gated_standby_trades_as_soon_as_its_gate_opens() {
    let options = Options { standby: Standby::Gated, lease: "1s".into(), ..Options::gated() };
    play(options, |lab| {
        silent(lab, STANDBY, Duration::from_secs(1))?;
        there_and_back(lab, &[Fault::Agent, Fault::Freeze, Fault::Cut])
    });
}
