//! Failover as the operator sees it: progress, broken streams, refusals, Ctrl-C.

use crate::stage::{Ended, Stage, Then};
use proto::v1::{Bound, Plan, StartPlanReply, Step};
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
};
use tonic::Status;

const FAILOVER: [&str; 4] = ["failover", "--to", "standby", "--yes"];

fn step(number: u64, what: &str, state: &str) -> Step {
    Step { number, what: what.into(), state: state.into(), attempts: 1, ..Default::default() }
}

/// A plan of two steps whose states are these.
fn plan(states: [&str; 2]) -> Plan {
    Plan {
        id: 7,
        group: "fx".into(),
        kind: "failover".into(),
        from: "primary".into(),
        to: "standby".into(),
        incident: 3,
        state: "running".into(),
        by: "ann".into(),
        epoch_before: 1,
        steps: vec![step(0, "fence primary", states[0]), step(1, "start bridge on s1", states[1])],
        ..Default::default()
    }
}

fn completed() -> Plan {
    Plan {
        state: "completed".into(),
        closed_unix_ms: Some(2),
        epoch_after: 2,
        proof_level: 1,
        proof: "the lease lapsed".into(),
        rto_ms: Some(8345),
        phases_ms: [("fence", 2100), ("verify", 900)].map(|(name, ms)| (name.into(), ms)).into(),
        ..plan(["done", "done"])
    }
}

fn held() -> Plan {
    let reason = "the DNS hook failed three times".into();
    Plan { state: "held".into(), reason, ..plan(["done", "failed"]) }
}

fn started() -> StartPlanReply {
    StartPlanReply { plan: Some(plan(["waiting", "waiting"])), ..Default::default() }
}

const ALL_LINES: &str = "\
plan 7: failover of fx, primary -> standby, by ann
[1/2] done    fence primary
[2/2] done    start bridge on s1
plan 7 completed: fx is active on standby, epoch 2 (was 1)
proof level 1: the lease lapsed
RTO 8.34 s: fence 2.10 s, verify 900 ms
report: coordctl incident report 3
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_followed_from_leader_to_leader() {
    let stage = Stage::with(2).await;
    stage.script.edit(|script| {
        script.starts.push_back(Ok(started()));
        script.streams.push_back((
            vec![plan(["running", "waiting"]), plan(["done", "running"])],
            Then::Leads(1),
        ));
        script.streams.push_back((vec![plan(["done", "running"])], Then::Ends));
        script.streams.push_back((vec![plan(["done", "running"]), completed()], Then::Ends));
    });
    let ended = stage.run(&FAILOVER).await.with(0);
    assert_eq!(ended.data, ALL_LINES, "no line is repeated");
    assert!(ended.talk.contains("this leader is gone; looking again"), "{}", ended.talk);
    assert!(stage.calls().contains(&"watch_plan@1".to_owned()));
    let asked = stage.script.edit(|script| script.started.clone());
    assert_eq!((asked[0].kind.as_str(), asked[0].group.as_str()), ("failover", "fx"));
    assert_eq!((asked[0].to.as_str(), asked[0].dry_run), ("standby", false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_json_the_plan_is_the_document_and_progress_is_talk() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| {
        script.starts.push_back(Ok(started()));
        script.streams.push_back((vec![plan(["done", "running"]), completed()], Then::Ends));
    });
    let mut args = FAILOVER.to_vec();
    args.push("--json");
    let ended = stage.run(&args).await.with(0);
    assert_eq!(ended.json()["rto_ms"], 8345);
    assert_eq!(ended.json()["phases_ms"]["fence"], 2100);
    assert_eq!(ended.talk, ALL_LINES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_plan_ends_with_5() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| {
        script.starts.push_back(Ok(started()));
        script.streams.push_back((vec![held()], Then::Hangs));
        script.streams.push_back((vec![held()], Then::Hangs));
    });
    let ended = stage.run(&["failback", "fx", "--yes"]).await.with(5);
    assert!(ended.data.contains("[2/2] failed  start bridge on s1"), "{}", ended.data);
    assert!(ended.data.contains("held for a human: the DNS hook failed three times"));
    assert!(ended.talk.contains("coordctl plan show 7"), "{}", ended.talk);
    stage.run(&["plan", "show", "7", "--follow"]).await.with(5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_safety_rule_refuses_with_3() {
    let stage = Stage::with(1).await;
    let refusals = vec!["C3: proof level 2 is needed, 1 is reachable".into()];
    let reply =
        StartPlanReply { proof_reachable: 1, proof_needed: 2, refusals, ..Default::default() };
    stage.script.edit(|script| script.starts.push_back(Ok(reply)));
    let ended = stage.run(&FAILOVER).await.with(3);
    assert!(ended.talk.contains("C3: proof level 2 is needed"), "{}", ended.talk);
    assert!(ended.talk.contains("coordctl doctor fx"), "{}", ended.talk);
    assert!(ended.data.is_empty());
    assert!(!stage.calls().iter().any(|call| call.starts_with("watch_plan")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_the_plan_and_starts_nothing() {
    let stage = Stage::with(1).await;
    let bound = Bound {
        name: "lapse".into(),
        ms: 5150,
        formula: "T(1+rho)+m".into(),
        meaning: "the old site is silent by then".into(),
    };
    let reply = StartPlanReply {
        plan: Some(Plan { id: 0, ..plan(["waiting", "waiting"]) }),
        proof_reachable: 2,
        proof_needed: 2,
        bounds: vec![bound],
        refusals: vec![],
        ..StartPlanReply::default()
    };
    stage.script.edit(|script| script.starts.push_back(Ok(reply)));
    let ended = stage.run(&["switchover", "--to", "standby", "--dry-run"]).await.with(0);
    for part in ["nothing is changed yet", "  1  fence primary", "needed: 2 (enough)", "T(1+rho)+m"]
    {
        assert!(ended.data.contains(part), "{part}: {}", ended.data);
    }
    let asked = stage.script.edit(|script| script.started.clone());
    assert!(asked.len() == 1 && asked[0].dry_run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_start_carries_the_same_request_id() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| {
        script.starts.push_back(Err(Status::unavailable("leadership was lost while committing")));
        script.starts.push_back(Ok(started()));
        script.streams.push_back((vec![completed()], Then::Ends));
    });
    let args =
        ["failover", "fx", "--to", "standby", "--yes", "--accept-proof", "1", "--reason", "tested"];
    stage.run(&args).await.with(0);
    let asked = stage.script.edit(|script| script.started.clone());
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1]);
    assert_eq!(asked[0].request_id.len(), 32);
    assert_eq!((asked[0].accept_proof, asked[0].reason.as_str()), (1, "tested"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failback_may_accept_a_weaker_proof_too() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| {
        script.starts.push_back(Ok(started()));
        script.streams.push_back((vec![completed()], Then::Ends));
    });
    let args = ["failback", "fx", "--yes", "--accept-proof", "3", "--reason", "a drill"];
    stage.run(&args).await.with(0);
    let asked = stage.script.edit(|script| script.started.clone());
    assert_eq!((asked[0].kind.as_str(), asked[0].accept_proof), ("failback", 3));
    assert_eq!(asked[0].reason, "a drill");
    stage.run(&["failback", "fx", "--yes", "--accept-proof", "3"]).await.with(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_detaches_and_says_how_to_look_again() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| {
        script.starts.push_back(Ok(started()));
        script.streams.push_back((vec![plan(["done", "running"])], Then::Hangs));
    });
    let mut child = stage
        .command(&FAILOVER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().starts_with("plan 7"));
        assert_eq!(lines.next().unwrap().unwrap(), "[1/2] done    fence primary");
        let pid = child.id().to_string();
        assert!(
            std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success()
        );
        assert!(lines.next().is_none());
        Ended::of(child.wait_with_output().unwrap())
    });
    let ended = ended.await.unwrap().with(130);
    assert!(ended.talk.contains("detached: plan 7 goes on"), "{}", ended.talk);
    assert!(ended.talk.contains("coordctl plan show 7"), "{}", ended.talk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_watch_draws_until_ctrl_c() {
    let stage = Stage::with(1).await;
    let mut child = stage
        .command(&["status", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let code = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let drawn = lines.map_while(Result::ok).filter(|line| line.starts_with("lab: leader c0"));
        assert_eq!(drawn.take(2).count(), 2);
        let pid = child.id().to_string();
        assert!(
            std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success()
        );
        child.wait().unwrap().code()
    });
    // Its stdout is closed by then: whichever it notices first.
    let code = code.await.unwrap();
    assert!(matches!(code, Some(0 | 141)), "{code:?}");
}

/// A terminal: the end that a person holds, and the end for the program.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    (File::from(person), OpenOptions::new().read(true).write(true).open(name).unwrap())
}

/// Runs a failover on a terminal where somebody types `answer` when asked;
/// what was to be seen there, and the exit code.
async fn typed(stage: &Stage, answer: &'static str) -> (String, Option<i32>) {
    let (mut person, program) = terminal();
    let mut command = stage.command(&["failover", "fx", "--to", "standby"]);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command
        .stdin(program.try_clone().unwrap())
        .stdout(program.try_clone().unwrap())
        .stderr(program);
    let mut child = command.spawn().unwrap();
    // It holds the program's end of the terminal, whose closing ends the reading below.
    drop(command);
    let shown = tokio::task::spawn_blocking(move || {
        let (mut shown, mut piece) = (Vec::new(), [0; 512]);
        let mut asked = false;
        // Linux tells that the other end is closed by an error.
        while let Ok(count @ 1..) = person.read(&mut piece) {
            shown.extend_from_slice(&piece[..count]);
            if !asked && String::from_utf8_lossy(&shown).contains("[y/N]") {
                asked = true;
                person.write_all(answer.as_bytes()).unwrap();
            }
        }
        (String::from_utf8_lossy(&shown).into_owned(), child.wait().unwrap().code())
    });
    shown.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_the_plan_and_is_asked() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| {
        let enough = StartPlanReply { proof_reachable: 2, proof_needed: 2, ..started() };
        script.starts.push_back(Ok(enough));
        script.streams.push_back((vec![plan(["done", "running"]), completed()], Then::Ends));
    });
    let (shown, code) = typed(&stage, "n\n").await;
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("1  fence primary") && shown.contains("needed: 2 (enough)"), "{shown}");
    assert!(shown.contains("Start the failover of fx to standby now? [y/N]"), "{shown}");
    assert!(shown.contains("nothing was started"), "{shown}");
    let asked = stage.script.edit(|script| std::mem::take(&mut script.started));
    assert!(asked.len() == 1 && asked[0].dry_run);

    let (shown, code) = typed(&stage, "y\n").await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("[2/2] done    start bridge on s1"), "{shown}");
    assert!(shown.contains("RTO 8.34 s"), "{shown}");
    let asked = stage.script.edit(|script| script.started.clone());
    assert_eq!(asked.iter().map(|request| request.dry_run).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_move_is_not_even_asked_about() {
    let stage = Stage::with(1).await;
    let refusals = vec!["a plan of this group runs already".into()];
    let reply = StartPlanReply { refusals, ..started() };
    stage.script.edit(|script| script.starts.push_back(Ok(reply)));
    let (shown, code) = typed(&stage, "y\n").await;
    assert_eq!(code, Some(3), "{shown}");
    assert!(shown.contains("a plan of this group runs already"), "{shown}");
    assert!(!shown.contains("[y/N]"), "{shown}");
}
