//! What the core does, event by event, in a world of one engine.

use crate::world::{World, group, host, site, spec};
use failover::{HookResult, IncidentState, PlanKind, PlanState, ProofLevel, Record, Report};
use model::{Epoch, Millis, Outcome, ServiceState};

fn outcome(world: &World) -> (Option<model::SiteId>, Epoch) {
    let group = &world.state().groups[&group()];
    (group.active.clone(), group.epoch)
}

#[test]
fn a_silent_primary_is_failed_over_after_suspicion_dwell_and_lapse() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    world.pass(3000);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)));
    let plan = world.state().plans.values().next_back().unwrap().clone();
    assert_eq!(plan.state, PlanState::Completed, "{}", world.transcript.join("\n"));
    let report = Report::of_plan(&plan);
    assert_eq!(report.proof_level, 1);
    assert!(report.rto_ms.unwrap() < Millis(1500), "{report:?}");
    let incident = world.state().incidents.values().next_back().unwrap();
    assert_eq!(incident.state, IncidentState::Closed);
    assert_eq!(world.hook_calls, 1);
    assert!(world.delivered.values().all(|times| *times == 1));
    assert_eq!(world.alarms, 0);
    world.assert_replay();
    insta::assert_snapshot!("automatic_failover", world.transcript.join("\n"));
}

#[test]
fn an_operator_moves_a_healthy_group_and_back() {
    let mut world = World::running();
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.pass(500);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)));
    world.ask(PlanKind::Failback, None, None);
    world.pass(500);
    assert_eq!(outcome(&world), (Some(site("primary")), Epoch(3)));
    let proof = world.state().plans.values().next_back().unwrap().proof.clone().unwrap();
    assert_eq!(proof.level(), ProofLevel::Acknowledged);
    world.assert_replay();
    insta::assert_snapshot!("switchover_and_failback", world.transcript.join("\n"));
}

#[test]
fn c4_a_new_leader_waits_a_whole_lapse_from_its_own_election() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    // Enough for the decision, not for the plan.
    world.pass(550);
    world.new_leader(2);
    let elected = world.mono;
    world.pass(8000);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)));
    let fenced = world.journal.iter().find_map(|(_, record)| match record {
        Record::Fenced { at, .. } => Some(*at),
        _ => None,
    });
    let lapse = spec().timing().lapse();
    assert!(fenced.unwrap().0 >= 999_000 + elected.0 + lapse.0);
    world.assert_replay();
}

#[test]
fn c2_without_a_quorum_nothing_is_granted_and_the_lease_lapses() {
    let mut world = World::running();
    world.quorum = false;
    world.commits = false;
    world.pass(1000);
    assert_eq!(world.agent("p1").lease_until, None);
    assert_eq!(world.agent("p1").state, ServiceState::Stopped);
    assert_eq!(outcome(&world), (Some(site("primary")), Epoch(1)));
}

#[test]
fn c3_a_proof_too_weak_for_the_policy_starts_nothing() {
    let mut world = World::new();
    world.elect(1);
    world.pass(200);
    let mut strict = spec();
    strict.automatic_failover_needs = ProofLevel::LapsedBehindGate;
    world.apply(strict);
    world.pass(500);
    world.agent("p1").alive = false;
    world.pass(5000);
    assert_eq!(outcome(&world), (Some(site("primary")), Epoch(1)));
    world.ask(PlanKind::Failover, Some("standby"), None);
    assert!(world.transcript.last().unwrap().contains("--accept-proof 1"));
    world.ask(PlanKind::Failover, Some("standby"), Some(ProofLevel::Lapsed));
    world.pass(2000);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)));
}

#[test]
fn c7_a_new_leader_finishes_the_plan_from_every_record_on() {
    // The length of the whole story tells how many places there are to die in.
    let mut whole = World::running();
    let before = whole.journal.len();
    whole.agent("p1").alive = false;
    whole.pass(3000);
    let total = whole.journal.len();
    for cut in before + 1..=total {
        let mut world = World::running();
        world.agent("p1").alive = false;
        let mut limit = 200;
        while world.journal.len() < cut && limit > 0 {
            world.pass(25);
            limit -= 1;
        }
        // The journal is cut in the middle of what one event led to.
        world.journal.truncate(cut);
        world.new_leader(2);
        world.pass(6000);
        assert_eq!(
            outcome(&world),
            (Some(site("standby")), Epoch(2)),
            "cut after {cut}:\n{}",
            world.transcript.join("\n")
        );
        let plans: Vec<_> = world.state().plans.values().map(|p| p.state.clone()).collect();
        assert_eq!(plans, [PlanState::Completed, PlanState::Completed], "cut after {cut}");
        let activations =
            world.journal.iter().filter(|(_, r)| matches!(r, Record::Activated { .. })).count();
        assert_eq!(activations, 2, "cut after {cut}");
        world.assert_replay();
    }
}

#[test]
fn a_failed_service_on_a_living_host_is_fenced_by_acknowledgement() {
    let mut world = World::running();
    world.agent("p1").state = ServiceState::Failed;
    world.pass(3000);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)));
    let plan = world.state().plans.values().next_back().unwrap();
    assert_eq!(plan.proof.as_ref().unwrap().level(), ProofLevel::Acknowledged);
}

#[test]
fn c7_the_cool_down_follows_completed_failovers_only() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    world.pass(3000);
    world.restart("p1");
    world.pass(500);
    world.agent("s1").alive = false;
    world.pass(5000);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)), "the cool-down holds");
    world.pass(600_000);
    assert_eq!(outcome(&world), (Some(site("primary")), Epoch(3)), "and ends");
}

#[test]
fn a_step_that_fails_for_good_ends_held_and_automation_stops() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    let failure = Outcome::Failed { detail: "no such image".into() };
    world.agent("s1").answers.insert("start-service".into(), vec![failure; 5].into());
    world.pass(3000);
    let plan = world.state().plans.values().next_back().unwrap();
    assert!(matches!(&plan.state, PlanState::Held { reason } if reason.contains("no such image")));
    assert!(world.state().groups[&group()].hold.is_some());
    assert_eq!(world.state().incidents.values().next_back().unwrap().state, IncidentState::Held);
    // The next word is a person's.
    let plans = world.state().plans.len();
    world.pass(20_000);
    assert_eq!(world.state().plans.len(), plans);
    world.assert_replay();
}

#[test]
fn a_failed_hook_leaves_a_serving_site_and_a_held_plan() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    let bad = HookResult { switched: false, detail: "exit 7: zone locked".into() };
    world.hook.extend([bad.clone(), bad]);
    world.pass(3000);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)));
    let plan = world.state().plans.values().next_back().unwrap();
    assert!(matches!(&plan.state, PlanState::Held { reason } if reason.contains("zone locked")));
    assert_eq!(plan.find("verify").unwrap().state.word(), "done");
}

#[test]
fn two_operators_at_once_get_one_plan() {
    let mut world = World::running();
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.pass(1000);
    let moves = world.state().plans.values().filter(|p| p.kind == PlanKind::Switchover).count();
    assert_eq!(moves, 1);
    assert!(world.transcript.iter().any(|line| line.contains("refused")));
}

#[test]
fn c5_a_stall_of_our_own_is_no_evidence_against_anybody() {
    let mut world = World::running();
    // The coordinator is stopped for ten seconds; nothing is heard meanwhile.
    world.stall(10_000);
    world.agents.values_mut().for_each(|agent| agent.lease_until = None);
    world.step(failover::Event::Tick);
    assert!(world.state().running_plan(&group()).is_none());
    world.pass(100);
    assert!(world.state().running_plan(&group()).is_none());
    assert!(world.engine.view().host(&host("p1")).is_some());
}

#[test]
fn hold_stops_automation_and_resume_allows_it() {
    let mut world = World::running();
    let at = world.now().wall;
    let held = Record::AutomationHeld {
        group: Some(group()),
        by: "ann".into(),
        reason: "maintenance".into(),
        at,
    };
    world.write(held);
    world.agent("p1").alive = false;
    world.pass(5000);
    assert_eq!(outcome(&world), (Some(site("primary")), Epoch(1)));
    world.write(Record::AutomationResumed { group: None, by: "ann".into(), at });
    world.pass(1000);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)));
}

#[test]
fn a_lost_standby_is_no_target_and_says_so() {
    let mut world = World::running();
    world.agent("s1").alive = false;
    world.agent("p1").alive = false;
    world.pass(5000);
    assert_eq!(outcome(&world), (Some(site("primary")), Epoch(1)));
    let sight = world.engine.look(&group(), world.now()).unwrap();
    let words = failover::decide(&sight).to_string();
    assert!(words.contains("no site could take over") && words.contains("s1 is lost"), "{words}");
}

#[test]
fn any_recorded_decision_is_reproduced_from_its_evidence() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    world.pass(3000);
    for incident in world.state().incidents.values() {
        let explained = failover::explain_incident(incident);
        assert!(explained.reproduced, "{explained:?}");
    }
}

#[test]
fn c4_an_operator_in_a_hurry_still_waits_for_the_lapse() {
    let mut world = World::running();
    // Cut off, alive, with a fresh lease.
    world.agent("p1").cut = true;
    world.pass(300);
    assert!(world.agent("p1").lease_until.is_some());
    world.ask(PlanKind::Failover, Some("standby"), Some(ProofLevel::Lapsed));
    world.pass(3000);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)));
}

#[test]
fn a_returning_old_active_learns_the_epoch_and_stays_closed() {
    let mut world = World::running();
    world.agent("p1").cut = true;
    world.pass(3000);
    world.agent("p1").cut = false;
    let now = world.mono;
    world.step(failover::Event::SessionOpened { host: host("p1") });
    assert_eq!(world.mono, now);
    assert_eq!(world.agent("p1").epoch, Epoch(2));
    world.pass(3000);
    assert_eq!(world.agent("p1").lease_until, None);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(2)));
}

#[test]
fn a_held_site_is_brought_back_by_a_failover_to_itself() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    let failure = Outcome::Failed { detail: "no such image".into() };
    world.agent("s1").answers.insert("start-service".into(), vec![failure; 2].into());
    world.pass(3000);
    assert!(world.state().groups[&group()].hold.is_some());
    // The operator mended the image and knows no better place.
    world.ask(PlanKind::Failover, Some("standby"), None);
    world.pass(1000);
    assert_eq!(outcome(&world), (Some(site("standby")), Epoch(3)));
    let fx = &world.state().groups[&group()];
    assert!(fx.hold.is_none() && fx.plan.is_none(), "{}", world.transcript.join("\n"));
    assert_eq!(world.agent("s1").state, ServiceState::Running);
    assert!(world.agent("s1").lease_until.is_some());
    // A healthy one is left alone.
    world.ask(PlanKind::Failover, Some("standby"), None);
    assert!(world.transcript.last().unwrap().contains("it is healthy"));
}

#[test]
fn a_channel_that_asks_for_patience_gets_it() {
    let mut world = World::running();
    world.refusals.push_back(failover::DeliveryResult::Failed {
        detail: "429".into(),
        retry_after: Some(Millis(5000)),
    });
    world.ask(PlanKind::Switchover, Some("standby"), None);
    world.pass(4500);
    let waiting = world.state().outbox.values().filter(|n| !n.settled("log")).count();
    assert_eq!(waiting, 1);
    world.pass(1000);
    assert!(world.state().outbox.values().all(|n| n.settled("log")));
}
