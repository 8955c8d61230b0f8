//! Emergency stops through the coordinators: recorded first, told until they are
//! heard, and in nobody's way but trading's.

use crate::world::{World, group, host, site};
use failover::{Applied, Effect, Event, PlanKind, PlanState, Record, decide};
use model::{
    Epoch, HostDeed, HostId, LeaseRefusal, LeaseReply, LeaseRequest, Nonce, ServiceState, Severity,
    SiteId, StopDeed,
};

/// What an operator asks for.
fn ordered(world: &World, deed: StopDeed, site: Option<SiteId>, host: Option<HostId>) -> Record {
    let (by, reason, at) = ("ann".into(), "wrong orders".into(), world.now().wall);
    Record::StopOrdered { group: Some(group()), site, host, deed, by, reason, at }
}

fn order(world: &mut World, deed: StopDeed, site: Option<SiteId>, host: Option<HostId>) {
    let record = ordered(world, deed, site, host);
    world.write(record);
}

fn epoch(world: &World) -> Epoch {
    world.state().groups[&group()].epoch
}

#[test]
fn a_group_is_stopped_everywhere_until_it_is_released() {
    let mut world = World::running();
    world.pass(1000);
    order(&mut world, StopDeed::Stop, None, None);
    assert!(matches!(world.answer(), Ok(Applied::HostOrdered(_))));
    assert_eq!(world.agent("p1").state, ServiceState::Stopped, "told at the commit");
    assert!(world.agent("s1").stopped);
    // It is long lost to its lease and the dwell, and nothing starts.
    world.pass(60_000);
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
    let now = world.now();
    let words = decide(&world.engine.look(&group(), now).unwrap()).to_string();
    assert!(words.contains("emergency stop on p1, s1 by ann: wrong orders"), "{words}");
    let checks = world.engine.examine(&group(), now).unwrap();
    let check = checks.iter().find(|check| check.name == "automation").unwrap();
    assert!(check.hint.contains("--release fx"), "{check:?}");
    // Told once, and that its services do not run is no news.
    let titles: Vec<&str> = world.state().outbox.values().map(|n| n.title.as_str()).collect();
    assert_eq!(titles.iter().filter(|t| **t == "fx: emergency stop on p1, s1").count(), 1);
    assert!(!titles.contains(&"fx: trouble, and no failover"), "{titles:?}");
    let told = world.state().outbox.values().find(|n| n.title.contains("emergency")).unwrap();
    assert_eq!(told.severity, Severity::Critical);

    order(&mut world, StopDeed::Release, None, None);
    // It takes the agent a moment, and how long it stood still is no reason to move.
    world.pass(400);
    world.agent("p1").state = ServiceState::Running;
    world.pass(5000);
    assert!(world.agent("p1").lease_until.is_some(), "{}", world.transcript.join("\n"));
    assert_eq!(
        (epoch(&world), world.state().held(&world.state().groups[&group()])),
        (Epoch(1), None)
    );
    world.assert_replay();
}

#[test]
fn a_stop_lasts_over_leaders_and_needs_no_host_that_hears_it() {
    let mut world = World::running();
    world.agent("p1").cut = true;
    order(&mut world, StopDeed::Stop, None, Some(host("p1")));
    assert!(!world.agent("p1").stopped);
    world.agent("p1").alive = false;
    world.new_leader(2);
    world.pass(60_000);
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
    // Who comes back is told, unless it was released meanwhile: then that.
    let agent = world.agent("p1");
    (agent.alive, agent.cut, agent.boot) = (true, false, 2);
    world.step(Event::SessionOpened { host: host("p1") });
    assert!(world.agent("p1").stopped);
    world.agent("p1").cut = true;
    order(&mut world, StopDeed::Release, None, None);
    order(&mut world, StopDeed::Stop, Some(site("primary")), None);
    order(&mut world, StopDeed::Release, Some(site("primary")), None);
    world.agent("p1").cut = false;
    world.step(Event::SessionOpened { host: host("p1") });
    assert!(!world.agent("p1").stopped);
    world.assert_replay();
}

#[test]
fn a_stop_and_an_isolation_do_not_displace_each_other() {
    let mut world = World::running();
    order(&mut world, StopDeed::Stop, None, Some(host("p1")));
    let (by, reason, at) = ("ann".into(), String::new(), world.now().wall);
    world.write(Record::HostOrdered { host: host("p1"), deed: HostDeed::Release, by, reason, at });
    let now = world.now();
    let told = world.engine.step(Event::SessionOpened { host: host("p1") }, now);
    let [Effect::Assign { order: Some(release), stops, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((release.deed, stops.len()), (HostDeed::Release, 1));
    assert_eq!((stops[0].deed, stops[0].by.as_str()), (StopDeed::Stop, "ann"));
    assert!(release.id.number > stops[0].id.number, "one count for both");
}

#[test]
fn a_stopped_host_gets_no_lease_whatever_its_agent_makes_of_the_order() {
    let mut world = World::running();
    world.agent("p1").cut = true;
    order(&mut world, StopDeed::Stop, None, Some(host("p1")));
    let request = LeaseRequest {
        group: group(),
        host: host("p1"),
        epoch: Epoch(1),
        nonce: Nonce(9),
        derived: None,
    };
    let now = world.now();
    let asked = world.engine.step(Event::Renewal { asker: failover::Asker(900), request }, now);
    let [Effect::ConfirmQuorum { round, .. }] = asked[..] else { panic!("{asked:?}") };
    let ended = world.engine.step(Event::RoundEnded { round, confirmed: true }, now);
    let refused = ended.iter().find_map(|effect| match effect {
        Effect::Lease { reply: LeaseReply::Refused { reason, .. }, .. } => Some(reason),
        _ => None,
    });
    let Some(LeaseRefusal::Stopped { why }) = refused else { panic!("{ended:?}") };
    assert!(why.contains("by ann: wrong orders"), "{why}");
}

#[test]
fn a_plan_towards_a_stopped_host_ends_held_and_another_goes_on() {
    let mut world = World::running();
    // The site that is left may be stopped: its fence is none the worse for it.
    world.ask(PlanKind::Switchover, Some("standby"), None);
    order(&mut world, StopDeed::Stop, Some(site("primary")), None);
    world.pass(5000);
    let plan = world.state().plans.values().next_back().unwrap();
    assert_eq!((plan.state.clone(), epoch(&world)), (PlanState::Completed, Epoch(2)));

    order(&mut world, StopDeed::Release, None, None);
    world.pass(5000);
    world.agent("s1").answers.insert(
        "fence".into(),
        vec![model::Outcome::Failed { detail: "dockerd hangs".into() }; 50].into(),
    );
    world.ask(PlanKind::Failback, None, None);
    world.pass(500);
    assert!(world.state().running_plan(&group()).is_some(), "{}", world.transcript.join("\n"));
    let hosts = [host("p1")];
    let becomes = world.state().plan_under_stop(&group(), &hosts).unwrap();
    assert!(becomes.contains("ends held"), "{becomes}");
    order(&mut world, StopDeed::Stop, None, None);
    let plan = world.state().plans.values().next_back().unwrap();
    let PlanState::Held { reason } = &plan.state else { panic!("{plan:?}") };
    assert!(reason.contains("host p1 may not be active: an emergency stop"), "{reason}");
    // By hand it is refused as well, for as long.
    world.ask(PlanKind::Failover, Some("primary"), None);
    let why = world.answer().unwrap_err();
    assert!(why.contains("emergency stop through the coordinators stands"), "{why}");
    world.assert_replay();
}

#[test]
fn a_stop_aimed_at_nothing_says_so() {
    let mut world = World::running();
    for (site, host, why) in [
        (Some(site("moon")), None, "no site moon of fx"),
        (None, Some(host("x9")), "no host x9 in fx"),
    ] {
        order(&mut world, StopDeed::Stop, site, host);
        let answer = world.answer();
        assert!(matches!(&answer, Ok(Applied::Ignored(said)) if said.contains(why)), "{answer:?}");
    }
}
