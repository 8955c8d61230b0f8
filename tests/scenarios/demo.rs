//! The demo itself, as `cargo xtask demo --json` runs it.

use crate::FAILOVER;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};
use tests::{containers, programs::Programs};

/// The keys of the result: a contract with scripts.
const KEYS: [&str; 14] = [
    "result",
    "group",
    "from",
    "to",
    "epoch_before",
    "epoch_after",
    "proof_level",
    "rto_ms",
    "phases_ms",
    "ticks_on_standby",
    "dns_hook_calls",
    "notifications_accepted",
    "dual_active_ms",
    "report",
];

#[test]
fn the_demo_shows_a_failover_and_prints_its_result() {
    shown(&["--json"]).unwrap();
}

#[test]
fn docker_the_demo_runs_its_service_in_real_containers() {
    if let Err(why) = containers::available() {
        let required = std::env::var_os("UNDERSTUDY_REQUIRE_ALL").is_some();
        assert!(!required, "nothing may be skipped: {why:#}");
        eprintln!("skipped: {why:#}");
        return;
    }
    shown(&["--docker", "--json"]).unwrap();
}

fn shown(arguments: &[&str]) -> Result<()> {
    let done = Command::new(Programs::find()?.path("understudy-demo"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let talk = String::from_utf8_lossy(&done.stderr);
    let printed = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "it failed:\n{talk}{printed}");
    let result: Value = serde_json::from_str(printed.lines().last().context("nothing printed")?)?;
    let keys = result.as_object().context("no object")?;
    ensure!(keys.len() == KEYS.len(), "other keys: {result}");
    for key in KEYS {
        ensure!(keys.get(key).is_some_and(|value| !value.is_null()), "no `{key}`: {result}");
    }
    ensure!(result["result"] == "ok", "{result}");
    ensure!(result["from"] == "primary" && result["to"] == "standby", "{result}");
    ensure!(result["epoch_after"].as_u64() > result["epoch_before"].as_u64(), "{result}");
    ensure!(result["dual_active_ms"] == 0, "{result}");
    let limit = u64::try_from(FAILOVER.as_millis())?;
    ensure!(result["rto_ms"].as_u64().is_some_and(|ms| (1..limit).contains(&ms)), "{result}");
    let report = fs::read_to_string(Path::new(result["report"].as_str().context("no path")?))?;
    ensure!(report.contains("RTO"), "the report:\n{report}");
    Ok(())
}
