//! Programs that behave, and every way in which they do not.

use super::*;
use std::{fs::Permissions, os::unix::fs::PermissionsExt};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

fn shell(script: &str, deadline: Duration) -> Program {
    Program::new("/bin/sh", deadline).args(["-c", script])
}

async fn finished(program: Program) -> Finished {
    match program.run().await {
        Run::Finished(finished) => finished,
        other => panic!("expected an end, got {other:?}"),
    }
}

async fn timed_out(program: Program) -> TimedOut {
    match program.run().await {
        Run::TimedOut(timed_out) => timed_out,
        other => panic!("expected a deadline, got {other:?}"),
    }
}

/// Whether a process is gone or only waits to be reaped.
fn ended(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) => true,
    }
}

async fn ends(pid: &str) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !ended(pid) {
        assert!(Instant::now() < limit, "process {pid} still runs");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn input_output_and_exit_code_pass_through() {
    let run = finished(shell("cat; echo words >&2; exit 7", LONG).stdin("given")).await;
    assert_eq!(run.status, Status::Code(7));
    assert_eq!(run.status.to_string(), "exit code 7");
    assert!(!run.succeeded() && !run.truncated());
    assert_eq!((run.stdout.text().as_str(), run.stderr.text().as_str()), ("given", "words\n"));
    let run = finished(shell("kill -9 $$", LONG)).await;
    assert_eq!(run.status, Status::Signal(9));
}

#[tokio::test]
async fn the_environment_is_only_what_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::new("/usr/bin/env", LONG).env("GIVEN", "a b").directory(dir.path());
    let text = finished(program).await.stdout.text();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    names.retain(|name| *name != "LANG");
    names.sort_unstable();
    assert_eq!(names, ["GIVEN", "PATH"]);
    let run = finished(shell("pwd -P", LONG).directory(dir.path())).await;
    assert_eq!(Path::new(run.stdout.text().trim()), dir.path().canonicalize().unwrap());
}

#[tokio::test]
async fn output_is_bounded_drained_and_counted() {
    let script = "head -c 300000 /dev/zero | tr '\\0' a; echo end >&2";
    let run = finished(shell(script, LONG)).await;
    assert!(run.succeeded() && run.truncated());
    assert_eq!(run.stdout.bytes.len(), OUTPUT_MAX);
    assert_eq!(run.stdout.dropped, 300_000 - OUTPUT_MAX as u64);
    assert_eq!((run.stderr.text().as_str(), run.stderr.dropped), ("end\n", 0));
}

#[tokio::test]
async fn a_large_input_that_nobody_reads_harms_nothing() {
    let run = finished(shell("exec <&-; echo ok", LONG).stdin(vec![0; 1 << 20])).await;
    assert!(run.succeeded());
    assert_eq!(run.stdout.text(), "ok\n");
}

#[tokio::test]
async fn a_program_that_hangs_is_asked_to_end() {
    let begun = Instant::now();
    let run =
        timed_out(shell("echo begun; trap 'echo asked; exit 3' TERM; sleep 60 & wait", SHORT))
            .await;
    assert_eq!((run.stdout.text().as_str(), run.killed), ("begun\nasked\n", false));
    assert_eq!(run.deadline, SHORT);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed() {
    let script = "trap '' TERM; echo $$; while :; do sleep 60; done";
    let run = timed_out(shell(script, SHORT).grace(SHORT)).await;
    assert!(run.killed);
    ends(run.stdout.text().trim()).await;
}

#[tokio::test]
async fn grandchildren_that_hold_the_pipe_do_not_hold_us() {
    // The program itself ends well; what it left in its group is ended.
    let begun = Instant::now();
    let run = finished(shell("sleep 600 & echo $!", LONG)).await;
    assert!(run.succeeded() && begun.elapsed() < Duration::from_secs(20));
    ends(run.stdout.text().trim()).await;

    // The program ends at its deadline; a grandchild ignores SIGTERM.
    let script = "(trap '' TERM; exec sleep 600) & echo $!; wait";
    let run = timed_out(shell(script, SHORT).grace(SHORT)).await;
    assert!(run.killed);
    ends(run.stdout.text().trim()).await;
}

#[tokio::test]
async fn one_that_left_the_group_and_holds_the_pipe_does_not_hold_us() {
    let begun = Instant::now();
    // setsid makes it a stranger: it is left alone, and ends by itself.
    let run = finished(shell("setsid sleep 5 & echo $!", LONG)).await;
    assert!(run.succeeded() && begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn dropping_the_run_kills_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = format!("sleep 600 & echo $$ $! > {0}.new; mv {0}.new {0}; wait", pids.display());
    let running = tokio::spawn(async move { shell(&script, LONG).run().await });
    let limit = Instant::now() + Duration::from_secs(10);
    while !pids.exists() {
        assert!(Instant::now() < limit, "the program never began");
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    for pid in std::fs::read_to_string(&pids).unwrap().split_whitespace() {
        ends(pid).await;
    }
}

#[tokio::test]
async fn one_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    let cases = [
        (dir.path().join("none"), "does not exist"),
        (file("plain", "#!/bin/sh\n", 0o600), "chmod +x"),
        (file("orphan", "#!/no/such/shell\n", 0o700), "interpreter"),
        (file("text", "hello", 0o700), "#!/bin/sh"),
        (dir.path().into(), "not executable"),
    ];
    for (path, part) in cases {
        match Program::new(&path, LONG).run().await {
            Run::NotStarted(why) => {
                let words = why.to_string();
                assert!(words.contains(part) && words.contains(path.to_str().unwrap()), "{words}");
            }
            other => panic!("{}: {other:?}", path.display()),
        }
    }
    match shell("true", LONG).directory("/no/such/place").run().await {
        Run::NotStarted(NotStarted::Directory { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_line_is_fit_for_a_terminal() {
    let output = Output { bytes: b"first\n\x1b[31mred\x07\n\nlast \xff\n".to_vec(), dropped: 0 };
    assert_eq!(output.one_line(100), "first / [31mred / last \u{fffd}");
    assert_eq!(output.one_line(8), "…/ last \u{fffd}".replace("/ ", " "));
    let output = Output { bytes: b"a".to_vec(), dropped: 9 };
    assert_eq!(output.one_line(8), "a (9 more bytes were dropped)");
    assert_eq!(Output::default().one_line(8), "");
}
