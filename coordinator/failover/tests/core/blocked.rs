//! Trouble that leads to nothing: a person is told, and doctor names the cause.

use crate::world::{World, group, host, spec};
use failover::{CheckResult, Decision, Reason};
use model::{Millis, ServiceState, Severity};

/// The notifications of a block, newest last.
fn told(world: &World) -> Vec<String> {
    let blocks = world.state().outbox.values().filter(|n| n.title.ends_with("no failover"));
    blocks.map(|n| n.body.clone()).collect()
}

fn doctor(world: &World, name: &str, subject: &str) -> (CheckResult, String) {
    let checks = world.engine.examine(&group(), world.now()).unwrap_or_default();
    let found = checks.into_iter().find(|check| check.name == name && check.subject == subject);
    let found = found.unwrap_or_else(|| panic!("no check {name} {subject}"));
    (found.result, found.found)
}

#[test]
fn a_dead_primary_and_no_target_wakes_a_person_once() {
    let mut world = World::running();
    world.agent("s1").alive = false;
    world.pass(5000);
    assert!(told(&world).is_empty(), "a lost standby alone is no block");
    world.agent("p1").alive = false;
    world.pass(5000);
    let first = told(&world);
    let [body] = first.as_slice() else { panic!("{first:?}") };
    for words in ["host p1 is silent", "host s1 is lost", "coordctl failover fx --to standby"] {
        assert!(body.contains(words), "{words} is not in {body}");
    }
    let severity = world.state().outbox.values().next_back().unwrap().severity;
    assert_eq!(severity, Severity::Critical);
    // It comes and goes: the same block is not told again for five minutes.
    for _ in 0..20 {
        world.agent("p1").alive = true;
        world.pass(1000);
        world.agent("p1").alive = false;
        world.pass(4000);
    }
    assert_eq!(told(&world), first);
    world.pass(300_000);
    world.agent("p1").alive = true;
    world.pass(1000);
    world.agent("p1").alive = false;
    world.pass(5000);
    assert_eq!(told(&world).len(), 2);
    world.assert_replay();
}

#[test]
fn a_plan_that_was_given_up_is_told_by_itself_alone() {
    let mut world = World::running();
    let failure = model::Outcome::Failed { detail: "no such image".into() };
    world.agent("s1").answers.insert("start-service".into(), vec![failure; 50].into());
    world.agent("p1").alive = false;
    world.pass(200_000);
    let titles: Vec<_> = world.state().outbox.values().map(|n| n.title.clone()).collect();
    assert!(titles.iter().any(|title| title.ends_with("needs a person")), "{titles:?}");
    assert!(told(&world).is_empty(), "{titles:?}");
}

#[test]
fn a_standby_that_cannot_tell_how_it_stands_is_no_target() {
    let mut world = World::running();
    world.agent("s1").state = ServiceState::Unknown;
    world.pass(500);
    let (result, found) = doctor(&world, "target", "standby");
    assert_eq!(result, CheckResult::Failed);
    assert!(found.contains("bridge on s1 is unknown"), "{found}");
    world.agent("p1").alive = false;
    world.pass(5000);
    assert!(told(&world).iter().any(|body| body.contains("bridge on s1 is unknown")));
    // Docker is back: the failover goes on by itself.
    world.agent("s1").state = ServiceState::Stopped;
    world.pass(2000);
    assert_eq!(world.state().groups[&group()].epoch, model::Epoch(2));
}

#[test]
fn an_active_service_of_which_nobody_can_tell_is_not_called_healthy() {
    let mut world = World::running();
    for _ in 0..400 {
        world.agent("p1").state = ServiceState::Unknown;
        world.pass(25);
    }
    let sight = world.engine.look(&group(), world.now()).unwrap();
    let decision = failover::decide(&sight);
    let unknown = matches!(&decision, Decision::Hold(Reason::ServiceUnknown { .. }));
    assert!(unknown, "{decision}");
    assert_eq!(doctor(&world, "service", "p1").0, CheckResult::Unknown);
    assert_eq!(world.state().groups[&group()].epoch, model::Epoch(1));
}

#[test]
fn a_dead_host_is_no_fault_of_the_voters_and_its_gate_is_not_known() {
    let mut world = World::running();
    world.agent("s1").alive = false;
    world.pass(5000);
    assert_eq!(doctor(&world, "observers", "").0, CheckResult::Ok);
    let (result, found) = doctor(&world, "gate", "s1");
    assert_eq!(result, CheckResult::Unknown);
    assert!(found.contains("when last heard"), "{found}");
    assert_eq!(doctor(&world, "contact", host("s1").as_str()).0, CheckResult::Failed);
}

#[test]
fn a_target_that_dies_in_the_middle_of_its_step_is_not_waited_for_to_the_end() {
    let mut spec = spec();
    spec.services.iter_mut().for_each(|service| service.start_timeout = Millis(60_000));
    let mut world = World::new().started(spec);
    let failure = model::Outcome::Failed { detail: "the image is being loaded".into() };
    world.agent("s1").answers.insert("start-service".into(), vec![failure].into());
    world.agent("p1").alive = false;
    let tried = |world: &World| world.transcript.iter().any(|line| line.contains("being loaded"));
    while !tried(&world) {
        world.pass(25);
    }
    // The next attempt has a minute for the start.
    world.agent("s1").alive = false;
    let from = world.transcript.len();
    world.pass(40_000);
    let since = world.transcript[from..].join("\n");
    assert!(since.contains("host s1 is lost: silent for 15 s"), "{since}");
    assert!(!since.contains("not done within"), "{since}");
}
