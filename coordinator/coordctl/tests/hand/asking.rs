//! Questions and small changes: finding the leader, refusals, JSON, files.

use crate::stage::{Stage, refused_by};
use proto::v1::{ApplyReply, Change, Check, DoctorReply, Fault, Group};
use tonic::Status;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_names_the_leader() {
    let stage = Stage::with(2).await;
    stage.know(&[0]);
    stage.script.edit(|script| script.leader = Some(1));
    let ended = stage.run(&["status", "--json"]).await.with(0);
    assert_eq!(ended.json()["leader"], "c1");
    assert_eq!(stage.calls(), ["status@0", "status@1"]);
    // The new member is remembered for the day when the old one is gone.
    assert!(ended.talk.contains("this context now also knows"), "{}", ended.talk);
    let text = std::fs::read_to_string(stage.path("context/context.toml")).unwrap();
    let second = stage.script.edit(|script| script.addresses[1].to_string());
    assert!(text.contains(&second), "{text}");
    let table = stage.run(&["status"]).await.with(0);
    assert!(
        table.data.contains("lab: leader c1") && !table.data.contains('\x1b'),
        "{}",
        table.data
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_election_is_waited_for_and_then_given_up() {
    let stage = Stage::with(2).await;
    stage.script.edit(|script| script.leader = None);
    let ended = stage.run(&["--timeout", "3s", "plan", "list"]).await.with(4);
    assert!(ended.talk.contains("knows of no leader at the moment"), "{}", ended.talk);
    assert!(ended.data.is_empty());

    let script = stage.script.clone();
    let elect = tokio::spawn(async move {
        let asked = script.edit(|script| script.calls.len());
        wait_for("the question", || script.edit(|script| script.calls.len() > asked)).await;
        script.edit(|script| script.leader = Some(1));
    });
    stage.run(&["--timeout", "30s", "plan", "list"]).await.with(0);
    elect.await.unwrap();
}

/// Waits for a condition, at most ten seconds.
async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "{what} did not come");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_their_words_and_codes() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| {
        script.refusals.insert("hold", refused_by("C7", "a plan runs"));
        script.refusals.insert("remove_member", Status::permission_denied("needs rank admin"));
        script.refusals.insert("timing", Status::invalid_argument("no such group `fy`"));
        script.refusals.insert("show_plan", Status::not_found("there is no plan 9"));
        script.refusals.insert("list_certificates", Status::internal("the journal is closed"));
    });
    let ended = stage.run(&["hold"]).await.with(3);
    assert!(ended.talk.contains("refused by safety rule C7: a plan runs"), "{}", ended.talk);
    let ended = stage.run(&["members", "remove", "c9"]).await.with(1);
    assert!(ended.talk.contains("permission denied: needs rank admin"), "{}", ended.talk);
    stage.run(&["timing", "fy"]).await.with(2);
    let ended = stage.run(&["plan", "show", "9"]).await.with(1);
    assert!(ended.talk.contains("no plan 9") && ended.talk.contains("hint:"), "{}", ended.talk);
    stage.run(&["certs", "list"]).await.with(1);
    stage.run(&["certs", "revoke", "not-hex", "--reason", "x"]).await.with(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_certificate_is_told_at_once() {
    let stage = Stage::with(2).await;
    let mut command = stage.command(&["status", "--timeout", "60s"]);
    command.env("UNDERSTUDY_CONTEXT", stage.foreign_context());
    let begun = std::time::Instant::now();
    let ended = Stage::finish(command).await.with(4);
    assert!(begun.elapsed().as_secs() < 30, "it went on asking");
    assert!(
        ended.talk.contains("no coordinator accepts this context's certificate"),
        "{}",
        ended.talk
    );
    assert!(ended.talk.contains("authority"), "{}", ended.talk);
    assert!(stage.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_chosen_only_when_it_is_alone() {
    let stage = Stage::with(1).await;
    stage.run(&["timing"]).await.with(0);
    stage.script.edit(|script| {
        script.groups.push(Group { name: "metals".into(), ..Default::default() });
    });
    let ended = stage.run(&["timing"]).await.with(2);
    assert!(ended.talk.contains("fx, metals"), "{}", ended.talk);
    let held = stage.run(&["hold", "--all", "--json"]).await.with(0);
    assert_eq!(held.json(), serde_json::json!({"groups": ["fx", "metals"], "held": true}));
    // What was stopped for all at once is allowed for all at once.
    let before = stage.calls().len();
    let held = stage.run(&["resume", "--all"]).await.with(0);
    assert!(held.data.contains("fx is resumed") && held.data.contains("metals is resumed"));
    let calls = stage.calls();
    assert_eq!(calls[before..].iter().filter(|call| *call == "resume@0").count(), 1, "{calls:?}");
    let held = stage.run(&["resume", "metals"]).await.with(0);
    assert!(held.data.starts_with("metals is resumed"), "{}", held.data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_applied_or_their_faults_shown() {
    let stage = Stage::with(1).await;
    let dir = stage.path("groups");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("fx.toml"), "[group]\nlease = 5\n").unwrap();
    let given = dir.to_str().unwrap();
    stage.script.edit(|script| {
        script.apply.faults = vec![Fault {
            file: "fx.toml".into(),
            line: 2,
            column: 9,
            field: "group.lease".into(),
            message: "expected text".into(),
            hint: "write \"5s\"".into(),
        }];
    });
    let ended = stage.run(&["apply", "-f", given]).await.with(2);
    let expected =
        format!("{given}/fx.toml:2:9: group.lease: expected text\n  hint: write \"5s\"\n");
    assert!(ended.talk.starts_with(&expected), "{}", ended.talk);
    let ended = stage.run(&["diff", "-f", given, "--json"]).await.with(2);
    assert_eq!(ended.json()["faults"][0]["line"], 2);

    let lines = vec!["lease: 5s -> 2s".into()];
    let change = Change { group: "fx".into(), kind: "changed".into(), lines };
    stage.script.edit(|script| script.apply = ApplyReply { faults: vec![], changes: vec![change] });
    let ended = stage.run(&["apply", "-f", given]).await.with(0);
    assert_eq!(ended.data, "group fx: changed\n  lease: 5s -> 2s\n");
    let sent = stage.script.edit(|script| script.applied.last().cloned()).unwrap();
    assert_eq!(sent.request_id.len(), 32);
    assert_eq!(sent.documents[0].text, "[group]\nlease = 5\n");

    let back = stage.path("back");
    stage.run(&["export", "-o", back.to_str().unwrap()]).await.with(0);
    assert_eq!(std::fs::read_to_string(back.join("fx.toml")).unwrap(), "[group]\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_done_twice_is_not_asked_twice() {
    let stage = Stage::with(2).await;
    let ended = stage.run(&["token", "create", "--host", "p1"]).await.with(0);
    assert_eq!(ended.data, "ust1.abc\n");
    assert!(ended.talk.contains("understudy-agent enroll --token TOKEN"), "{}", ended.talk);
    stage.script.edit(|script| {
        script.calls.clear();
        script.refusals.insert("create_token", Status::unavailable("the leader is stopping"));
    });
    let ended = stage.run(&["token", "create", "--host", "p1"]).await.with(4);
    assert!(ended.talk.contains("may or may not be done"), "{}", ended.talk);
    let asked = stage.calls().iter().filter(|call| *call == "create_token@0").count();
    assert_eq!(asked, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_ready_fails_the_doctor() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| script.doctor = DoctorReply { ready: true, checks: vec![] });
    stage.run(&["doctor"]).await.with(0);
    let check = Check {
        name: "feed".into(),
        subject: "s1".into(),
        result: "failed".into(),
        found: "no tick for 9 s; at most 3 s are allowed".into(),
        hint: "start the publisher on s1".into(),
    };
    stage.script.edit(|script| script.doctor = DoctorReply { ready: false, checks: vec![check] });
    let ended = stage.run(&["doctor"]).await.with(1);
    assert!(ended.data.contains("what to do:\nfeed (s1): start the publisher"), "{}", ended.data);
    assert_eq!(stage.run(&["doctor", "--json"]).await.with(1).json()["ready"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_printed_as_it_was_written() {
    let stage = Stage::with(1).await;
    assert_eq!(stage.run(&["incident", "report", "3"]).await.with(0).data, "# Incident 3\n");
    let json = stage.run(&["incident", "report", "3", "--format", "json"]).await.with(0);
    assert_eq!(json.json()["incident"], 3);
    assert_eq!(stage.run(&["incident", "report", "3", "--json"]).await.with(0).data, json.data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_prints_one_document() {
    let stage = Stage::with(1).await;
    for args in [
        &["status"][..],
        &["timing"],
        &["explain", "3"],
        &["explain", "--now"],
        &["plan", "list"],
        &["plan", "show", "1"],
        &["incident", "list"],
        &["incident", "show", "3"],
        &["export"],
        &["members", "list"],
        &["members", "transfer"],
        &["members", "remove", "c9"],
        &["certs", "list"],
        &["certs", "revoke", "0a1b", "--reason", "lost"],
        &["notify", "outbox"],
        &["token", "create", "--host", "p1"],
        &["resume"],
    ] {
        let mut args = args.to_vec();
        args.push("--json");
        let ended = stage.run(&args).await.with(0);
        assert!(ended.json().is_object(), "{args:?}: {ended:?}");
        args.pop();
        let ended = stage.run(&args).await.with(0);
        assert!(!ended.data.trim().is_empty(), "{args:?}: {ended:?}");
    }
}
