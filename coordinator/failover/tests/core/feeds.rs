//! C8: what a silent feed means.

use crate::world::{World, group, spec};
use failover::{Cause, Decision, OnFeedSilent, PlanState, ProofLevel, Reason, decide};
use model::{
    Epoch, GateState, Millis, ProbeKind, ProbeName, Reading, ServiceState, StandbyMode, Verdict,
};

/// The feed's reading as the agent's probe writes it.
pub(crate) fn feed(verdict: Verdict, layer: i64) -> Reading {
    Reading {
        probe: ProbeName::new("ticks").unwrap(),
        kind: ProbeKind::Zeromq,
        verdict,
        summary: format!("layer {layer}"),
        measures: [("layer".to_owned(), layer)].into(),
        age: Millis(40),
    }
}

fn running(policy: OnFeedSilent) -> World {
    let mut world = World::running();
    let mut spec = spec();
    spec.on_feed_silent = policy;
    world.apply(spec);
    say(&mut world, "p1", Verdict::Ok, 6);
    world.pass(100);
    world
}

fn say(world: &mut World, name: &str, verdict: Verdict, layer: i64) {
    world.agent(name).readings = vec![feed(verdict, layer)];
}

fn decision(world: &World) -> Decision {
    decide(&world.engine.look(&group(), world.now()).unwrap())
}

fn epoch(world: &World) -> Epoch {
    world.state().groups[&group()].epoch
}

#[test]
fn c8_silence_on_both_sites_is_a_diagnosis() {
    let mut world = running(OnFeedSilent::Failover);
    say(&mut world, "p1", Verdict::Critical, 5);
    // A waiting site's probe says unknown, and that its subscription stands.
    say(&mut world, "s1", Verdict::Unknown, 4);
    world.pass(60_000);
    assert_eq!(epoch(&world), Epoch(1));
    assert!(matches!(decision(&world), Decision::Hold(Reason::MarketQuiet { .. })));
    let words = decision(&world).to_string();
    assert!(words.contains("the market is closed") && words.contains("(C8)"), "{words}");
    let considered = &world.state().groups[&group()].considered;
    let kinds: Vec<String> = considered.iter().map(|c| c.decision.to_string()).collect();
    assert_eq!(kinds.len(), 2, "failing, then quiet, each once: {kinds:?}");
}

#[test]
fn c8_a_feed_that_another_site_hears_is_a_reason() {
    let mut world = running(OnFeedSilent::Failover);
    say(&mut world, "p1", Verdict::Critical, 5);
    say(&mut world, "s1", Verdict::Ok, 6);
    let patience = spec().timing().detection() + spec().timing().lease;
    world.pass(patience.0 - 50);
    assert!(matches!(decision(&world), Decision::Hold(Reason::FeedFailing { .. })));
    world.pass(2000);
    assert_eq!(epoch(&world), Epoch(2), "{}", world.transcript.join("\n"));
    let plan = world.state().plans.values().next_back().unwrap();
    assert_eq!(plan.state, PlanState::Completed);
    assert_eq!(plan.proof.as_ref().unwrap().level(), ProofLevel::Acknowledged);
    let incident = world.state().incidents.values().next_back().unwrap();
    assert!(matches!(incident.cause, Cause::FeedSilent { .. }));
    assert!(failover::explain_incident(incident).reproduced);
    assert!(incident.timeline.iter().any(|entry| entry.what == "last known good"));
}

#[test]
fn c8_a_site_that_cannot_tell_leaves_it_unclear() {
    let mut world = running(OnFeedSilent::Failover);
    say(&mut world, "p1", Verdict::Critical, 5);
    for (verdict, layer) in [(Verdict::Unknown, 2), (Verdict::Unknown, 0)] {
        say(&mut world, "s1", verdict, layer);
        world.pass(5000);
        assert!(matches!(decision(&world), Decision::Hold(Reason::FeedUnclear { .. })));
    }
    world.agent("s1").readings.clear();
    world.pass(5000);
    let words = decision(&world).to_string();
    assert!(words.contains("standby: no reading"), "{words}");
    assert_eq!(epoch(&world), Epoch(1));
}

#[test]
fn c8_an_old_reading_knows_nothing() {
    let mut world = running(OnFeedSilent::Failover);
    say(&mut world, "p1", Verdict::Critical, 5);
    let mut old = feed(Verdict::Ok, 6);
    old.age = Millis(61_000);
    world.agent("s1").readings = vec![old];
    world.pass(5000);
    assert!(matches!(decision(&world), Decision::Hold(Reason::FeedUnclear { .. })));
}

#[test]
fn c8_a_feed_that_is_unknown_on_the_active_site_is_no_silence() {
    let mut world = running(OnFeedSilent::Failover);
    say(&mut world, "p1", Verdict::Unknown, 2);
    say(&mut world, "s1", Verdict::Ok, 6);
    world.pass(5000);
    assert_eq!(decision(&world), Decision::Hold(Reason::Healthy));
}

#[test]
fn c8_a_standby_behind_its_closed_gate_cannot_tell() {
    let mut world = running(OnFeedSilent::Failover);
    say(&mut world, "p1", Verdict::Critical, 5);
    say(&mut world, "s1", Verdict::Unknown, 4);
    let s1 = world.agent("s1");
    (s1.gate, s1.standby, s1.state) =
        (GateState::Closed, StandbyMode::Gated, ServiceState::Running);
    world.pass(5000);
    let words = decision(&world).to_string();
    assert!(words.contains("behind the closed gate"), "{words}");
}

#[test]
fn c8_without_a_word_in_the_policy_a_silent_feed_is_a_persons() {
    let mut world = running(OnFeedSilent::Hold);
    say(&mut world, "p1", Verdict::Critical, 5);
    say(&mut world, "s1", Verdict::Ok, 6);
    world.pass(10_000);
    assert_eq!(epoch(&world), Epoch(1));
    let words = decision(&world).to_string();
    assert!(words.contains("the policy leaves that to a person"), "{words}");
    // And it hides nothing that is not a person's.
    world.agent("p1").state = ServiceState::Failed;
    world.pass(5000);
    assert_eq!(epoch(&world), Epoch(2), "{}", world.transcript.join("\n"));
}

#[test]
fn c8_an_opening_market_moves_nothing() {
    let mut world = running(OnFeedSilent::Failover);
    say(&mut world, "p1", Verdict::Critical, 5);
    say(&mut world, "s1", Verdict::Unknown, 4);
    world.pass(60_000);
    // The standby's publisher hears the first tick a second before the active one's.
    say(&mut world, "s1", Verdict::Ok, 6);
    world.pass(1000);
    assert!(matches!(decision(&world), Decision::Hold(Reason::FeedFailing { .. })));
    say(&mut world, "p1", Verdict::Ok, 6);
    world.pass(5000);
    assert_eq!((decision(&world), epoch(&world)), (Decision::Hold(Reason::Healthy), Epoch(1)));
}
