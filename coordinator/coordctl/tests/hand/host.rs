//! Orders for one host: what is asked, and waiting for what came of it.

use crate::stage::Stage;
use proto::v1::{Host, HostOrderOutcome};

fn host(order: u64, done: bool, detail: &str) -> Host {
    let outcome = HostOrderOutcome { order, done, detail: detail.into() };
    Host { name: "p1".into(), state: "alive".into(), order: Some(outcome), ..Host::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_isolated_confirmed_and_released_by_orders_that_are_waited_for() {
    let stage = Stage::with(1).await;
    // An older order's outcome is none of the new one's.
    stage.script.edit(|script| script.hosts = vec![host(9, true, "old")]);
    let script = stage.script.clone();
    let agent = tokio::spawn(async move {
        for order in 1..=3 {
            let end = tokio::time::Instant::now() + std::time::Duration::from_secs(15);
            while script.edit(|script| script.ordered.len()) < order {
                assert!(tokio::time::Instant::now() < end, "order {order} did not come");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            script.edit(|script| script.hosts = vec![host(order as u64, true, "as ordered")]);
        }
    });
    let args = ["isolate", "p1", "--for", "12h", "--reason", "an odd process", "--json"];
    let ended = stage.run(&args).await.with(0);
    assert_eq!(ended.json()["detail"], "as ordered");
    assert!(ended.talk.contains("coordctl isolate confirm p1"), "{}", ended.talk);
    stage.run(&["isolate", "confirm", "p1"]).await.with(0);
    stage.run(&["release", "p1", "--reason", "clean"]).await.with(0);
    agent.await.unwrap();
    let ordered = stage.script.edit(|script| script.ordered.clone());
    let deeds: Vec<&str> = ordered.iter().map(|order| order.deed.as_str()).collect();
    assert_eq!(deeds, ["isolate", "confirm", "release"]);
    let first = &ordered[0];
    assert_eq!((first.profile.as_str(), first.for_ms), ("breach", 43_200_000));
    assert_eq!((first.host.as_str(), first.reason.as_str()), ("p1", "an odd process"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_agent_refuses_is_shown_word_for_word() {
    let stage = Stage::with(1).await;
    let words = "agent.toml on this host does not let coordinators isolate it";
    stage.script.edit(|script| script.hosts = vec![host(1, false, words)]);
    let ended = stage.run(&["isolate", "p1", "--profile", "egress-block"]).await.with(3);
    assert!(ended.talk.contains(words), "{}", ended.talk);
    // Without a host, or forced without a reason, nothing is asked.
    for wrong in [&["isolate"][..], &["isolate", "p1", "--force"], &["release"]] {
        stage.run(wrong).await.with(2);
    }
    assert_eq!(stage.script.edit(|script| script.ordered.len()), 1);
}
