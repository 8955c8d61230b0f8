//! Any decision and any non-decision can be asked again (explain).

use crate::world::{World, group};
use failover::{Considered, Decision, Sight, decide, explain_considered, explain_incident};
use model::Millis;

fn considered(world: &World) -> Vec<Considered> {
    world.state().groups[&group()].considered.iter().cloned().collect()
}

#[test]
fn every_hold_in_trouble_is_recorded_once_and_explained_again() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    world.fellow_sees("w", "p1");
    world.agent("s1").alive = false;
    world.pass(20_000);
    world.followers_lose("p1");
    world.pass(20_000);
    let all = considered(&world);
    let kinds: Vec<&str> = all
        .iter()
        .map(|one| match &one.decision {
            Decision::Hold(reason) => reason.word(),
            Decision::Open(_) => "open",
        })
        .collect();
    assert_eq!(kinds, ["suspect", "observers-disagree", "suspect", "no-target"]);
    for one in &all {
        let explained = explain_considered(one);
        assert!(explained.reproduced, "{explained:?}");
        assert_eq!(explained.decision, "hold");
        for voter in ["c1", "c2", "w"] {
            assert!(explained.because.iter().any(|line| line.contains(voter)), "{explained:?}");
        }
    }
    let last = explain_considered(all.last().unwrap()).because.join("\n");
    assert!(last.contains("Block: site standby could not take over: host s1 is lost"), "{last}");
    world.assert_replay();
}

#[test]
fn evidence_that_was_tampered_with_is_not_reproduced() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    world.agent("s1").alive = false;
    world.pass(5000);
    let mut one = considered(&world).pop().unwrap();
    one.evidence.cool_down_left = Millis(5000);
    let explained = explain_considered(&one);
    assert!(!explained.reproduced);
    let last = explained.because.last().unwrap();
    assert!(last.starts_with("NOT REPRODUCED") && last.contains("cool-down"), "{last}");
}

#[test]
fn a_group_remembers_its_newest_fifty_holds_at_most_one_a_second() {
    let mut world = World::running();
    world.agent("s1").alive = false;
    for _ in 0..120 {
        world.agent("p1").cut = true;
        world.pass(700);
        world.agent("p1").cut = false;
        world.pass(100);
    }
    let all = considered(&world);
    assert_eq!(all.len(), 50);
    assert!(all.windows(2).all(|pair| pair[1].at.since(pair[0].at) >= Millis(1000)));
    assert!(world.engine.look(&group(), world.now()).unwrap().plan.is_none());
    world.assert_replay();
}

#[test]
fn a_record_of_a_hold_never_keeps_a_plan_waiting() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    world.pass(400);
    assert_eq!(considered(&world).len(), 1);
    let opened = |world: &World| world.state().running_plan(&group()).is_some();
    assert!(!opened(&world));
    // From here on no append is answered at all, and the plan is proposed all the same.
    world.commits = false;
    world.pass(400);
    world.commits = true;
    world.pass(4000);
    assert!(world.state().groups[&group()].epoch.0 == 2, "{}", world.transcript.join("\n"));
}

#[test]
fn evidence_of_the_version_before_decides_as_it_did() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    world.pass(3000);
    let mut incident = world.state().incidents.values().next_back().unwrap().clone();
    let mut json = serde_json::to_value(&incident.evidence).unwrap();
    let forget = |value: &mut serde_json::Value, names: &[&str]| {
        let map = value.as_object_mut().unwrap();
        names.iter().for_each(|name| drop(map.remove(*name).unwrap()));
    };
    forget(&mut json, &["voters", "on_feed_silent", "max_data_lag"]);
    for site in json["sites"].as_array_mut().unwrap() {
        for host in site["hosts"].as_array_mut().unwrap() {
            forget(host, &["observers", "heard_by_others", "stale", "feeds", "data"]);
        }
    }
    let old: Sight = serde_json::from_value(json).unwrap();
    assert!(matches!(decide(&old), Decision::Open(_)));
    incident.evidence = old;
    let explained = explain_incident(&incident);
    assert!(explained.reproduced);
    assert!(explained.because.iter().any(|line| line.contains("without observers")));
}

#[test]
fn a_rehearsal_asks_what_a_silent_site_would_lead_to() {
    let mut world = World::running();
    let sight = world.engine.look(&group(), world.now()).unwrap();
    let silent = sight.without(sight.active.as_ref().unwrap());
    assert!(matches!(decide(&silent), Decision::Open(_)), "{}", decide(&silent));
    (world.fellow("c2").mute, world.fellow("w").mute) = (true, true);
    world.pass(500);
    let sight = world.engine.look(&group(), world.now()).unwrap();
    let silent = sight.without(sight.active.as_ref().unwrap());
    assert!(decide(&silent).to_string().contains("1 of 3 voters"), "{}", decide(&silent));
}
