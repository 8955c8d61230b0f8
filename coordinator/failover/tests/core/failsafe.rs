//! Failsafe (A6) and what a lapse needs because of it (C4); nodes that derive
//! other bounds (C2).

use crate::{
    promises::failsafe_spec,
    world::{World, group, host, site, spec},
};
use failover::{Alarm, Effect, Event, PlanKind, PlanState, ProofLevel, Record};
use model::{
    Derived, Epoch, GroupAssignment, LeaseRefusal, LeaseReply, LeaseRequest, Millis, Nonce,
    PeerAddress, ServiceState,
};

fn running() -> World {
    World::new().started(failsafe_spec())
}

/// The quorum goes; the primary lives by the standby's promises and cannot be heard.
fn living_by_promises() -> World {
    let mut world = running();
    (world.quorum, world.commits) = (false, false);
    world.pass(3000);
    world.agent("p1").cut = true;
    world.pass(2000);
    world
}

fn fenced_at(world: &World) -> Option<u64> {
    world.journal.iter().find_map(|(_, record)| match record {
        Record::Fenced { at, .. } => Some(at.0 - 999_000),
        _ => None,
    })
}

fn assigned(effects: &[Effect], name: &str) -> Option<GroupAssignment> {
    effects.iter().find_map(|effect| match effect {
        Effect::Assign { host: told, groups, .. } if *told == host(name) => groups.first().cloned(),
        _ => None,
    })
}

fn open_session(world: &mut World, name: &str) -> GroupAssignment {
    let now = world.now();
    assigned(&world.engine.step(Event::SessionOpened { host: host(name) }, now), name).unwrap()
}

#[test]
fn a6_an_active_site_goes_on_by_promises_without_a_quorum() {
    let mut world = living_by_promises();
    world.agent("p1").cut = false;
    assert!(world.agent("p1").failsafe && world.agent("p1").lease_until.is_some());
    assert_eq!(world.agent("p1").state, ServiceState::Running);
    (world.quorum, world.commits) = (true, true);
    world.pass(3000);
    assert!(!world.agent("p1").failsafe, "a real grant ends it");
    assert_eq!(world.state().groups[&group()].epoch, Epoch(1));
    assert_eq!(world.alarms, 0);
}

#[test]
fn a6_failsafe_is_bound_to_the_epoch() {
    let mut world = World::running();
    assert_eq!(world.frozen(), None);
    world.apply(failsafe_spec());
    assert_eq!(world.frozen(), None, "the epoch began without it");
    assert_eq!(open_session(&mut world, "p1").failsafe, None);
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.pass(1000);
    assert_eq!(world.frozen(), Some(vec![host("p1"), host("s1")]));
    world.apply(spec());
    assert!(world.frozen().is_some(), "the epoch goes on as it began");
    assert!(open_session(&mut world, "s1").failsafe.is_some());
    world.ask(PlanKind::Failback, None, None);
    world.pass(2000);
    assert_eq!(world.state().groups[&group()].epoch, Epoch(3));
    assert_eq!(world.frozen(), None);
    world.assert_replay();
}

#[test]
fn a6_an_assignment_names_every_host_of_every_other_site() {
    let mut world = running();
    let peer = |name: &str, address: &str| {
        Some(vec![PeerAddress { host: host(name), address: address.into() }])
    };
    assert_eq!(open_session(&mut world, "p1").failsafe, peer("s1", "s1:7443"));
    assert_eq!(open_session(&mut world, "s1").failsafe, peer("p1", "p1:7443"));
    // The active site is told when the standby is reached elsewhere.
    world.agent("s1").peer = "s1:9000".into();
    world.heartbeat("s1");
    assert_eq!(world.agent("p1").peers, peer("s1", "s1:9000"));
}

#[test]
fn a6_nobody_promises_for_an_epoch_that_is_being_fenced() {
    let mut world = running();
    assert!(!world.agent("s1").fencing);
    world.agent("p1").cut = true;
    world.ask(PlanKind::Failover, Some("standby"), Some(ProofLevel::Lapsed));
    assert!(world.agent("s1").fencing, "told with the plan's commit");
    world.pass(3000);
    assert!(!world.agent("s1").fencing, "and with the new epoch that it is over");
    // A plan that is given up leaves the old epoch as it was.
    world.restart("p1");
    world.pass(1000);
    let failure = model::Outcome::Failed { detail: "dockerd hangs".into() };
    world.agent("s1").answers.insert("fence".into(), vec![failure; 50].into());
    world.ask(PlanKind::Switchover, Some("primary"), None);
    assert!(world.agent("p1").fencing);
    for _ in 0..2000 {
        world.agent("s1").state = ServiceState::Unhealthy;
        world.pass(25);
    }
    let plan = world.state().plans.values().next_back().unwrap();
    assert!(matches!(plan.state, PlanState::Held { .. }), "{}", world.transcript.join("\n"));
    assert!(!world.agent("p1").fencing, "and with its end that it is over");
}

#[test]
fn c4_a_lapse_waits_for_every_promise_of_the_target() {
    let mut world = living_by_promises();
    (world.quorum, world.commits) = (true, true);
    world.pass(5000);
    assert_eq!(world.state().groups[&group()].active, Some(site("standby")));
    // The last grant was long over: by grants alone the lease had lapsed when the
    // plan was opened, in the middle of a promise.
    let promised_until = world.agent("s1").promised_until.unwrap().0;
    let opened = world.state().plans.values().next_back().unwrap().opened_at.0 - 999_000;
    let fenced = fenced_at(&world).unwrap();
    assert!(opened < promised_until, "{}", world.transcript.join("\n"));
    assert!(fenced >= promised_until, "{}", world.transcript.join("\n"));
    assert_eq!(world.alarms, 0);
    world.assert_replay();
}

#[test]
fn c4_a_target_counts_only_when_it_was_heard_since_the_fencing_began() {
    let mut world = running();
    world.agent("p1").alive = false;
    world.pass(400);
    // The plan opens, and the standby falls silent with it.
    world.ask(PlanKind::Failover, Some("standby"), Some(ProofLevel::Lapsed));
    world.agent("s1").cut = true;
    world.pass(4000);
    assert_eq!(fenced_at(&world), None, "{}", world.transcript.join("\n"));
    world.pass(200_000);
    let plan = world.state().plans.values().next_back().unwrap();
    let words = "s1 has not been heard since the fencing began";
    assert!(
        matches!(&plan.state, PlanState::Held { reason } if reason.contains(words)),
        "{:?}",
        plan.state
    );
    assert_eq!(world.state().groups[&group()].epoch, Epoch(1));
}

#[test]
fn c4_the_failure_says_who_still_promises() {
    let mut world = running();
    world.agent("p1").alive = false;
    world.ask(PlanKind::Failover, Some("standby"), Some(ProofLevel::Lapsed));
    // It promises without end: an agent that is wrong, or another cluster's.
    for _ in 0..2000 {
        let until = world.mono + Millis(700);
        world.agent("s1").promised_until = Some(until);
        world.pass(100);
    }
    let plan = world.state().plans.values().next_back().unwrap();
    let held = matches!(&plan.state, PlanState::Held { reason }
        if reason.contains("s1 still promises for"));
    assert!(held, "{:?}", plan.state);
    assert_eq!(world.state().groups[&group()].epoch, Epoch(1));
}

#[test]
fn c4_an_acknowledgement_needs_no_promise_to_end() {
    let mut world = running();
    let until = world.mono + spec().timing().lapse();
    world.agent("s1").promised_until = Some(until);
    world.ask(PlanKind::Switchover, Some("standby"), None);
    assert!(fenced_at(&world).unwrap() < until.0, "{}", world.transcript.join("\n"));
    // The promise binds its host all the same, and holds no plan.
    assert_ne!(world.agent("s1").state, ServiceState::Running);
    world.pass(2000);
    assert_eq!(world.agent("s1").state, ServiceState::Running);
    let plan = world.state().plans.values().next_back().unwrap();
    assert_eq!(plan.state, PlanState::Completed, "{}", world.transcript.join("\n"));
    assert_eq!(plan.find("promote").unwrap().failures, 0);
}

#[test]
fn c4_a_host_that_came_after_the_epoch_began_is_no_target_of_a_lapse() {
    let mut world = running();
    let mut wider = failsafe_spec();
    wider.sites[1].hosts = vec![host("s9")];
    world.apply(wider);
    let mut named = world.agents[&host("s1")].clone();
    named.peer = "s9:7443".into();
    world.agents.remove(&host("s1"));
    world.agents.insert(host("s9"), named);
    world.agent("p1").alive = false;
    world.pass(5000);
    let sight = world.engine.look(&group(), world.now()).unwrap();
    let words = failover::decide(&sight).to_string();
    assert!(words.contains("s9"), "{words}");
    assert_eq!(world.state().groups[&group()].epoch, Epoch(1));
}

#[test]
fn a6_an_open_gate_under_a_promise_raises_an_alarm() {
    let mut world = running();
    let until = world.mono + Millis(600);
    let agent = world.agent("s1");
    (agent.promised_until, agent.gate) = (Some(until), model::GateState::Open);
    world.heartbeat("s1");
    assert_eq!(world.alarms, 1);
    let alarm = Alarm::OpenUnderPromise { group: group(), host: host("s1") };
    assert!(world.transcript.last().unwrap().contains(&alarm.to_string()));
}

#[test]
fn c2_a_host_that_derives_other_bounds_gets_no_lease() {
    let mut world = World::running();
    let ask = |world: &mut World, derived: Option<Derived>| {
        let request = LeaseRequest {
            group: group(),
            host: host("p1"),
            epoch: Epoch(1),
            nonce: Nonce(9),
            derived,
        };
        let now = world.now();
        let asked = world.engine.step(Event::Renewal { asker: failover::Asker(4), request }, now);
        let [Effect::ConfirmQuorum { round, .. }] = asked[..] else { panic!("{asked:?}") };
        let ended = world.engine.step(Event::RoundEnded { round, confirmed: true }, now);
        let [Effect::Lease { reply, .. }] = &ended[..] else { panic!("{ended:?}") };
        reply.clone()
    };
    let own = Derived::of(Millis(500));
    assert!(matches!(ask(&mut world, Some(own)), LeaseReply::Granted(_)));
    let other = Derived { skew_margin: Millis(50), ..own };
    let LeaseReply::Refused { reason, .. } = ask(&mut world, Some(other)) else {
        panic!("granted")
    };
    assert_eq!(reason, LeaseRefusal::TimingDiffers { leader: own, host: other });
    let words = reason.to_string();
    assert!(words.contains("skew margin 100 ms") && words.contains("skew margin 50 ms"), "{words}");
}

#[test]
fn every_bound_has_a_formula_and_a_meaning() {
    let bounds = spec().timing().bounds();
    let lines: Vec<String> = bounds
        .iter()
        .map(|b| format!("{} = {} [{}]: {}", b.name, b.value, b.formula, b.meaning))
        .collect();
    insta::assert_snapshot!("bounds_of_half_a_second", lines.join("\n"));
}
