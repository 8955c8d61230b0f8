//! C5: when a host counts as lost, and whose word counts.

use crate::{
    fellows::voters,
    world::{World, group, host},
};
use failover::{Decision, Event, Lookout, Opinion, Reason, decide};
use model::{Derived, Epoch, HostId, HostSilence, Millis, Mono, Observation};

fn epoch(world: &World) -> Epoch {
    world.state().groups[&group()].epoch
}

fn decision(world: &World) -> Decision {
    decide(&world.engine.look(&group(), world.now()).unwrap())
}

/// What a voter says of p1 now.
fn opinion(world: &World, voter: &str) -> Opinion {
    let sight = world.engine.look(&group(), world.now()).unwrap();
    let p1 = sight.sites.iter().flat_map(|s| &s.hosts).find(|h| h.host == host("p1")).unwrap();
    p1.observers.iter().find(|observer| observer.name == voter).unwrap().opinion.clone()
}

/// The primary's host falls silent for the leader, and really stops.
fn kill(world: &mut World) {
    let p1 = world.agent("p1");
    (p1.alive, p1.lease_until) = (false, None);
}

#[test]
fn c5_two_of_three_must_lose_sight() {
    let mut world = World::running();
    kill(&mut world);
    (world.fellow("c2").mute, world.fellow("w").mute) = (true, true);
    world.pass(5000);
    let words = decision(&world).to_string();
    assert!(words.contains("1 of 3 voters have lost sight of host p1"), "{words}");
    assert!(words.contains("c2 does not count") && words.contains("(C5)"), "{words}");
    assert_eq!(epoch(&world), Epoch(1));
    world.fellow("w").mute = false;
    world.pass(1000);
    assert_eq!(epoch(&world), Epoch(2), "{}", world.transcript.join("\n"));
}

#[test]
fn c5_one_voter_that_hears_the_host_stops_a_failover() {
    let mut world = World::running();
    kill(&mut world);
    world.fellow_sees("w", "p1");
    world.pass(10_000);
    assert_eq!(epoch(&world), Epoch(1));
    let Decision::Hold(Reason::ObserversDisagree { host: name, opinions }) = decision(&world)
    else {
        panic!("{}", decision(&world));
    };
    assert_eq!(name, host("p1"));
    assert!(opinions.contains("w heard it") && opinions.contains("c2 has not"), "{opinions}");
}

#[test]
fn c5_the_dwell_restarts_whoever_hears_the_host() {
    let mut world = World::running();
    kill(&mut world);
    world.fellow_sees("w", "p1");
    world.pass(3000);
    let last_heard = world.mono;
    world.followers_lose("p1");
    while epoch(&world) == Epoch(1) {
        world.pass(25);
        assert!(world.mono.since(last_heard) < Millis(3000), "{}", decision(&world));
    }
    let detection = crate::world::spec().timing().detection();
    assert!(world.mono.since(last_heard) >= detection, "{}", world.transcript.join("\n"));
}

#[test]
fn c5_the_dwell_restarts_when_the_host_is_heard() {
    let mut world = World::running();
    for _ in 0..5 {
        world.agent("p1").cut = true;
        world.pass(400);
        // Its lease came back, and with it its service.
        let p1 = world.agent("p1");
        (p1.cut, p1.state) = (false, model::ServiceState::Running);
        world.pass(50);
    }
    assert_eq!(epoch(&world), Epoch(1), "never silent for the dwell at once");
    world.agent("p1").cut = true;
    world.pass(2000);
    assert_eq!(epoch(&world), Epoch(2));
}

#[test]
fn c5_an_observer_that_stalled_abstains() {
    let mut lookout = Lookout::new("w", Mono(0));
    lookout.heard(&host("p1"), Mono(0));
    (1..=10).for_each(|tick| lookout.tick(Mono(tick * 50)));
    assert!(!lookout.report(Mono(500)).abstains);
    assert!(lookout.report(Mono(701)).abstains, "its tick is overdue");
    lookout.tick(Mono(5500));
    let stalled = lookout.report(Mono(5500));
    assert!(stalled.abstains);
    assert_eq!(stalled.watched, Millis::ZERO);
    let silence = |o: &Observation| o.hosts.iter().map(|h| h.silence).collect::<Vec<_>>();
    assert_eq!(silence(&stalled), [Millis(500)], "the stall is forgiven, the rest is not");
    (1..=6).for_each(|tick| lookout.tick(Mono(5500 + tick * 50)));
    let settled = lookout.report(Mono(5800));
    assert!(!settled.abstains);
    assert_eq!((settled.watched, silence(&settled)), (Millis(300), vec![Millis(800)]));
}

#[test]
fn c5_what_an_observer_heard_in_its_stall_needs_no_forgiveness() {
    let mut lookout = Lookout::new("w", Mono(0));
    lookout.heard(&host("p1"), Mono(9900));
    lookout.tick(Mono(10_000));
    assert_eq!(lookout.report(Mono(10_000)).hosts[0].silence, Millis::ZERO);
    lookout.tick(Mono(10_050));
    assert_eq!(lookout.report(Mono(10_050)).hosts[0].silence, Millis(50));
}

#[test]
fn c5_an_abstaining_observer_is_no_evidence() {
    let mut world = World::running();
    kill(&mut world);
    world.fellow("c2").mute = true;
    world.fellow("w").frozen = true;
    world.pass(2000);
    world.fellow("w").frozen = false;
    world.pass(50);
    assert!(matches!(opinion(&world, "w"), Opinion::Abstains { .. }), "{}", decision(&world));
    assert!(matches!(decision(&world), Decision::Hold(Reason::NoObserverQuorum { .. })));
    assert_eq!(epoch(&world), Epoch(1));
    world.pass(2000);
    assert_eq!(epoch(&world), Epoch(2), "it has watched again for long enough");
}

#[test]
fn c5_the_leaders_own_stall_makes_it_abstain() {
    let mut world = World::running();
    kill(&mut world);
    (world.fellow("c2").mute, world.fellow("w").mute) = (true, true);
    world.pass(2000);
    assert!(matches!(opinion(&world, "c1"), Opinion::Lost { .. }));
    world.stall(300);
    world.step(Event::Tick);
    assert!(matches!(opinion(&world, "c1"), Opinion::Abstains { .. }));
    world.fellow("w").mute = false;
    world.pass(25);
    assert_eq!(epoch(&world), Epoch(1));
}

#[test]
fn c5_an_observation_that_is_too_old_counts_as_silence() {
    let mut world = World::running();
    (world.fellow("c2").mute, world.fellow("w").mute) = (true, true);
    world.pass(200);
    assert!(matches!(opinion(&world, "w"), Opinion::Sees { .. }));
    world.pass(100);
    assert!(matches!(opinion(&world, "w"), Opinion::Silent { .. }));
}

fn observation(observer: &str, derived: Derived) -> Observation {
    let silence = HostSilence { host: host("p1"), silence: Millis(9000) };
    let watched = Millis(60_000);
    let (observer, hosts) = (observer.to_owned(), vec![silence]);
    Observation { observer, watched, abstains: false, hosts, derived }
}

#[test]
fn c5_an_observer_with_other_bounds_is_refused_with_both_sets() {
    let mut world = World::running();
    (world.fellow("c2").mute, world.fellow("w").mute) = (true, true);
    kill(&mut world);
    let ours = Derived::of(Millis(5000));
    let theirs = Derived { heartbeat: Millis(700), ..ours };
    for _ in 0..60 {
        world.step(Event::Observed(observation("w", theirs)));
        world.pass(50);
    }
    assert_eq!(epoch(&world), Epoch(1), "it counts as silent");
    let checks = world.engine.examine(&group(), world.now()).unwrap();
    let check = checks.iter().find(|c| c.name == "observers" && c.subject == "w").unwrap();
    assert_eq!(check.result.word(), "failed");
    for set in [ours, theirs] {
        assert!(check.found.contains(&set.to_string()), "{}", check.found);
    }
    world.step(Event::Observed(observation("w", ours)));
    world.pass(50);
    assert_eq!(epoch(&world), Epoch(2), "with the same bounds its word counts");
}

#[test]
fn c5_a_strangers_observation_is_dropped() {
    let mut world = World::running();
    (world.fellow("c2").mute, world.fellow("w").mute) = (true, true);
    kill(&mut world);
    for _ in 0..60 {
        for name in ["c9", "c1"] {
            world.step(Event::Observed(observation(name, Derived::of(Millis(5000)))));
        }
        world.pass(50);
    }
    assert_eq!(epoch(&world), Epoch(1), "neither a stranger nor a double of the leader counts");
}

#[test]
fn c5_a_leader_that_does_not_know_the_voters_takes_nobody_for_lost() {
    let mut world = World::running();

    world.step(Event::Voters { own: "c1".into(), voters: vec![] });
    kill(&mut world);
    world.pass(5000);
    assert_eq!(epoch(&world), Epoch(1));
    let words = decision(&world).to_string();
    assert!(words.contains("does not know its fellow voters"), "{words}");
    world.step(voters(&["c1"]));
    world.pass(1000);
    assert_eq!(epoch(&world), Epoch(2), "a single voter decides alone");
}

#[test]
fn c5_a_voter_that_never_heard_a_host_has_lost_it_only_after_a_while() {
    let mut world = World::running();
    world.step(voters(&["c1", "c2", "w"]));
    (world.fellow("c2").mute, world.fellow("w").mute) = (true, true);
    kill(&mut world);
    let mut young = observation("w", Derived::of(Millis(5000)));
    young.hosts.clear();
    young.watched = Millis(3000);
    world.pass(1000);
    world.step(Event::Observed(young.clone()));
    assert!(matches!(opinion(&world, "w"), Opinion::Abstains { .. }));
    young.watched = Millis(6000);
    world.step(Event::Observed(young));
    assert_eq!(opinion(&world, "w"), Opinion::Lost { silence: None });
}

#[test]
fn c6_a_heartbeat_that_comes_twice_counts_once() {
    let mut world = World::running();
    let heard = |world: &World| world.engine.view().host(&host("p1")).unwrap().clone();
    let first = heard(&world);
    world.mono.0 += 40;
    world.step(Event::Heartbeat(Box::new(first.heartbeat.clone())));
    assert_eq!(heard(&world).heard, first.heard, "the relayed copy is no second sign of life");
}

#[test]
fn stop_and_start_are_apart_c5() {
    let mut world = World::running();
    let p1: HostId = host("p1");
    world.agent("p1").cut = true;
    world.followers_see("p1");
    world.pass(3000);
    assert_eq!(world.agents[&p1].lease_until, None, "it stopped by itself");
    assert_eq!(epoch(&world), Epoch(1), "and nothing was started");
}
