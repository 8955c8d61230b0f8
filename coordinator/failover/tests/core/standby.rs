//! What keeps a site from being a target: a stale epoch, old data. And what
//! the cool-down counts.

use crate::world::{World, group, host, spec};
use failover::{Check, Decision, PlanKind, PlanState, Reason, Report, decide};
use model::{
    Epoch, GateState, Millis, Outcome, ProbeKind, ProbeName, Reading, ServiceState, StandbyMode,
    Verdict,
};

/// A watermark's reading as the agent's probe writes it.
pub(crate) fn watermark(lag_ms: i64) -> Reading {
    Reading {
        probe: ProbeName::new("replica").unwrap(),
        kind: ProbeKind::Watermark,
        verdict: Verdict::Ok,
        summary: format!("{lag_ms} ms behind"),
        measures: [("lag_ms".to_owned(), lag_ms)].into(),
        age: Millis(500),
    }
}

fn epoch(world: &World) -> Epoch {
    world.state().groups[&group()].epoch
}

fn decision(world: &World) -> Decision {
    decide(&world.engine.look(&group(), world.now()).unwrap())
}

fn checks(world: &World, name: &str) -> Vec<Check> {
    let all = world.engine.examine(&group(), world.now()).unwrap();
    all.into_iter().filter(|check| check.name == name).collect()
}

/// A running group that asks for data at most two seconds old.
fn with_data(reading: Option<Reading>) -> World {
    let mut world = World::running();
    let mut spec = spec();
    spec.max_data_lag = Some(Millis(2000));
    world.apply(spec);
    world.agent("s1").readings.extend(reading);
    world.pass(200);
    world.agent("p1").alive = false;
    world.pass(4000);
    world
}

#[test]
fn c5_data_within_the_limit_is_the_rpo_of_the_report() {
    let world = with_data(Some(watermark(1200)));
    assert_eq!(epoch(&world), Epoch(2), "{}", world.transcript.join("\n"));
    let plan = world.state().plans.values().next_back().unwrap();
    let report = Report::of_plan(plan);
    assert_eq!(report.rpo_ms, Some(Millis(1200)));
    assert!(report.summary().contains("RPO 1.2 s (how far the data lagged"));
    world.assert_replay();
}

#[test]
fn c5_data_that_is_behind_unknown_or_old_is_no_target() {
    let mut unknown = watermark(0);
    unknown.verdict = Verdict::Unknown;
    let mut nothing = watermark(0);
    nothing.measures.clear();
    let mut old = watermark(0);
    old.age = Millis(60_001);
    let negative = watermark(-1);
    for (reading, words) in [
        (Some(watermark(2001)), "lags 2.0 s behind, max_data_lag is 2 s"),
        (Some(unknown), "cannot tell"),
        (Some(nothing), "cannot tell"),
        (Some(negative), "cannot tell"),
        (Some(old), "more than 1 min"),
        (None, "no watermark is reported there"),
    ] {
        let mut world = with_data(reading);
        assert_eq!(epoch(&world), Epoch(1));
        let Decision::Hold(Reason::DataBehind(why)) = decision(&world) else {
            panic!("{}", decision(&world));
        };
        assert!(why.contains(words), "{why}");
        let check = checks(&world, "watermark").pop().unwrap();
        assert_eq!(check.result.word(), "failed", "{check:?}");
        world.ask(PlanKind::Failover, Some("standby"), None);
        assert!(world.transcript.last().unwrap().contains("raise max_data_lag"));
    }
}

#[test]
fn a_returning_old_active_is_listed_as_stale_until_it_has_rejoined() {
    let mut world = World::running();
    world.agent("p1").cut = true;
    world.pass(3000);
    assert_eq!(epoch(&world), Epoch(2));
    // Its heartbeats come through before it was told anything.
    world.agent("p1").cut = false;
    world.pass(500);
    let stale = checks(&world, "stale-epoch");
    assert_eq!((stale.len(), stale[0].subject.as_str()), (1, "p1"));
    assert!(stale[0].found.contains("it knows epoch 1, and 2 is committed"), "{stale:?}");
    world.ask(PlanKind::Failback, None, None);
    let refused = world.transcript.last().unwrap();
    assert!(refused.contains("host p1 is of a stale epoch"), "{refused}");
    world.restart("p1");
    world.pass(500);
    assert!(checks(&world, "stale-epoch").is_empty());
    world.ask(PlanKind::Failback, None, None);
    world.pass(500);
    assert_eq!(epoch(&world), Epoch(3), "{}", world.transcript.join("\n"));
}

#[test]
fn a_standby_that_acts_is_no_target() {
    let mut world = World::running();
    let s1 = host("s1");
    let stale = |world: &World| {
        let sight = world.engine.look(&group(), world.now()).unwrap();
        let hosts = sight.sites.into_iter().flat_map(|site| site.hosts);
        hosts.into_iter().find(|h| h.host == s1).and_then(|h| h.stale)
    };
    // The epoch as a rejoined standby knows it.
    world.agent("s1").epoch = Epoch(1);
    world.pass(100);
    assert_eq!(stale(&world), None);
    world.agent("s1").state = ServiceState::Running;
    world.pass(100);
    assert!(stale(&world).unwrap().contains("bridge is running"));
    let agent = world.agent("s1");
    (agent.standby, agent.gate) = (StandbyMode::Gated, GateState::Closed);
    world.pass(100);
    assert_eq!(stale(&world), None, "gated is how it waits");
    assert!(checks(&world, "service").is_empty(), "and no fault");
    world.agent("s1").gate = GateState::Open;
    world.pass(100);
    assert!(stale(&world).unwrap().contains("gate is open"));
    let now = world.mono;
    let agent = world.agent("s1");
    (agent.gate, agent.lease_until) = (GateState::Closed, Some(now + Millis(400)));
    let p1 = world.agent("p1");
    (p1.alive, p1.lease_until) = (false, None);
    world.heartbeat("s1");
    assert!(stale(&world).unwrap().contains("a lease that lives"));
}

#[test]
fn c7_a_held_failover_and_a_switchover_start_no_cool_down() {
    let mut world = World::running();
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.pass(1000);
    world.ask(PlanKind::Switchover, Some("primary"), None);
    world.pass(1000);
    assert_eq!(world.state().groups[&group()].failed_over_at, None);
    world.agent("p1").alive = false;
    let failure = Outcome::Failed { detail: "no such image".into() };
    world.agent("s1").answers.insert("start-service".into(), vec![failure; 2].into());
    world.pass(3000);
    let plan = world.state().plans.values().next_back().unwrap();
    assert!(matches!(plan.state, PlanState::Held { .. }));
    assert_eq!(world.state().groups[&group()].failed_over_at, None);
}
