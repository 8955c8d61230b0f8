//! Orders for one host: what is asked, and waiting for what came of it.

use crate::stage::Stage;
use proto::v1::{EmergencyStopReply, Host, HostGroup, HostOrderOutcome, HostService, StoppedGroup};

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

/// A host as it is once the third order was taken up there, or before.
fn stopped(name: &str, stop_order: u64, state: &str) -> Host {
    let group = HostGroup {
        group: "fx".into(),
        gate: "closed".into(),
        stopped: stop_order == 3,
        stop_order,
        ..HostGroup::default()
    };
    let service = HostService {
        name: "mt4".into(),
        group: "fx".into(),
        exclusive: true,
        state: if stop_order == 3 { "stopped".into() } else { "running".into() },
        ..HostService::default()
    };
    let (groups, services) = (vec![group], vec![service]);
    Host { name: name.into(), state: state.into(), groups, services, ..Host::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_stop_is_ordered_and_waited_for_host_by_host() {
    let stage = Stage::with(1).await;
    let of = StoppedGroup {
        group: "fx".into(),
        hosts: vec!["p1".into(), "s1".into()],
        plan: "plan 4 (failover to standby) ends held, since standby is stopped".into(),
    };
    stage.script.edit(|script| {
        script.stop = EmergencyStopReply { order: 3, groups: vec![of] };
        script.hosts = vec![stopped("p1", 2, "alive"), stopped("s1", 3, "alive")];
    });
    let script = stage.script.clone();
    let agent = tokio::spawn(async move {
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(15);
        while script.edit(|script| script.calls.iter().filter(|c| c.contains("status")).count()) < 2
        {
            assert!(tokio::time::Instant::now() < end, "nobody waits");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        script.edit(|script| script.hosts[0] = stopped("p1", 3, "alive"));
    });
    let args = ["emergency-stop", "fx", "--reason", "wrong orders", "--yes", "--json"];
    let ended = stage.run(&args).await.with(0);
    agent.await.unwrap();
    let told = &ended.json()["groups"][0];
    assert!(told["plan"].as_str().unwrap().contains("ends held"), "{told}");
    assert!(told["hosts"].as_array().unwrap().iter().all(|host| host["state"] == "done"), "{told}");
    let asked = stage.script.edit(|script| script.stops.clone());
    assert_eq!((asked[0].group.as_str(), asked[0].reason.as_str()), ("fx", "wrong orders"));
    // A host that nobody hears: recorded, and said so.
    stage.script.edit(|script| script.hosts[0] = stopped("p1", 2, "lost"));
    let args = ["emergency-stop", "--all", "--site", "primary", "--reason", "halt", "--yes"];
    let ended = stage.run(&args).await.with(4);
    assert!(ended.data.contains("no lease is granted to it"), "{}", ended.data);
    // Released by the coordinators, and somebody stopped it on the host.
    stage.script.edit(|script| script.hosts[0] = stopped("p1", 3, "alive"));
    let ended = stage.run(&["emergency-stop", "fx", "--release", "--yes"]).await.with(1);
    assert!(ended.data.contains("understudy-agent emergency-stop --release fx"), "{}", ended.data);
    let asked = stage.script.edit(|script| script.stops.clone());
    assert_eq!((asked[1].group.as_str(), asked[1].site.as_str()), ("", "primary"));
    assert!(asked[2].release);
    // Nothing is asked without a reason, or without a terminal to ask on.
    for wrong in
        [&["emergency-stop", "fx", "--yes"][..], &["emergency-stop", "fx", "--reason", "x"]]
    {
        stage.run(wrong).await.with(2);
    }
    assert_eq!(stage.script.edit(|script| script.stops.len()), 3);
}
