//! The program itself: its words and its exit codes.

use crate::{
    bench::{AGENT, Bench, assignment, promote, start, state},
    coordinator::{Coordinator, Lease, until},
};
use model::ServiceState;
use std::{path::PathBuf, process::Stdio};
use tokio::process::{Child, Command};

fn file(bench: &Bench, text: &str) -> PathBuf {
    let path = bench.dir.path().join("agent.toml");
    std::fs::write(&path, text).unwrap();
    path
}

async fn ends(verb: &str, file: &PathBuf) -> (Option<i32>, String, String) {
    let output = Command::new(AGENT).args([verb, "--config"]).arg(file).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn check_says_ok_or_every_fault() {
    let bench = Bench::new();
    let good = file(&bench, &bench.toml(""));
    let (code, said, _) = ends("check", &good).await;
    assert_eq!(code, Some(0));
    assert!(said.starts_with("ok: ") && said.contains("host p1, 1 service(s)"), "{said}");
    let text = bench.toml("").replace("/bin/sh", "sh").replace("[[service]]", "[[servise]]");
    let (code, said, talk) = ends("check", &file(&bench, &text)).await;
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(talk.contains("agent.toml:3:") && talk.contains("servise"), "{talk}");
    for (program, words) in
        [("/nonexistent/bridge", "cannot be run"), ("/etc/passwd", "not executable")]
    {
        let text = bench.toml("").replace("/bin/sh", program);
        let (code, said, talk) = ends("check", &file(&bench, &text)).await;
        assert_eq!((code, said.as_str()), (Some(2), ""), "{talk}");
        assert!(talk.contains(program) && talk.contains(words), "{talk}");
    }
    let (code, _, talk) = ends("check", &bench.dir.path().join("none.toml")).await;
    assert_eq!(code, Some(2));
    assert!(talk.contains("there is no such file"), "{talk}");
}

#[tokio::test]
async fn run_says_what_is_missing() {
    let bench = Bench::new();
    let toml = file(&bench, &bench.toml(""));
    let (code, _, talk) = ends("run", &toml).await;
    assert_eq!(code, Some(1));
    assert!(talk.contains("understudy-agent enroll"), "{talk}");
    let other = file(&bench, &bench.toml("").replace("host = \"p1\"", "host = \"s1\""));
    let (code, _, talk) = ends("run", &other).await;
    assert_eq!(code, Some(1));
    assert!(talk.contains("is of agent `p1`") && talk.contains("host = \"s1\""), "{talk}");
    let toml = file(&bench, &bench.toml(""));
    std::fs::write(bench.state().join("ledger"), "understudy-ledger 1\nx\ny\n").unwrap();
    let (code, _, talk) = ends("run", &toml).await;
    assert_eq!(code, Some(1));
    assert!(talk.contains("ledger line 2") && talk.contains("mv "), "{talk}");
}

fn agent(toml: &PathBuf) -> Child {
    Command::new(AGENT)
        .args(["run", "--config"])
        .arg(toml)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    let done = std::process::Command::new("/bin/kill").args([name, &pid]).status().unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_the_agents_end_is_the_services_end_asked_for_or_not() {
    let bench = Bench::new();
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    coordinator.desk().lease = Lease::Grant(1);
    coordinator.desk().assignment = vec![assignment(1, Some("primary"), 1000)];
    let line = format!("coordinators = [\"{}\"]\n", coordinator.address);
    let toml = file(&bench, &format!("{line}{}", bench.toml("")));
    let pid_file = bench.dir.path().join("pid");
    let noted = std::fs::read_to_string(&toml)
        .unwrap()
        .replace("exec /bin/sleep", &format!("echo $$ > {}; exec /bin/sleep", pid_file.display()));
    std::fs::write(&toml, noted).unwrap();
    let runs = || {
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        PathBuf::from(format!("/proc/{}", pid.trim())).exists()
    };

    let mut first = agent(&toml);
    let report = coordinator.ask(&promote(1, 1)).await;
    assert!(matches!(report.outcome, model::Outcome::Done { .. }), "{report:?}");
    coordinator.ask(&start(2, 1)).await;
    until("it runs", || (bench.starts() == 1 && pid_file.exists() && runs()).then_some(())).await;
    let (code, _, talk) = ends("run", &toml).await;
    assert_eq!(code, Some(1), "a second one");
    assert!(talk.contains("is in use by pid"), "{talk}");

    signal(&first, "-TERM");
    assert_eq!(first.wait().await.unwrap().code(), Some(0));
    assert!(!runs(), "stopped before the agent ended");
    let mut log = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut first.stderr.take().unwrap(), &mut log)
        .await
        .unwrap();
    assert!(log.contains("exclusive services are stopped first"), "{log}");

    let mut second = agent(&toml);
    until("it runs again", || (bench.starts() == 2 && runs()).then_some(())).await;
    until("it says so", || (state(&coordinator) == Some(ServiceState::Running)).then_some(()))
        .await;
    signal(&second, "-KILL");
    second.wait().await.unwrap();
    until("nothing outlives a killed agent", || (!runs()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_of_an_idle_agent_more_often_than_its_heartbeats_come() {
    let bench = Bench::new();
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    // A heartbeat every six seconds, and a word to systemd every 100 ms.
    coordinator.desk().assignment = vec![assignment(1, None, 60_000)];
    let line = format!("coordinators = [\"{}\"]\n", coordinator.address);
    let toml = file(&bench, &format!("{line}{}", bench.toml("")));
    let socket = bench.dir.path().join("notify");
    let notified = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let _agent = Command::new(AGENT)
        .args(["run", "--config"])
        .arg(&toml)
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "200000")
        .env_remove("WATCHDOG_PID")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("a session", || (!coordinator.desk().hellos.is_empty()).then_some(())).await;
    let mut words = [0; 256];
    let mut alive = 0;
    until("thirty words to systemd", || {
        while let Ok(length) = notified.try_recv(&mut words) {
            alive += usize::from(words[..length].starts_with(b"WATCHDOG=1"));
        }
        (alive >= 30).then_some(())
    })
    .await;
    let beats = coordinator.desk().heartbeats.len();
    assert!(beats < 15, "{beats} heartbeats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_what_cannot_be_remembered_is_not_done_and_the_agent_ends_closed() {
    let bench = Bench::new();
    let coordinator = Coordinator::start(&bench.pki(), 0).await;
    coordinator.desk().lease = Lease::Grant(1);
    coordinator.desk().assignment = vec![assignment(1, Some("primary"), 5000)];
    let line = format!("coordinators = [\"{}\"]\n", coordinator.address);
    let toml = file(&bench, &format!("{line}{}", bench.toml("")));
    // 8 KiB a file stand for the full disk.
    let mut agent = Command::new("/bin/sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" run --config \"$1\"", AGENT])
        .arg(&toml)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    coordinator.ask(&promote(1, 1)).await;
    coordinator.ask(&start(2, 1)).await;
    let mut step = 3;
    let code = until("its end", || {
        step += 1;
        coordinator.send(&start(step, 1));
        agent.try_wait().unwrap()
    })
    .await;
    assert_eq!(code.code(), Some(74));
    let mut log = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut agent.stderr.take().unwrap(), &mut log)
        .await
        .unwrap();
    assert!(log.contains("the ledger is not durable: cannot write"), "{log}");
    assert!(log.contains("confirmed stopped group=fx"), "{log}");
    let reported = coordinator.desk().reports.len() as u64;
    assert!(reported > 2 && reported < step, "{reported} of {step} were reported");
    let again = self::agent(&toml);
    let last = coordinator.desk().reports.last().unwrap().clone();
    let repeated = start(last.id.step.0, 1);
    coordinator.desk().reports.clear();
    until("the new session", || (coordinator.desk().hellos.len() == 2).then_some(())).await;
    assert_eq!(coordinator.ask(&repeated).await, last, "what was reported was durable");
    drop(again);
}
