//! `backup rpo`: every source against its bounds, and the exit code.

use crate::stage::Stage;
use proto::v1::{Host, HostBackup};

fn host(name: &str, source: &str, group: &str, state: &str, rpo_ms: Option<u64>) -> Host {
    let backup = HostBackup {
        source: source.into(),
        group: group.into(),
        state: state.into(),
        rpo_ms,
        max_ms: Some(3_600_000),
        ..HostBackup::default()
    };
    Host { name: name.into(), state: "alive".into(), backups: vec![backup], ..Host::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_beyond_what_is_acceptable_is_exit_code_1() {
    let stage = Stage::with(1).await;
    stage.script.edit(|script| {
        let fine = host("p1", "db", "fx", "ok", Some(5000));
        script.hosts = vec![fine, host("p2", "keys", "", "failed", None)];
    });
    let ended = stage.run(&["backup", "rpo"]).await.with(1);
    let lines: Vec<&str> = ended.data.lines().collect();
    assert!(lines[1].starts_with("p2") && lines[2].starts_with("p1"), "{}", ended.data);
    let ended = stage.run(&["backup", "rpo", "--json"]).await.with(1);
    let sources = ended.json()["sources"].as_array().unwrap().clone();
    assert_eq!((sources.len(), &sources[0]["host"]), (2, &"p1".into()));
    assert_eq!((&sources[0]["rpo_ms"], &sources[1]["state"]), (&5000.into(), &"failed".into()));
    let ended = stage.run(&["backup", "rpo", "fx"]).await.with(0);
    assert!(ended.data.contains("db") && !ended.data.contains("keys"), "{}", ended.data);
    let ended = stage.run(&["status"]).await.with(0);
    assert!(ended.data.contains("backup: p2: keys: no proven copy"), "{}", ended.data);
    stage.script.edit(|script| script.hosts.clear());
    let ended = stage.run(&["backup", "rpo"]).await.with(0);
    assert!(ended.talk.contains("[[backup]]"), "{}", ended.talk);
}
