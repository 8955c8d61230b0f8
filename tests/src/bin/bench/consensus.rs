//! From `kill -9` of the leading coordinator to the first record that its
//! successor committed, as an operator sees it.
//!
//! The record is a `hold` or a `resume` of the group, in turn: a call that
//! returns only after its record was committed. It is tried again and again
//! from the kill on, so that a trial also holds the start of `coordctl`, its
//! TLS handshake and its search for the leader: an upper bound of the figure.
//! What an unhindered call takes is measured beside it.

use crate::{Measured, agent};
use anyhow::{Context, Result};
use serde_json::json;
use std::time::{Duration, Instant};
use tests::{
    cluster::{COORDINATORS, Cluster},
    config::{GROUP, Options},
    stats::Figures,
    view, wait,
};

/// Far beyond any election.
const PATIENCE: Duration = Duration::from_secs(20);
/// The goal at the default timing.
const GOAL_MS: f64 = 1500.0;

/// Kills the leader `trials` times.
pub(crate) fn measure(trials: u32) -> Result<Measured> {
    let mut cluster = Cluster::prepare(Options::default())?;
    cluster.found()?;
    cluster.join_coordinators()?;
    cluster.apply()?;
    let (mut failover, mut unhindered) = (Vec::new(), Vec::new());
    for trial in 0..trials {
        let leader = settled(&mut cluster)?;
        unhindered.push(commit(&cluster, trial * 2)?);
        let began = Instant::now();
        cluster.node_mut(&leader)?.kill9()?;
        commit(&cluster, trial * 2 + 1)?;
        failover.push(began.elapsed().as_secs_f64() * 1000.0);
        eprintln!("trial {} of {trials}: {leader} killed", trial + 1);
        cluster.node_mut(&leader)?.start()?;
    }
    let figures = Figures::of(&failover)?;
    let reached = figures.p99 < GOAL_MS;
    Ok(Measured {
        configuration: json!({
            "profile": agent::profile(),
            "voters": COORDINATORS,
            "heartbeat": "50ms (default)",
            "election": "150ms to 300ms (default)",
            "fault": "kill -9 of the leader",
            "record": "hold or resume through coordctl, its own start included",
        }),
        figures: vec![
            ("leader_loss_to_commit_ms".into(), figures),
            ("unhindered_commit_ms".into(), Figures::of(&unhindered)?),
        ],
        goals: vec![("leader_loss_to_commit_ms".into(), format!("p99 < {GOAL_MS} ms"), reached)],
    })
}

/// Commits one record, trying until a leader takes it; the time that it took in ms.
fn commit(cluster: &Cluster, turn: u32) -> Result<f64> {
    let began = Instant::now();
    let hold = ["hold", GROUP, "--reason", "benchmark"];
    let resume = ["resume", GROUP];
    let words: &[&str] = if turn.is_multiple_of(2) { &hold } else { &resume };
    wait::until("a committed record", PATIENCE, || cluster.ctl.ok(words))?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

/// Waits until a coordinator of the pair leads and all three voters are level,
/// so that each trial begins from the same state; the leader's name.
fn settled(cluster: &mut Cluster) -> Result<String> {
    let status = cluster.status_where("three level voters", PATIENCE, |status| {
        anyhow::ensure!(status["leader"] != "w1", "the witness leads");
        let leader = view::named(status, "members", view::text(status, "leader")?)?;
        let level = view::number(leader, "matched_index")?;
        for name in COORDINATORS {
            let member = view::named(status, "members", name)?;
            let matched = view::number(member, "matched_index")?;
            anyhow::ensure!(matched >= level, "{name} is at {matched} of {level}");
        }
        Ok(())
    })?;
    Ok(status["leader"].as_str().context("no leader")?.to_owned())
}
