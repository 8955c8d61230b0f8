//! Troubles that a plan must come through, or must not be fooled by: each was
//! once a way to harm.

use crate::world::{World, group, host, site};
use failover::{DeliveryResult, Event, PlanKind, PlanState};
use model::{Epoch, Millis, Outcome, Refusal, ServiceState, Term};

fn epoch(world: &World) -> Epoch {
    world.state().groups[&group()].epoch
}

#[test]
fn a_living_host_that_says_it_still_runs_is_not_believed_lapsed() {
    let mut world = World::running();
    let failure = Outcome::Failed { detail: "dockerd hangs".into() };
    world.agent("p1").answers.insert("fence".into(), vec![failure; 50].into());
    for _ in 0..2000 {
        world.agent("p1").state = ServiceState::Unhealthy;
        world.pass(25);
    }
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
    assert_ne!(world.agent("s1").state, ServiceState::Running);
    let plan = world.state().plans.values().next_back().unwrap();
    assert!(matches!(&plan.state, PlanState::Held { reason } if reason.contains("dockerd")));
}

#[test]
fn an_acknowledgement_that_names_too_little_is_none() {
    let mut world = World::running();
    let empty = Outcome::Fenced { stopped: vec![], gate_closed: false };
    world.agent("p1").answers.insert("fence".into(), vec![empty; 50].into());
    world.ask(PlanKind::Switchover, Some("standby"), None);
    for _ in 0..2000 {
        world.agent("p1").state = ServiceState::Running;
        world.pass(25);
    }
    assert_eq!(epoch(&world), Epoch(1));
    let plan = world.state().plans.values().next_back().unwrap();
    let held = matches!(&plan.state, PlanState::Held { reason } if reason.contains("bridge"));
    assert!(held, "{}", world.transcript.join("\n"));
}

#[test]
fn a_host_that_somebody_barred_is_no_target() {
    let mut world = World::running();
    world.agent("s1").barred = "it is isolated after a breach".into();
    world.pass(1000);
    world.agent("p1").alive = false;
    world.pass(30_000);
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
    let now = world.now();
    let sight = world.engine.look(&group(), now).unwrap();
    let why = failover::decide(&sight).to_string();
    assert!(why.contains("host s1 may not be active: it is isolated after a breach"), "{why}");
    // As soon as it may be again, it is.
    world.agent("s1").barred.clear();
    world.pass(30_000);
    assert_eq!(epoch(&world), Epoch(2), "{}", world.transcript.join("\n"));
}

#[test]
fn what_was_stopped_in_an_emergency_starts_nowhere_by_itself() {
    let mut world = World::running();
    let agent = world.agent("p1");
    (agent.barred, agent.stopped) = ("it is stopped in an emergency, by ann".into(), true);
    for _ in 0..1000 {
        world.agent("p1").state = ServiceState::Stopped;
        world.pass(25);
    }
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
    let now = world.now();
    let sight = world.engine.look(&group(), now).unwrap();
    let why = failover::decide(&sight).to_string();
    assert!(why.contains("p1: it is stopped in an emergency, by ann"), "{why}");
    // Released on the host, it has its time to come back.
    let agent = world.agent("p1");
    (agent.barred, agent.stopped) = (String::new(), false);
    world.pass(400);
    world.agent("p1").state = ServiceState::Running;
    world.pass(5000);
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
    let agent = world.agent("p1");
    (agent.barred, agent.stopped) = ("it is stopped in an emergency, by ann".into(), true);
    world.pass(1000);
    // Also when the host dies of it.
    world.agent("p1").alive = false;
    world.pass(30_000);
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
}

#[test]
fn c5_a_quorum_that_returns_lets_the_agents_come_back_first() {
    let mut world = World::running();
    (world.quorum, world.commits) = (false, false);
    world.step(Event::Deposed { term: Term(1) });
    world.pass(20_000);
    assert_eq!(world.agent("p1").state, ServiceState::Stopped);
    (world.quorum, world.commits) = (true, true);
    world.elect(2);
    // The agent's lease comes back, and with it its services.
    world.pass(200);
    world.agent("p1").state = ServiceState::Running;
    world.pass(5000);
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
}

#[test]
fn one_dead_channel_leaves_the_others_alone_and_is_given_up() {
    let mut world = World::running();
    world.pass(1000);
    let dead = DeliveryResult::Failed { detail: "dead".into(), retry_after: Some(Millis::ZERO) };
    world.refusals.extend(vec![dead; 1000]);
    for to in ["standby", "primary", "standby"] {
        world.ask(PlanKind::Switchover, Some(to), None);
        world.pass(2000);
    }
    world.pass(1_200_000);
    assert!(world.state().outbox.values().all(|n| n.settled("log")), "all are given up");
    world.refusals.clear();
    world.ask(PlanKind::Switchover, Some("primary"), None);
    world.pass(2000);
    let newest = world.state().outbox.values().next_back().unwrap();
    assert_eq!(newest.channels["log"].state.word(), "accepted");
}

#[test]
fn a_lease_that_is_late_holds_no_plan() {
    let mut world = World::running();
    let late = Outcome::Refused(Refusal::NoLease { epoch: Epoch(2) });
    world.agent("s1").answers.insert("start-service".into(), vec![late; 3].into());
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.pass(5000);
    assert_eq!(world.state().groups[&group()].active, Some(site("standby")));
    let plan = world.state().plans.values().next_back().unwrap();
    assert_eq!(plan.state, PlanState::Completed, "{}", world.transcript.join("\n"));
}

#[test]
fn c5_what_was_heard_in_a_stall_needs_no_forgiveness() {
    let mut world = World::running();
    world.stall(100_000);
    world.agents.values_mut().for_each(|agent| agent.lease_until = None);
    for name in ["p1", "s1"] {
        world.heartbeat(name);
    }
    world.step(Event::Tick);
    world.agent("p1").alive = false;
    world.pass(3000);
    assert_eq!(epoch(&world), Epoch(2), "the loss is noticed in time");
    assert!(world.engine.view().host(&host("s1")).is_some());
}

#[test]
fn c5_a_stall_does_not_age_a_services_fault() {
    let mut world = World::running();
    world.agent("p1").state = ServiceState::Failed;
    world.pass(100);
    world.stall(20_000);
    world.agents.values_mut().for_each(|agent| agent.lease_until = None);
    world.step(Event::Tick);
    assert!(world.state().running_plan(&group()).is_none());
}

#[test]
fn a_lease_handed_back_early_is_no_second_lease() {
    let mut world = World::running();
    assert!(world.agent("p1").lease_until.is_some());
    // Acknowledged within one heartbeat, and never heard again.
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.agent("p1").alive = false;
    world.pass(500);
    assert_eq!(epoch(&world), Epoch(2));
    assert_eq!(world.alarms, 0, "{}", world.transcript.join("\n"));
}

#[test]
fn a_host_that_goes_on_under_the_old_epoch_raises_the_alarm() {
    let mut world = World::running();
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.pass(500);
    let until = world.mono + Millis(500);
    let agent = world.agent("p1");
    (agent.lease_until, agent.epoch) = (Some(until), Epoch(1));
    world.heartbeat("p1");
    assert_eq!(world.alarms, 1, "{}", world.transcript.join("\n"));
}

/// Takes every field away that the version before did not write.
fn older(value: &mut serde_json::Value) {
    const NEW: [&str; 12] = [
        "failsafe",
        "fence",
        "two_operators",
        "approved_by",
        "approval",
        "approvals",
        "last_approval",
        "watchdog_armed",
        "watchdog",
        "hooks",
        "fence_hooks",
        "newcomers",
    ];
    match value {
        serde_json::Value::Object(map) => {
            // A step of the kind `fence` keeps its name: there it holds an object.
            map.retain(|key, inner| !NEW.contains(&key.as_str()) || inner.is_object());
            map.values_mut().for_each(older);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(older),
        _ => {}
    }
}

#[test]
fn a_journal_of_the_version_before_replays() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    world.pass(3000);
    let mut again = failover::State::default();
    for (position, record) in &world.journal {
        let mut value = serde_json::to_value(record).unwrap();
        older(&mut value);
        let record: failover::Record = serde_json::from_value(value).unwrap();
        again.apply(*position, &record);
    }
    assert_eq!(again, *world.state());
    let mut snapshot = serde_json::to_value(&again).unwrap();
    older(&mut snapshot);
    assert_eq!(serde_json::from_value::<failover::State>(snapshot).unwrap(), again);
}
