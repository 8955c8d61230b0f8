//! Overrides: the second operator, and holds of one group and of all.

use crate::world::{World, group, hook_word, site, spec};
use failover::{
    Applied, ApprovalId, GroupSpec, HookVerdict, PlanKind, PlanState, ProofLevel, Record,
};
use model::{Epoch, PlanId};

const LAPSE: Option<ProofLevel> = Some(ProofLevel::Lapsed);

fn two_operators() -> GroupSpec {
    let automatic_failover_needs = ProofLevel::LapsedBehindGate;
    GroupSpec { automatic_failover_needs, two_operators: true, ..spec() }
}

/// The primary is gone, and only a weaker proof than the policy's can be had.
fn in_need() -> World {
    let mut world = World::new().started(two_operators());
    world.agent("p1").alive = false;
    world.pass(3000);
    world
}

fn epoch(world: &World) -> Epoch {
    world.state().groups[&group()].epoch
}

fn refusal(world: &World) -> String {
    world.answer().expect_err("it is refused")
}

#[test]
fn a_weaker_proof_takes_a_second_operator() {
    let mut world = in_need();
    world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    assert_eq!(world.answer(), Ok(Applied::ApprovalAsked(ApprovalId(1))));
    world.pass(5000);
    assert_eq!(epoch(&world), Epoch(1), "one operator alone moves nothing");
    world.approve(1, "bob");
    assert_eq!(world.answer(), Ok(Applied::PlanOpened(PlanId(2))));
    world.pass(3000);
    assert_eq!(epoch(&world), Epoch(2));
    let plan = world.state().plans.values().next_back().unwrap();
    assert_eq!((plan.by.as_deref(), plan.approved_by.as_deref()), (Some("ann"), Some("bob")));
    let approval = &world.state().approvals[&ApprovalId(1)];
    assert_eq!((approval.plan, approval.word(world.now().wall)), (Some(PlanId(2)), "approved"));
    let incident = world.state().incidents.values().next_back().unwrap();
    let told = |entry: &failover::TimelineEntry| entry.what.contains("approved by bob");
    assert!(incident.timeline.iter().any(told));
    world.assert_replay();
    insta::assert_snapshot!("two_operators", world.transcript.join("\n"));
}

#[test]
fn the_same_operator_cannot_approve() {
    let mut world = in_need();
    world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    world.approve(1, "ann");
    assert!(refusal(&world).contains("it takes another operator"), "{}", refusal(&world));
    assert_eq!(epoch(&world), Epoch(1));
}

#[test]
fn an_approval_is_used_up_once() {
    let mut world = in_need();
    world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    world.approve(1, "bob");
    world.approve(1, "eve");
    assert!(refusal(&world).contains("approved by bob already"), "{}", refusal(&world));
    world.approve(7, "bob");
    assert!(refusal(&world).contains("no request for approval has the number 7"));
}

#[test]
fn two_approvals_at_once_open_one_plan() {
    let mut world = in_need();
    world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    // Both were proposed before either was committed.
    world.approve(1, "bob");
    let (_, record) = world.journal.iter().rfind(|(_, r)| opens(r)).cloned().unwrap();
    let plans = world.state().plans.len();
    world.write(record);
    assert!(matches!(world.answer(), Ok(Applied::Ignored(_))), "{:?}", world.answer());
    assert_eq!(world.state().plans.len(), plans);
    world.assert_replay();
}

fn opens(record: &Record) -> bool {
    matches!(record, Record::PlanOpened { draft, .. } if draft.approved_by.is_some())
}

#[test]
fn an_approval_expires_after_ten_minutes() {
    let mut world = in_need();
    world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    world.pass(600_000);
    world.approve(1, "bob");
    assert!(refusal(&world).contains("expired after"), "{}", refusal(&world));
    assert_eq!(world.state().approvals[&ApprovalId(1)].word(world.now().wall), "expired");
    assert_eq!(epoch(&world), Epoch(1));
}

#[test]
fn an_approval_looks_again_before_it_opens() {
    let mut world = in_need();
    world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    world.agent("s1").alive = false;
    world.pass(3000);
    world.approve(1, "bob");
    assert!(refusal(&world).contains("could not serve"), "{}", refusal(&world));
    // It is not used up by that.
    world.agent("s1").alive = true;
    world.pass(500);
    world.approve(1, "bob");
    assert!(matches!(world.answer(), Ok(Applied::PlanOpened(_))), "{:?}", world.answer());
}

#[test]
fn a_repeated_request_has_one_number() {
    let mut world = in_need();
    world.ask_again("mine", PlanKind::Failover, Some("standby"), LAPSE);
    world.ask_again("mine", PlanKind::Failover, Some("standby"), LAPSE);
    assert_eq!(world.answer(), Ok(Applied::ApprovalAsked(ApprovalId(1))));
    assert_eq!(world.state().approvals.len(), 1);
    world.approve(1, "bob");
    world.ask_again("mine", PlanKind::Failover, Some("standby"), LAPSE);
    assert_eq!(world.answer(), Ok(Applied::PlanOpened(PlanId(2))));
}

#[test]
fn the_policys_own_proof_takes_one_operator() {
    let mut world = World::new().started(two_operators());
    world.ask(PlanKind::Switchover, Some("standby"), None);
    assert!(matches!(world.answer(), Ok(Applied::PlanOpened(_))), "{:?}", world.answer());
    world.pass(2000);
    assert_eq!(epoch(&world), Epoch(2));
}

#[test]
fn a_plan_without_the_consent_it_needs_is_void() {
    let mut world = in_need();
    world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    world.approve(1, "bob");
    let (_, record) = world.journal.iter().rfind(|(_, r)| opens(r)).cloned().unwrap();
    let Record::PlanOpened { draft, cause, evidence, at } = record else { panic!("no plan") };
    // As another coordinator would see it, had nobody approved.
    let mut again = failover::State::default();
    for (position, record) in world.journal.iter().take_while(|(_, r)| !opens(r)) {
        again.apply(*position, record);
    }
    for (by, approval) in [
        (None, None),
        (Some("bob"), None),
        (Some("ann"), Some(ApprovalId(1))),
        (Some("bob"), Some(ApprovalId(2))),
    ] {
        let mut forged = draft.clone();
        (forged.approved_by, forged.approval) = (by.map(Into::into), approval);
        let record = Record::PlanOpened {
            draft: forged,
            cause: cause.clone(),
            evidence: evidence.clone(),
            at,
        };
        let applied = again.apply(again.position, &record);
        assert!(matches!(applied, Applied::Ignored(_)), "{by:?} {approval:?}: {applied:?}");
    }
}

#[test]
fn requests_for_approval_are_bounded() {
    let mut world = in_need();
    for _ in 0..50 {
        world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    }
    world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    let full = matches!(world.answer(), Ok(Applied::Ignored(why)) if why.contains("too many"));
    assert!(full, "{:?}", world.answer());
    world.pass(600_000);
    world.ask(PlanKind::Failover, Some("standby"), LAPSE);
    assert_eq!(world.answer(), Ok(Applied::ApprovalAsked(ApprovalId(51))));
    assert_eq!(world.state().approvals.len(), 50);
}

#[test]
fn a_hold_of_every_group_stops_automation_and_not_the_operator() {
    let mut world = World::running();
    let at = world.now().wall;
    let held = |group| {
        let reason = "the exchange moves".to_owned();
        Record::AutomationHeld { group, by: "ann".into(), reason, at }
    };
    let resumed = |group| Record::AutomationResumed { group, by: "ann".into(), at };
    world.write(held(Some(group())));
    world.write(held(None));
    world.agent("p1").alive = false;
    world.pass(5000);
    assert_eq!(epoch(&world), Epoch(1));
    // One group alone cannot be let out of it.
    world.write(resumed(Some(group())));
    let refused = matches!(world.answer(), Ok(Applied::Ignored(why)) if why.contains("every"));
    assert!(refused, "{:?}", world.answer());
    let sight = world.engine.look(&group(), world.now()).unwrap();
    assert!(failover::decide(&sight).to_string().contains("the exchange moves (ann)"));
    world.ask(PlanKind::Failover, Some("standby"), None);
    world.pass(3000);
    assert_eq!(epoch(&world), Epoch(2), "a person's word goes through");
    assert!(world.state().hold.is_some(), "and lifts no hold");
    world.write(resumed(None));
    assert!(world.state().hold.is_none());
    assert!(world.state().groups[&group()].hold.is_none(), "it is resumed for every group");
    world.assert_replay();
}

#[test]
fn a_hold_leaves_a_running_plan_alone() {
    let hooks = [("power", ProofLevel::Provider)];
    let policy = GroupSpec {
        automatic_failover_needs: ProofLevel::Provider,
        fence: vec!["power".into()],
        ..spec()
    };
    let mut world = World::with_hooks(&hooks).started(policy);
    world.agent("p1").alive = false;
    world.pass(1500);
    assert!(world.state().running_plan(&group()).is_some(), "{}", world.transcript.join("\n"));
    let at = world.now().wall;
    let (by, reason) = ("ann".to_owned(), "maintenance".to_owned());
    world.write(Record::AutomationHeld { group: None, by, reason, at });
    let order = world.fence_calls[0].clone();
    world.step(hook_word(&order, HookVerdict::Confirmed));
    world.pass(1000);
    assert_eq!(epoch(&world), Epoch(2), "half a failover serves nobody");
    let plan = world.state().plans.values().next_back().unwrap();
    assert_eq!(plan.state, PlanState::Completed);
    assert_eq!(world.state().groups[&group()].active, Some(site("standby")));
}
