//! The second operator: a weaker proof takes two people, and everything can be
//! stopped by one.

use crate::{FAILOVER, SOON, completed, count, play};
use anyhow::{Context, Result, ensure};
use tests::{
    cluster::Cluster,
    config::{GROUP, Options, STANDBY},
    ctl::Ctl,
    view,
};

/// Exit codes.
const REFUSED: i32 = 3;
const HELD: i32 = 5;

/// Another operator, enrolled on a machine of their own.
fn another(cluster: &Cluster, name: &str) -> Result<Ctl> {
    let token = cluster.ctl.ok(&["operator", "add", name])?;
    let other = cluster.ctl.with_context(&cluster.folder().join(name));
    other.ok(&["enroll", "--token", token.trim()])?;
    Ok(other)
}

#[test]
fn a_weaker_proof_takes_two_operators() {
    let options = Options {
        automatic: false,
        needs: 2,
        policy: "two_operators = true",
        ..Options::default()
    };
    play(options, |cluster| {
        let second = another(cluster, "bob")?;
        cluster.node_mut("p1")?.power_off()?;
        cluster.status_where("p1 to be missed", SOON, |status| {
            let host = view::named(status, "hosts", "p1")?;
            ensure!(host["state"] == "lost", "p1 is {}", host["state"]);
            Ok(())
        })?;
        let wish = ["failover", GROUP, "--to", STANDBY, "--yes"];
        let words = [&wish[..], &["--accept-proof", "1", "--reason", "seen off"]].concat();
        let asked = cluster.ctl.run(&words)?;
        ensure!(asked.code == HELD && asked.stdout.contains("coordctl approve 1"), "{asked:?}");
        ensure!(count(cluster, "failover")? == 0, "one operator was enough");

        let status = cluster.ctl.ok(&["status"])?;
        ensure!(status.contains("APPROVAL 1 IS ASKED FOR"), "{status}");
        let own = cluster.ctl.run(&["approve", "1", "--yes"])?;
        ensure!(own.code == REFUSED, "the first operator approved alone: {own:?}");

        second.ok(&["approve", "1", "--yes"])?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "failover")?;
        ensure!(plan["by"] == "tester" && plan["approved_by"] == "bob", "{plan}");
        let again = second.run(&["approve", "1", "--yes"])?;
        ensure!(again.code == REFUSED, "approved twice: {again:?}");
        Ok(())
    });
}

#[test]
fn everything_can_be_stopped_at_once_and_loudly() {
    play(Options::default(), |cluster| {
        cluster.ctl.ok(&["hold", "--all", "--reason", "the venue is down"])?;
        cluster.node_mut("p1")?.power_off()?;
        cluster.status_where("the loss to be seen and held", SOON, |status| {
            let host = view::named(status, "hosts", "p1")?;
            ensure!(host["state"] == "lost", "p1 is {}", host["state"]);
            let why = view::text(status, "held_everywhere")?;
            ensure!(why.contains("the venue is down") && why.contains("tester"), "{why}");
            Ok(())
        })?;
        let first = cluster.ctl.ok(&["status"])?;
        let first = first.lines().next().context("an empty status")?;
        ensure!(first.starts_with("AUTOMATION IS STOPPED FOR EVERY GROUP"), "{first}");
        ensure!(count(cluster, "failover")? == 0, "a stopped installation moved");
        cluster.ctl.ok(&["resume", "--all"])?;
        cluster.served_by(STANDBY, FAILOVER)?;
        // What was not done, and why, is on record.
        let why = cluster.ctl.ok(&["explain", GROUP, "--last", "10"])?;
        ensure!(why.contains("decision: hold") && why.contains("the venue is down"), "{why}");
        Ok(())
    });
}
