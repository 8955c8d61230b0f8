//! Could it fail over now? Every check with its value, one answer for all, and a word
//! when the answer has changed for good.

use crate::world::{World, group, host, site, spec};
use failover::{Check, CheckResult, GroupSpec, Minimums, PlanKind};
use model::{Millis, ProbeKind, ProbeName, Reading, Verdict};

/// Without a feed, of which these agents have no reading.
fn plain() -> GroupSpec {
    GroupSpec { feeds: vec![], ..spec() }
}

fn reading(name: &str, kind: ProbeKind, verdict: Verdict, measures: &[(&str, i64)]) -> Reading {
    Reading {
        probe: ProbeName::new(name).unwrap(),
        kind,
        verdict,
        summary: "as found".into(),
        measures: measures.iter().map(|(name, value)| ((*name).into(), *value)).collect(),
        age: Millis(300),
    }
}

fn checks(world: &World, name: &str, subject: &str) -> Vec<Check> {
    let mut checks = world.engine.examine(&group(), world.now()).unwrap();
    checks.retain(|check| check.name == name && check.subject == subject);
    checks
}

fn check(world: &World, name: &str, subject: &str) -> Check {
    let found = checks(world, name, subject);
    assert_eq!(found.len(), 1, "{name} of {subject}: {found:?}");
    found.into_iter().next().unwrap()
}

fn ready(world: &World) -> Result<(), String> {
    let found = world.engine.readiness(&group(), world.now()).unwrap();
    // Doctor's first line is the same answer.
    let first = check(world, "readiness", "");
    assert_eq!((first.result == CheckResult::Ok, &first.found), (found.ready, &found.words()));
    if found.ready { Ok(()) } else { Err(found.why) }
}

#[test]
fn a_reading_that_is_missing_is_unknown_and_says_how_to_have_it() {
    let mut world = World::new().started(plain());
    world.pass(1000);
    for (name, words) in [
        ("cpu", "kind = \"host\""),
        ("memory", "kind = \"host\""),
        ("disk", "kind = \"disk\""),
        ("reach", "kind = \"tcp\""),
        ("docker", "upgrade"),
        ("images", "upgrade"),
        ("files", "upgrade"),
        ("ports", "upgrade"),
        ("identity", "upgrade"),
    ] {
        for of in ["p1", "s1"] {
            let found = check(&world, name, of);
            assert_eq!(found.result, CheckResult::Unknown, "{found:?}");
            assert!(found.hint.contains(words), "{found:?}");
        }
    }
    assert_eq!(check(&world, "isolation", "s1").result, CheckResult::Ok);
    assert_eq!(ready(&world), Ok(()), "unknown is not false");
}

#[test]
fn every_value_is_held_against_its_minimum_on_every_site() {
    let minimums = Minimums { cpu_idle_percent: Some(50), memory_mib: Some(512), disk_mib: None };
    let mut world = World::new().started(GroupSpec { minimums, ..plain() });
    let host_probe = |busy, mib: i64| {
        let measures = [("cpu_percent", busy), ("available_memory_bytes", mib << 20)];
        reading("host", ProbeKind::Host, Verdict::Ok, &measures)
    };
    let disk =
        |mib: i64| reading("data", ProbeKind::Disk, Verdict::Ok, &[("free_bytes", mib << 20)]);
    for of in ["p1", "s1"] {
        world.agent(of).readings = vec![host_probe(50, 512), disk(1024)];
    }
    world.pass(1000);
    for name in ["cpu", "memory", "disk"] {
        let found = check(&world, name, "s1");
        assert_eq!(found.result, CheckResult::Ok, "{found:?}");
    }
    assert_eq!(check(&world, "cpu", "s1").found, "50 % idle (at least 50 % idle)");
    assert_eq!(ready(&world), Ok(()));
    // The policy's minimum fails, the default's warns.
    for of in ["p1", "s1"] {
        world.agent(of).readings = vec![host_probe(51, 511), disk(1023)];
    }
    world.pass(1000);
    assert_eq!(check(&world, "cpu", "s1").result, CheckResult::Failed);
    let memory = check(&world, "memory", "s1");
    assert_eq!(memory.result, CheckResult::Failed);
    assert_eq!(memory.found, "511 MiB available (at least 512 MiB available)");
    assert_eq!(check(&world, "disk", "s1").result, CheckResult::Warn);
    // What the active site lacks keeps nobody from taking over.
    assert_eq!(check(&world, "cpu", "p1").result, CheckResult::Warn);
    let why = ready(&world).unwrap_err();
    assert!(why.starts_with("cpu of s1: 49 % idle"), "{why}");
    // An old value says nothing.
    let mut old = host_probe(51, 511);
    old.age = Millis(70_000);
    world.agent("s1").readings = vec![old, disk(1024)];
    world.pass(1000);
    assert_eq!(check(&world, "cpu", "s1").result, CheckResult::Unknown);
}

#[test]
fn what_the_agent_found_of_a_recovery_stands_against_it() {
    let mut world = World::new().started(plain());
    let own = |verdict| {
        let names = ["docker", "images", "files", "ports", "identity"];
        names.map(|name| reading(&format!("recovery.{name}"), ProbeKind::Recovery, verdict, &[]))
    };
    world.agent("s1").readings = own(Verdict::Ok).into();
    let there = reading("reach-p1", ProbeKind::Tcp, Verdict::Ok, &[("connect_ms", 1)]);
    world.agent("s1").readings.push(there);
    world.pass(1000);
    for name in ["docker", "images", "files", "ports", "identity", "reach"] {
        assert_eq!(check(&world, name, "s1").result, CheckResult::Ok, "{name}");
    }
    assert_eq!(checks(&world, "probe", "s1"), [], "each is shown once");
    for (at, name) in ["docker", "images", "files", "ports", "identity", "reach"].iter().enumerate()
    {
        world.agent("s1").readings[at].verdict = Verdict::Critical;
        world.pass(1000);
        let found = check(&world, name, "s1");
        assert!(found.result == CheckResult::Failed && !found.hint.is_empty(), "{found:?}");
        let why = ready(&world).unwrap_err();
        assert!(why.starts_with(&format!("{name} of s1: ")), "{why}");
        world.agent("s1").readings[at].verdict = Verdict::Ok;
        world.pass(1000);
    }
    world.agent("s1").isolation = "egress-block, by ann".into();
    world.pass(1000);
    let why = ready(&world).unwrap_err();
    assert_eq!(why, "isolation of s1: isolated: egress-block, by ann");
}

fn told(world: &World) -> Vec<String> {
    let titles = world.state().outbox.values().map(|n| n.title.clone());
    titles
        .filter(|title| title.contains("could fail over") || title.contains("could not"))
        .collect()
}

#[test]
fn a_change_of_the_answer_is_told_once_and_only_when_it_lasts() {
    let mut world = World::new().started(plain());
    world.pass(60_000);
    assert_eq!(told(&world), [""; 0]);
    // It comes and goes: no word.
    for _ in 0..3 {
        world.agent("s1").alive = false;
        world.pass(15_000);
        world.agent("s1").alive = true;
        world.pass(15_000);
    }
    assert_eq!(told(&world), [""; 0]);
    world.agent("s1").alive = false;
    world.pass(120_000);
    assert_eq!(told(&world), ["fx could not fail over now"], "{}", world.transcript.join("\n"));
    // A new leader tells it no second time.
    world.new_leader(2);
    world.pass(120_000);
    assert_eq!(told(&world).len(), 1);
    world.agent("s1").alive = true;
    world.pass(60_000);
    assert_eq!(told(&world), ["fx could not fail over now", "fx could fail over again"]);
    world.assert_replay();
}

#[test]
fn in_a_cool_down_status_and_doctor_say_the_same_and_nobody_is_woken() {
    let cool_down = Millis::from_secs(600);
    let mut world = World::new().started(GroupSpec { cool_down, ..plain() });
    world.ask(PlanKind::Failover, Some("standby"), None);
    world.pass(5000);
    assert_eq!(world.state().groups[&group()].active, Some(site("standby")));
    assert!(world.agents.contains_key(&host("p1")));
    world.pass(60_000);
    let why = ready(&world).unwrap_err();
    assert!(why.contains("cool-down"), "{why}");
    assert_eq!(told(&world), [""; 0]);
    world.pass(600_000);
    assert_eq!(ready(&world), Ok(()));
    assert_eq!(told(&world), [""; 0]);
}

#[test]
fn a_group_that_waits_for_a_person_could_fail_over_by_hand() {
    let mut world = World::new().started(GroupSpec { automatic: false, ..plain() });
    world.pass(1000);
    assert_eq!(ready(&world), Ok(()));
    let words = check(&world, "readiness", "").found;
    assert!(words.contains("yes, by hand"), "{words}");
    world.agent("s1").alive = false;
    world.pass(2000);
    assert!(ready(&world).unwrap_err().contains("host s1 is lost"));
}
