//! Tasks on a host through the coordinators: backups made, proven and brought
//! back, what is refused, and an operator who goes away.

use crate::{SOON, play};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use tests::{cluster::Cluster, config::Options, view, wait};

/// Exit code of what cannot be reached.
const UNREACHABLE: i32 = 4;

/// Adds lines to a host's agent.toml, has its agent begin anew, and waits until
/// the leader can reach it.
pub(crate) fn configure(cluster: &mut Cluster, host: &str, more: &str) -> Result<()> {
    let node = cluster.node_mut(host)?;
    let file = node.config();
    fs::write(&file, format!("{}\n{more}", fs::read_to_string(&file)?))?;
    node.terminate()?;
    node.start()?;
    wait::until(&format!("{host} to be reached"), SOON, || {
        let asked = cluster.ctl.run(&["backup", "list", "--host", host])?;
        ensure!(asked.code != UNREACHABLE, "{asked:?}");
        Ok(())
    })
}

/// One of the agent's own verbs, as somebody on the host types it.
pub(crate) fn typed(cluster: &Cluster, host: &str, words: &[&str]) -> Result<(i32, String)> {
    let done = cluster.node(host)?.call(words).output()?;
    let told = [done.stdout, done.stderr].concat();
    Ok((done.status.code().unwrap_or(255), String::from_utf8_lossy(&told).into_owned()))
}

/// The repositories of a host.
fn init(cluster: &Cluster) -> Result<()> {
    let (code, told) = typed(cluster, "p1", &["backup", "init"])?;
    ensure!(code == 0, "{told}");
    Ok(())
}

/// A source of files, a source whose program waits, and a repository.
fn sources(folder: &Path) -> Result<String> {
    fs::create_dir_all(folder.join("data"))?;
    fs::write(folder.join("data/orders.db"), "first")?;
    let slow = folder.join("slow");
    fs::write(
        &slow,
        format!("#!/bin/sh\necho $$ > {0}/began\nexec sleep 100\n", folder.display()),
    )?;
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755))?;
    Ok(format!(
        r#"
[[repository]]
name = "local"
path = "{0}/repository"
password_file = "{0}/backup.key"

[[backup]]
name = "orders"
kind = "paths"
root = "{0}"
paths = ["data"]

[[backup]]
name = "slow"
kind = "command"
command = ["{0}/slow"]
file = "slow.txt"
"#,
        folder.display()
    ))
}

/// What the status says of the newest task for `p1`.
pub(crate) fn newest(cluster: &Cluster) -> Result<Value> {
    let status = cluster.status()?;
    Ok(view::named(&status, "hosts", "p1")?["task"].clone())
}

/// The slow program, once it runs.
fn running(began: &Path) -> Result<u32> {
    wait::until("the slow program to run", SOON, || {
        Ok(fs::read_to_string(began)?.trim().parse()?)
    })
}

fn gone(pid: u32) -> Result<()> {
    wait::until("the program to be gone", SOON, || {
        ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "it runs on");
        Ok(())
    })
}

pub(crate) fn manual() -> Options {
    Options { automatic: false, ..Options::default() }
}

#[test]
fn a_backup_is_made_proven_and_restored_through_the_coordinators() {
    play(manual(), |cluster| {
        let folder = cluster.node("p1")?.folder().to_path_buf();
        let more = sources(&folder)?;
        configure(cluster, "p1", &more)?;
        // Nothing is done that agent.toml does not allow (A7).
        let refused = cluster.ctl.run(&["backup", "list", "--host", "p1"])?;
        ensure!(refused.code == 3 && refused.stderr.contains("[tasks]"), "{refused:?}");
        configure(cluster, "p1", "\n[tasks]\nallow = [\"backup\", \"restore\"]\n")?;
        init(cluster)?;

        let args = ["backup", "run", "orders", "--host", "p1", "--reason", "an upgrade"];
        let ran = cluster.ctl.json(&args)?;
        ensure!(ran["done"][0]["source"] == "orders", "{ran}");
        let task = newest(cluster)?;
        ensure!(task["task"] == "backup run orders" && task["reason"] == "an upgrade", "{task}");
        ensure!(task["by"] == "tester" && task["end"]["exit"] == 0, "{task}");
        cluster.ctl.ok(&["backup", "verify", "orders", "--percent", "100", "--host", "p1"])?;
        let list = cluster.ctl.json(&["backup", "list", "--host", "p1"])?;
        ensure!(list[0]["verified_level"] == 2, "{list}");

        fs::write(folder.join("data/orders.db"), "second")?;
        let restore = ["backup", "restore", "orders", "--host", "p1"];
        let unasked = cluster.ctl.run(&restore)?;
        ensure!(unasked.code == 2, "without a terminal and --yes: {unasked:?}");
        cluster.ctl.ok(&[&restore[..], &["--yes"]].concat())?;
        let now = fs::read_to_string(folder.join("data/orders.db"))?;
        ensure!(now == "first", "restored: {now}");
        let pruned = cluster.ctl.ok(&["backup", "prune", "--dry-run", "--host", "p1"])?;
        ensure!(pruned.contains("orders"), "{pruned}");

        // A failure is the host's own, word for word.
        let wrong = cluster.ctl.run(&["backup", "run", "nothing", "--host", "p1"])?;
        let (alone, told) = typed(cluster, "p1", &["backup", "run", "nothing"])?;
        ensure!(wrong.code == alone && alone != 0, "{wrong:?} {told}");
        ensure!(wrong.stderr.contains("nothing"), "{wrong:?}");
        Ok(())
    });
}

#[test]
fn a_task_ends_with_its_operator_and_a_host_that_is_away_is_told() {
    play(manual(), |cluster| {
        let folder = cluster.node("p1")?.folder().to_path_buf();
        let more = format!("{}\n[tasks]\nallow = [\"backup\"]\n", sources(&folder)?);
        configure(cluster, "p1", &more)?;
        init(cluster)?;
        let call = cluster.ctl.begin(&["backup", "run", "slow", "--host", "p1"])?;
        let began = folder.join("began");
        let pid = running(&began)?;
        let task = newest(cluster)?;
        ensure!(task["task"] == "backup run slow" && task["end"].is_null(), "{task}");
        call.kill()?;
        wait::until("its end to be recorded", SOON, || {
            let task = newest(cluster)?;
            let detail = view::text(&task["end"], "detail").context("it runs on")?;
            ensure!(detail.contains("operator left"), "{task}");
            Ok(())
        })?;
        gone(pid)?;
        let list = cluster.ctl.json(&["backup", "list", "--host", "p1"])?;
        ensure!(list.as_array().is_some_and(Vec::is_empty), "half a backup is none: {list}");

        // The agent's own end takes the task along too, and what it started.
        fs::remove_file(&began)?;
        let call = cluster.ctl.begin(&["backup", "run", "slow", "--host", "p1"])?;
        let pid = running(&began)?;
        cluster.node_mut("p1")?.kill9()?;
        gone(pid)?;
        let lost = call.finish()?;
        ensure!(lost.code == UNREACHABLE && lost.stderr.contains("lost"), "{lost:?}");

        cluster.node_mut("p1")?.power_off()?;
        wait::until("the session to be missed", SOON, || {
            let away = cluster.ctl.run(&["backup", "list", "--host", "p1"])?;
            ensure!(away.code == 4 && away.stderr.contains("p1"), "{away:?}");
            ensure!(away.stderr.contains("no session"), "{away:?}");
            Ok(())
        })?;
        let nobody = cluster.ctl.run(&["backup", "list", "--host", "x9"])?;
        ensure!(nobody.code == 4 && nobody.stderr.contains("x9"), "{nobody:?}");
        Ok(())
    });
}
