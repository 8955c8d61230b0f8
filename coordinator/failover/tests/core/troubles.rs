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
    world.mono.0 += 100_000;
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
    world.mono.0 += 20_000;
    world.agents.values_mut().for_each(|agent| agent.lease_until = None);
    world.step(Event::Tick);
    assert!(world.state().running_plan(&group()).is_none());
}
