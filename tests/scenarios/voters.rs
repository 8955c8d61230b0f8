//! Every voter serves agents: a cut to the leader costs nobody the lease (C6),
//! and it takes more than the leader's own silence to move a group (C5).

use crate::{FAILOVER, SOON, closed, completed, done_once, play};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, time::Duration};
use tests::{
    cluster::Cluster,
    config::{GROUP, Options, PRIMARY, STANDBY},
    installation::advertised,
    journal, view, wait,
};

/// Several leases of one second: what is not renewed is over by then.
const LEASES: Duration = Duration::from_secs(4);

/// Lets `agent` reach this voter alone.
fn only(cluster: &mut Cluster, agent: &str, voter: &str) -> Result<()> {
    let address = advertised(cluster.node(voter)?)?;
    let node = cluster.node_mut(agent)?;
    node.power_off()?;
    let text = fs::read_to_string(node.config())?;
    fs::write(node.config(), format!("coordinators = [\"{address}\"]\n{text}"))?;
    node.start()
}

/// The coordinator of the pair that does not lead.
fn follower(cluster: &mut Cluster) -> Result<String> {
    let leader = cluster.leader(SOON)?;
    let other = ["c1", "c2"].into_iter().find(|name| *name != leader);
    Ok(other.context("no other coordinator")?.to_owned())
}

#[test]
fn c6_an_agent_that_reaches_one_follower_keeps_its_lease_and_is_moved() {
    play(Options { automatic: false, ..Options::default() }, |cluster| {
        let follower = follower(cluster)?;
        only(cluster, "p1", &follower)?;
        // The witness relays too, though it never leads.
        only(cluster, "s1", "w1")?;
        cluster.served_by(PRIMARY, FAILOVER)?;
        let since = journal::boot_ms()?;
        wait::throughout("a lease that is renewed", LEASES, || {
            let late = journal::boot_ms()?.saturating_sub(since) > 1000;
            let lately = journal::boot_ms()?.saturating_sub(800);
            let sent = cluster.journal("p1")?.ticks_since(lately);
            ensure!(!late || sent > 0, "no ticks for 0.8 s");
            Ok(())
        })?;
        // Commands down and reports up, by two different voters.
        cluster.status_where("both hosts to be heard", SOON, |status| {
            for host in ["p1", "s1"] {
                let host = view::named(status, "hosts", host)?;
                ensure!(host["state"] == "alive", "{host}");
            }
            Ok(())
        })?;
        cluster.ctl.ok(&["switchover", GROUP, "--to", STANDBY, "--yes"])?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "switchover")?;
        ensure!(view::number(&plan, "proof_level")? == 3, "it answered: {plan}");
        ensure!(cluster.dual_active_ms()? == 0, "both sites were sending at once");
        Ok(())
    });
}

/// The primary's host and the leading coordinator are lost together: the other
/// coordinator and the witness both miss the host, and that is a majority.
#[test]
fn c5_the_witness_is_the_second_observer_when_the_leader_falls_too() {
    play(Options::default(), |cluster| {
        let leader = cluster.leader(SOON)?;
        cluster.node_mut("p1")?.power_off()?;
        cluster.node_mut(&leader)?.kill9()?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "failover")?;
        ensure!(plan["by"] == "automatic", "{plan}");
        let incident = view::number(&plan, "incident")?;
        closed(cluster, incident)?;
        done_once(cluster, &plan, 1)?;
        let why = cluster.ctl.ok(&["explain", &incident.to_string()])?;
        ensure!(why.contains("w1"), "the witness is not named:\n{why}");
        ensure!(why.contains("gives the same decision again"), "{why}");
        offline(cluster, &leader)
    });
}

/// The same story from the journals' copies, of a running coordinator and of one
/// that is down; the latter ends where its own journal does.
fn offline(cluster: &Cluster, fallen: &str) -> Result<()> {
    let survivor = if fallen == "c1" { "c2" } else { "c1" };
    let told = |name: &str, more: &[&str]| -> Result<String> {
        let done = cluster.node(name)?.command("explain").arg(GROUP).args(more).output()?;
        let (out, err) = (done.stdout, String::from_utf8_lossy(&done.stderr).into_owned());
        ensure!(done.status.success(), "explain on {name}: {err}");
        Ok(String::from_utf8(out)?)
    };
    let text = told(survivor, &["--last", "20"])?;
    ensure!(text.contains("decision: open") && text.contains("(incident "), "{text}");
    ensure!(!text.contains("does NOT give the same"), "{text}");
    let json: Value = serde_json::from_str(&told(survivor, &["--last", "20", "--json"])?)?;
    let online = cluster.ctl.json(&["explain", GROUP, "--last", "20"])?;
    ensure!(json["evidence_json"] == online["evidence_json"], "{json}\n{online}");
    let earlier = told(fallen, &["--last", "1"])?;
    ensure!(earlier.contains("decision: "), "{earlier}");
    Ok(())
}
