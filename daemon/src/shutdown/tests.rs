//! The wish before, during and after a wait; real signals to a real process.

use super::*;
use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    time::Duration,
};

#[tokio::test]
async fn the_wish_reaches_waiters_early_and_late() {
    let shutdown = Shutdown::new();
    assert!(!shutdown.is_requested());
    let early = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { shutdown.requested().await }
    });
    shutdown.trigger();
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, early).await.unwrap().unwrap();
    tokio::time::timeout(limit, shutdown.requested()).await.unwrap();
    assert!(shutdown.is_requested() && shutdown.clone().is_requested());
}

/// Set in the child process of the test below.
const CHILD: &str = "UNDERSTUDY_TEST_STAYS";

/// The process of the next test: says what it sees, and never ends by itself.
/// Nothing when run by itself.
#[tokio::test]
async fn child_that_stays() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let shutdown = on_signals().unwrap();
    println!("\nwaiting");
    shutdown.requested().await;
    println!("\nasked");
    std::future::pending::<()>().await;
}

#[test]
fn the_first_signal_asks_and_the_second_ends() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "shutdown::tests::child_that_stays", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "waiting"));
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(lines.any(|line| line == "asked"));
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(130), None));
}
