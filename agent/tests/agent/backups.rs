//! Backups by themselves: the program, a real repository, and what heartbeats say.

use crate::{
    bench::{AGENT, Bench},
    coordinator::{Coordinator, until},
};
use model::{BackupStanding, Millis};
use std::{fs, path::Path, process::Stdio, time::Instant};
use tokio::process::{Child, Command};

/// agent.toml with a repository that survives, and these tables.
fn configure(bench: &Bench, coordinator: &Coordinator, tables: &str) {
    let dir = bench.dir.path().display().to_string();
    let text = format!(
        "coordinators = [\"{}\"]\n{}[[repository]]\nname = \"there\"\npath = \"DIR/repo\"\n\
         password_file = \"DIR/key\"\nsurvives = true\n{tables}",
        coordinator.address,
        bench.toml("")
    );
    fs::write(bench.dir.path().join("agent.toml"), text.replace("DIR", &dir)).unwrap();
    fs::create_dir(bench.dir.path().join("live")).unwrap();
}

fn agent(bench: &Bench, args: &[&str]) -> Command {
    let mut command = Command::new(AGENT);
    command.args(args).arg("--config").arg(bench.dir.path().join("agent.toml"));
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(bench: &Bench) -> Child {
    assert!(agent(bench, &["backup", "init"]).status().await.unwrap().success());
    agent(bench, &["run"]).spawn().unwrap()
}

fn told(coordinator: &Coordinator) -> Option<BackupStanding> {
    coordinator.newest()?.backups.first().cloned()
}

/// The processes that work for the agent.
fn children(bench: &Bench) -> usize {
    let marker = bench.dir.path().display().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("--of-agent") && line.contains(&marker)
    })
    .count()
}

/// The most memory that a process has had in use, in MiB.
fn peak_mib(process: &Child) -> u64 {
    let path = format!("/proc/{}/status", process.id().unwrap());
    let status = fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

fn snapshots(repository: &Path) -> usize {
    fs::read_dir(repository.join("snapshots")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_is_in_the_repository_soon_and_heartbeats_say_so() {
    let bench = Bench::new();
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    let tables = "[[backup]]\nname = \"etc\"\nkind = \"paths\"\nroot = \"DIR/live\"\n\
                  on_change = true\nrpo_target = \"1min\"\nrpo_max = \"1h\"\ngroup = \"fx\"\n";
    configure(&bench, &coordinator, tables);
    let agent = run(&bench).await;
    until("the first copy is told", || told(&coordinator)?.surviving).await;
    let repository = bench.dir.path().join("repo");
    let mut took = Vec::new();
    for round in 0..5 {
        // Quiet first, so that it is a first change.
        until("nothing runs", || (children(&bench) == 0).then_some(())).await;
        let before = snapshots(&repository);
        let begun = Instant::now();
        fs::write(bench.dir.path().join("live/a.toml"), format!("round = {round}")).unwrap();
        until("a snapshot of it", || (snapshots(&repository) > before).then_some(())).await;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    let peak = peak_mib(&agent);
    eprintln!("from a change to its snapshot: {took:?}; the agent: {peak} MiB");
    assert!(peak <= 64, "the work is its child's: {peak} MiB");
    let standing = until("the newest is told", || {
        told(&coordinator).filter(|told| told.runs.count >= 6 && told.failed.is_empty())
    })
    .await;
    assert!(standing.survives && standing.rpo().is_some(), "{standing:?}");
    assert_eq!(standing.group.unwrap().as_str(), "fx");
    assert_eq!(standing.target, Some(Millis::from_secs(60)));
    assert_eq!(standing.max, Some(Millis::from_secs(3600)));
    assert_eq!(standing.surviving.unwrap().level, 1);
    assert_eq!(
        (standing.runs.count, standing.runs.well),
        (standing.runs.count, standing.runs.count)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_ends_with_a_killed_agent() {
    let bench = Bench::new();
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    let tables = "[[backup]]\nname = \"slow\"\nkind = \"command\"\ntimeout = \"30s\"\n\
                  command = [\"/bin/sleep\", \"20\"]\nschedule = { every = \"1h\" }\n";
    configure(&bench, &coordinator, tables);
    let mut agent = run(&bench).await;
    until("it runs", || (children(&bench) == 1).then_some(())).await;
    agent.start_kill().unwrap();
    agent.wait().await.unwrap();
    until("nothing outlives a killed agent", || (children(&bench) == 0).then_some(())).await;
}
