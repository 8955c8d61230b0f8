//! Backups on a host: the host's words and exit code are this program's own.

use crate::stage::Stage;
use proto::v1::{TaskEnd, task::Work, task_event::Body};

fn says(stage: &Stage, out: &str, talk: &str, exit: u32, detail: &str) {
    let end = TaskEnd { exit, detail: detail.into() };
    stage.script.edit(|script| {
        script.events = vec![
            Body::Out(out.as_bytes().to_vec()),
            Body::Talk(talk.as_bytes().to_vec()),
            Body::End(end),
        ];
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_host_says_is_shown_and_its_exit_code_kept() {
    let stage = Stage::with(2).await;
    says(&stage, "{\"done\":[]}\n", "understudy-agent: db failed\n", 1, "");
    let args = ["backup", "run", "db", "--host", "p1", "--reason", "an upgrade", "--json"];
    let ended = stage.run(&args).await.with(1);
    assert_eq!(ended.json()["done"], serde_json::json!([]));
    assert!(ended.talk.contains("db failed"), "{}", ended.talk);
    let asked = stage.script.edit(|script| script.tasks.pop()).unwrap();
    assert_eq!((asked.host.as_str(), asked.reason.as_str()), ("p1", "an upgrade"));
    assert!(asked.json && asked.request_id.len() == 32 && asked.limit_ms == 6 * 3_600_000);
    let Some(Work::BackupRun(run)) = asked.task.unwrap().work else { panic!("another task") };
    assert_eq!(run.source, "db");

    says(&stage, "", "", 3, "agent.toml on this host does not let coordinators order a backup");
    let ended = stage.run(&["backup", "list", "--host", "p1"]).await.with(3);
    assert!(ended.talk.contains("does not let coordinators"), "{}", ended.talk);
    says(&stage, "SOURCE\n", "", 0, "");
    let all: [&[&str]; 2] = [
        &["backup", "verify", "db", "--level", "3", "--host", "p1"],
        &["backup", "prune", "--dry-run", "--host", "p1"],
    ];
    for args in all {
        stage.run(args).await.with(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_asks_first_and_one_that_is_not_proven_needs_a_reason() {
    let stage = Stage::with(1).await;
    says(&stage, "", "", 0, "");
    let restore = |more: &[&'static str]| {
        let mut args = vec!["backup", "restore", "db", "--host", "p1"];
        args.extend(more);
        args
    };
    // Without a terminal nothing is asked and nothing is done.
    for wrong in [&[][..], &["--unverified", "--yes"], &["--at", "1h ago", "--snapshot", "0a"]] {
        stage.run(&restore(wrong)).await.with(2);
    }
    assert!(stage.script.edit(|script| script.tasks.is_empty()));
    let goes: [&[&str]; 4] = [
        &["--yes"],
        &["--dry-run"],
        &["--to", "/srv/copy"],
        &["--unverified", "--reason", "nothing else is left", "--yes"],
    ];
    for more in goes {
        stage.run(&restore(more)).await.with(0);
    }
    let asked = stage.script.edit(|script| std::mem::take(&mut script.tasks));
    let of = |at: usize| match asked[at].task.clone().unwrap().work.unwrap() {
        Work::BackupRestore(restore) => restore,
        other => panic!("{other:?}"),
    };
    assert!(!of(0).dry_run && of(1).dry_run && of(2).to == "/srv/copy" && of(3).unverified);
    assert_eq!(asked[3].reason, "nothing else is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_is_told_and_not_taken_for_an_end() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| script.events = vec![Body::Out(b"half".to_vec())]);
    let ended = stage.run(&["backup", "list", "--host", "p1"]).await.with(4);
    assert!(ended.talk.contains("lost sight of the task on p1"), "{}", ended.talk);
}
