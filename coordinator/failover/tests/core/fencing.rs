//! Proof levels 2, 4 and 5: the watchdog, and fence hooks that are late, lie,
//! fail, or are not there.

use crate::world::{World, group, hook_word, host, site, spec};
use failover::{FenceOrder, GroupSpec, HookVerdict, PlanKind, PlanState, ProofLevel, Record};
use model::{AttemptId, Epoch, GateState, Millis, Outcome, WatchdogState};

const POWER: (&str, ProofLevel) = ("power", ProofLevel::Provider);

fn needs(level: ProofLevel) -> GroupSpec {
    let fence = vec!["power".to_owned()];
    GroupSpec { automatic_failover_needs: level, fence, ..spec() }
}

/// A group that needs the provider's word, its primary silent, the hook called.
fn called() -> (World, FenceOrder) {
    let mut world = World::with_hooks(&[POWER]).started(needs(ProofLevel::Provider));
    world.agent("p1").alive = false;
    world.pass(1500);
    let order = world.fence_calls.last().expect("the hook is called").clone();
    (world, order)
}

fn epoch(world: &World) -> Epoch {
    world.state().groups[&group()].epoch
}

fn level(world: &World) -> ProofLevel {
    world.state().plans.values().next_back().unwrap().proof.as_ref().unwrap().level()
}

/// A group that needs level 2, and a primary with a watchdog of that time.
fn watched(needed: ProofLevel, timeout: Option<u64>) -> World {
    let strict = GroupSpec { automatic_failover_needs: needed, ..spec() };
    let mut world = World::new().started(strict);
    let agent = world.agent("p1");
    agent.watchdog = WatchdogState::Armed;
    agent.watchdog_timeout = timeout.map(Millis);
    world.pass(100);
    world
}

fn by_lapse(world: &mut World) -> ProofLevel {
    let now = world.now();
    world.engine.look(&group(), now).unwrap().sites[0].hosts[0].by_lapse()
}

#[test]
fn c4_an_armed_watchdog_makes_a_lapse_level_2_after_its_own_time_and_not_before() {
    let mut world = watched(ProofLevel::LapsedBehindGate, Some(10_000));
    world.agent("p1").watchdog = WatchdogState::Disarmed;
    world.pass(100);
    assert_eq!(by_lapse(&mut world), ProofLevel::Lapsed);
    world.agent("p1").watchdog = WatchdogState::Armed;
    world.pass(100);
    assert_eq!(by_lapse(&mut world), ProofLevel::LapsedBehindGate, "in reach");
    let silent = world.mono;
    world.agent("p1").alive = false;
    // The lease (half a second here) is long over, and the host may still act.
    world.pass(9000);
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
    while epoch(&world) == Epoch(1) {
        assert!(world.mono < silent + Millis(15_000), "{}", world.transcript.join("\n"));
        world.pass(100);
    }
    // T(1+rho)+m of the watchdog's time, after that of the lease.
    assert!(world.mono >= silent + Millis(10_600), "{:?} {silent:?}", world.mono);
    assert_eq!(level(&world), ProofLevel::LapsedBehindGate);
    let said = world.transcript.iter().any(|line| line.contains("the time of its armed watchdog"));
    assert!(said, "{}", world.transcript.join("\n"));
}

#[test]
fn c4_a_watchdog_with_the_longest_time_is_waited_for_and_one_without_proves_nothing() {
    let mut world = watched(ProofLevel::LapsedBehindGate, Some(60_000));
    world.agent("p1").alive = false;
    world.pass(75_000);
    assert_eq!((epoch(&world), level(&world)), (Epoch(2), ProofLevel::LapsedBehindGate));
    for unknown in [None, Some(60_001)] {
        let mut world = watched(ProofLevel::LapsedBehindGate, unknown);
        assert_eq!(by_lapse(&mut world), ProofLevel::Lapsed);
        world.agent("p1").alive = false;
        world.pass(75_000);
        assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
    }
}

#[test]
fn c4_where_a_lapse_is_enough_no_watchdog_is_waited_for() {
    let mut world = watched(ProofLevel::Lapsed, Some(10_000));
    world.agent("p1").alive = false;
    world.pass(4000);
    assert_eq!((epoch(&world), level(&world)), (Epoch(2), ProofLevel::Lapsed));
    let mut world = watched(ProofLevel::LapsedBehindGate, Some(10_000));
    world.agent("p1").gate = GateState::Open;
    world.pass(100);
    world.agent("p1").alive = false;
    world.pass(4000);
    let reached = (epoch(&world), level(&world));
    assert_eq!(reached, (Epoch(2), ProofLevel::LapsedBehindGate), "the gate needs no time");
}

#[test]
fn fence_hook_confirmation_stands_alone_and_waits_for_no_lapse() {
    let mut world = World::with_hooks(&[POWER]).started(needs(ProofLevel::Provider));
    world.agent("p1").cut = true;
    world.pass(300);
    world.fence_words.push_back(HookVerdict::Confirmed);
    world.ask(PlanKind::Failover, Some("standby"), None);
    // Called once the host is not heard any more, and believed at once.
    world.agent("p1").alive = false;
    world.agent("p1").lease_until = None;
    world.pass(2000);
    assert_eq!((epoch(&world), level(&world)), (Epoch(2), ProofLevel::Provider));
    let order = world.fence_calls.first().unwrap();
    assert_eq!((&order.site, &order.host), (&site("primary"), &host("p1")));
    assert_eq!((order.epoch, order.level), (Epoch(1), ProofLevel::Provider));
    world.assert_replay();
    insta::assert_snapshot!("fence_hook_confirms", world.transcript.join("\n"));
}

#[test]
fn fence_hook_late_answer_is_unknown() {
    let (mut world, first) = called();
    world.step(hook_word(&first, HookVerdict::Failed));
    world.pass(8000);
    let second = world.fence_calls.last().unwrap().clone();
    assert_eq!((first.attempt, second.attempt), (AttemptId(1), AttemptId(2)));
    world.step(hook_word(&first, HookVerdict::Confirmed));
    world.pass(500);
    assert_eq!(epoch(&world), Epoch(1), "the first try is over");
    world.step(hook_word(&second, HookVerdict::Confirmed));
    world.pass(500);
    assert_eq!(epoch(&world), Epoch(2));
}

#[test]
fn fence_hook_answers_about_something_else_are_dropped() {
    let (mut world, asked) = called();
    let others = [
        FenceOrder { host: host("s1"), ..asked.clone() },
        FenceOrder { epoch: Epoch(0), ..asked.clone() },
        FenceOrder { epoch: Epoch(2), ..asked.clone() },
        FenceOrder { hook: "venue".into(), ..asked.clone() },
        FenceOrder { plan: asked.plan.next(), ..asked.clone() },
        FenceOrder { step: model::StepId(1), ..asked.clone() },
        FenceOrder { attempt: AttemptId(9), ..asked.clone() },
    ];
    for other in others {
        world.step(hook_word(&other, HookVerdict::Confirmed));
        world.pass(100);
        assert_eq!(epoch(&world), Epoch(1), "{other:?}");
    }
    world.step(hook_word(&asked, HookVerdict::Confirmed));
    world.pass(500);
    assert_eq!(epoch(&world), Epoch(2));
}

#[test]
fn fence_hook_that_answers_twice_is_unknown() {
    let (mut world, asked) = called();
    world.step(hook_word(&asked, HookVerdict::Failed));
    world.step(hook_word(&asked, HookVerdict::Confirmed));
    world.pass(1000);
    assert_eq!(epoch(&world), Epoch(1), "{}", world.transcript.join("\n"));
}

#[test]
fn fence_hook_failures_are_bounded_and_end_in_words() {
    for verdict in [HookVerdict::Failed, HookVerdict::Unknown] {
        let mut world = World::with_hooks(&[POWER]).started(needs(ProofLevel::Provider));
        world.fence_words.extend([verdict; 20]);
        world.agent("p1").alive = false;
        world.pass(60_000);
        assert_eq!(epoch(&world), Epoch(1));
        assert_eq!(world.fence_calls.len(), 5, "once in each of the five tries");
        let plan = world.state().plans.values().next_back().unwrap();
        let words = format!("hook power for p1: {verdict}, server is off");
        let held = matches!(&plan.state, PlanState::Held { reason } if reason.contains(&words));
        assert!(held, "{:?}", plan.state);
        world.assert_replay();
    }
}

#[test]
fn fence_hook_silence_ends_too() {
    let (mut world, _) = called();
    world.pass(5 * 305_000);
    let plan = world.state().plans.values().next_back().unwrap();
    let held = matches!(&plan.state, PlanState::Held { reason }
        if reason.contains("hook power has not answered for p1"));
    assert!(held, "{:?}", plan.state);
}

#[test]
fn fence_hook_is_called_when_a_lapse_is_certain_and_not_enough() {
    // Level 2 is needed, and the silent host has neither gate nor watchdog.
    let needed = ProofLevel::LapsedBehindGate;
    let mut world = World::with_hooks(&[POWER]).started(needs(needed));
    world.fence_words.push_back(HookVerdict::Confirmed);
    world.agent("p1").alive = false;
    world.pass(4000);
    assert_eq!((epoch(&world), level(&world)), (Epoch(2), ProofLevel::Provider));
    // Where a lapse does, nobody is switched off.
    let mut world = World::with_hooks(&[POWER]).started(needs(ProofLevel::Lapsed));
    world.agent("p1").alive = false;
    world.pass(4000);
    assert_eq!((epoch(&world), world.fence_calls.len()), (Epoch(2), 0));
}

#[test]
fn fence_hook_is_not_called_for_a_host_that_may_acknowledge_enough() {
    let mut world = World::with_hooks(&[POWER]).started(needs(ProofLevel::LapsedBehindGate));
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.pass(2000);
    assert_eq!((epoch(&world), level(&world)), (Epoch(2), ProofLevel::Acknowledged));
    assert_eq!(world.fence_calls, []);
}

#[test]
fn fence_hook_reaches_a_host_that_lives_and_cannot_stop() {
    let mut world = World::with_hooks(&[POWER]).started(needs(ProofLevel::Lapsed));
    let failure = Outcome::Failed { detail: "dockerd hangs".into() };
    world.agent("p1").answers.insert("fence".into(), vec![failure; 50].into());
    world.ask(PlanKind::Failover, Some("standby"), None);
    world.fence_words.push_back(HookVerdict::Confirmed);
    for _ in 0..80 {
        world.agent("p1").state = model::ServiceState::Unhealthy;
        world.pass(25);
    }
    assert_eq!(epoch(&world), Epoch(2), "{}", world.transcript.join("\n"));
    assert_eq!(level(&world), ProofLevel::Provider);
}

#[test]
fn c7_a_new_leader_calls_the_fence_hook_again() {
    let (mut world, first) = called();
    world.new_leader(2);
    world.pass(8000);
    let again = world.fence_calls.last().unwrap().clone();
    assert_eq!(world.fence_calls.len(), 2);
    assert_eq!((&again.host, again.epoch, again.plan), (&first.host, first.epoch, first.plan));
    world.step(hook_word(&again, HookVerdict::Confirmed));
    world.pass(1000);
    assert_eq!(epoch(&world), Epoch(2));
    let fences = world.journal.iter().filter(|(_, r)| matches!(r, Record::Fenced { .. })).count();
    assert_eq!(fences, 1);
}

#[test]
fn c3_a_hook_that_is_not_there_or_says_too_little_proves_nothing() {
    let weak = ("power", ProofLevel::Acknowledged);
    let other = ("venue", ProofLevel::Venue);
    for hooks in [&[][..], &[weak][..], &[other][..]] {
        let mut world = World::with_hooks(hooks).started(needs(ProofLevel::Provider));
        world.agent("p1").alive = false;
        world.pass(5000);
        assert_eq!((epoch(&world), world.fence_calls.len()), (Epoch(1), 0), "{hooks:?}");
        let sight = world.engine.look(&group(), world.now()).unwrap();
        let words = failover::decide(&sight).to_string();
        assert!(words.contains("the policy demands 4"), "{words}");
    }
}

#[test]
fn the_strongest_of_several_hooks_counts() {
    let both =
        GroupSpec { fence: vec!["power".into(), "venue".into()], ..needs(ProofLevel::Venue) };
    let hooks = [POWER, ("venue", ProofLevel::Venue)];
    let mut world = World::with_hooks(&hooks).started(both);
    world.agent("p1").alive = false;
    world.pass(1500);
    let called: Vec<&str> = world.fence_calls.iter().map(|order| order.hook.as_str()).collect();
    assert_eq!(called, ["venue"], "the provider's word would not be enough");
    let order = world.fence_calls[0].clone();
    world.step(hook_word(&order, HookVerdict::Confirmed));
    world.pass(500);
    assert_eq!((epoch(&world), level(&world)), (Epoch(2), ProofLevel::Venue));
}

#[test]
fn a_policy_names_each_hook_once() {
    let fault = |fence: &[&str]| {
        let fence = fence.iter().map(|name| (*name).to_owned()).collect();
        GroupSpec { fence, ..spec() }.check().first().map(|fault| fault.field.clone())
    };
    assert_eq!(fault(&["power", "venue"]), None);
    assert_eq!(fault(&["power", "power"]), Some("group.fence".into()));
    assert_eq!(fault(&[""]), Some("group.fence".into()));
    assert_eq!(fault(&["x"; 11]), Some("group.fence".into()));
}

#[test]
fn doctor_names_hooks_that_are_not_there_and_hosts_that_cannot_promise() {
    let policy =
        GroupSpec { failsafe: true, fence: vec!["power".into(), "venue".into()], ..spec() };
    let mut world = World::with_hooks(&[POWER]).started(policy);
    world.agent("s1").peer = String::new();
    world.pass(100);
    let checks = world.engine.examine(&group(), world.now()).unwrap();
    let found: Vec<(&str, &str, &str)> = checks
        .iter()
        .filter(|check| ["fence-hook", "failsafe"].contains(&check.name))
        .map(|check| (check.name, check.subject.as_str(), check.result.word()))
        .collect();
    let expected = [
        ("fence-hook", "power", "ok"),
        ("fence-hook", "venue", "failed"),
        ("failsafe", "s1", "warn"),
    ];
    assert_eq!(found, expected);
}
