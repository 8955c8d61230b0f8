//! A1 and A7 as the guard keeps them, by example and for any command.

use super::*;
use model::{AttemptId, CommandId, Epoch, PlanId, SiteId, StepId, Term};
use proptest::prelude::*;

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn site() -> SiteId {
    SiteId::new("standby").unwrap()
}

fn start(name: &str) -> Action {
    Action::StartService { service: service(name) }
}

fn verify(feed: &str) -> Action {
    Action::Verify { feeds: vec![ProbeName::new(feed).unwrap()] }
}

fn allowed() -> Vec<Allowed> {
    let one = |name: &str, group: &str, exclusive| Allowed {
        service: service(name),
        group: GroupId::new(group).unwrap(),
        exclusive,
    };
    vec![one("bridge", "fx", true), one("db", "fx", false), one("other", "metals", true)]
}

fn command(term: u64, epoch: u64, action: Action) -> Command {
    Command {
        id: CommandId { plan: PlanId(1), step: StepId(1), attempt: AttemptId(1), part: 0 },
        term: Term(term),
        host: HostId::new("p1").unwrap(),
        group: GroupId::new("fx").unwrap(),
        epoch: Epoch(epoch),
        deadline: Millis(1000),
        action,
    }
}

/// Term 5 and epoch 3 seen; promoted under 3.
fn memory() -> Memory {
    let group = GroupId::new("fx").unwrap();
    let mut memory = Memory::default();
    memory.apply(Entry::Term(Term(5)));
    memory.apply(Entry::Promoted { group, epoch: Epoch(3), site: site() });
    memory
}

fn ask(command: &Command, memory: &Memory, lease_live: bool) -> Admission {
    let own = HostId::new("p1").unwrap();
    let (now, until) = (Mono(100), until(command, Mono(100)));
    let (allowed, feeds) = (allowed(), [ProbeName::new("ticks").unwrap()]);
    let (allowed, feeds) = (&allowed[..], &feeds[..]);
    let promised = None;
    let view =
        View { own: &own, memory, allowed, feeds, lease_live, promised, barred: "", until, now };
    admit(command, &view)
}

#[test]
fn a6_nothing_becomes_active_while_a_promise_binds() {
    let own = HostId::new("p1").unwrap();
    let (memory, allowed, feeds) = (memory(), allowed(), []);
    let left = Millis(700);
    let ask = |action: Action| {
        let command = command(5, 3, action);
        let (now, until, promised) = (Mono(100), until(&command, Mono(100)), Some(left));
        let (memory, allowed, feeds, lease_live) = (&memory, &allowed[..], &feeds[..], true);
        let view = View {
            own: &own,
            memory,
            allowed,
            feeds,
            lease_live,
            promised,
            barred: "",
            until,
            now,
        };
        admit(&command, &view)
    };
    let promote = Action::Promote { site: site() };
    assert_eq!(refusal(ask(promote)), Refusal::Promised { left });
    assert_eq!(refusal(ask(start("bridge"))), Refusal::Promised { left });
    assert!(matches!(ask(start("db")), Admission::Run(_)), "a shared one acts on both sites");
    assert!(matches!(ask(Action::Fence), Admission::Run(_)), "closing is always allowed");
}

fn refusal(admission: Admission) -> Refusal {
    match admission {
        Admission::Refuse(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a7_a_repeated_command_gets_its_recorded_outcome_under_any_term() {
    let mut memory = memory();
    let fence = command(5, 3, Action::Fence);
    memory.apply(Entry::Intent(fence.clone()));
    assert!(matches!(ask(&fence, &memory, false), Admission::Run(_)), "begun, never ended");
    let outcome = Outcome::Done { detail: "x".into() };
    memory.apply(Entry::Outcome { id: fence.id.clone(), outcome: outcome.clone() });
    assert_eq!(ask(&fence, &memory, false), Admission::Repeat(outcome.clone()));
    let old = Command { term: Term(1), ..fence };
    assert_eq!(ask(&old, &memory, false), Admission::Repeat(outcome));
}

#[test]
fn a7_an_outcome_is_not_said_of_another_command_with_the_same_number() {
    let mut memory = memory();
    let fence = command(5, 3, Action::Fence);
    memory.apply(Entry::Intent(fence.clone()));
    let outcome = Outcome::Fenced { stopped: vec![service("bridge")], gate_closed: false };
    memory.apply(Entry::Outcome { id: fence.id.clone(), outcome });
    // Founded anew, a cluster counts its plans from 1 again.
    let metals = Command { group: GroupId::new("metals").unwrap(), ..fence.clone() };
    for other in [metals, command(5, 4, Action::Fence), command(5, 3, start("db"))] {
        assert_eq!(other.id, fence.id);
        let Admission::Run(entries) = ask(&other, &memory, false) else { panic!("{other:?}") };
        let mut memory = memory.clone();
        entries.into_iter().for_each(|entry| memory.apply(entry));
        let known = memory.command(&other.id).unwrap();
        assert!(known.is(&other) && known.outcome.is_none(), "{known:?}");
        let mut again = Memory::default();
        memory.entries().into_iter().for_each(|entry| again.apply(entry));
        assert_eq!(again, memory);
    }
    let young = Command { term: Term(1), ..command(1, 4, Action::Fence) };
    let (given, seen) = (Term(1), Term(5));
    assert_eq!(refusal(ask(&young, &memory, false)), Refusal::StaleTerm { given, seen });
    // Active again under a higher epoch: that it was stopped once proves nothing.
    let group = fence.group.clone();
    memory.apply(Entry::Promoted { group, epoch: Epoch(4), site: site() });
    let (given, seen) = (Epoch(3), Epoch(4));
    assert_eq!(refusal(ask(&fence, &memory, true)), Refusal::StaleEpoch { given, seen });
}

#[test]
fn a1_lower_numbers_are_refused_and_higher_ones_adopted() {
    let memory = memory();
    let (given, seen) = (Term(4), Term(5));
    let old = ask(&command(4, 3, Action::Fence), &memory, true);
    assert_eq!(refusal(old), Refusal::StaleTerm { given, seen });
    let (given, seen) = (Epoch(2), Epoch(3));
    let old = ask(&command(5, 2, Action::Fence), &memory, true);
    assert_eq!(refusal(old), Refusal::StaleEpoch { given, seen });
    let promote = command(6, 4, Action::Promote { site: site() });
    let group = promote.group.clone();
    let expected = vec![
        Entry::Term(Term(6)),
        Entry::Promoted { group: group.clone(), epoch: Epoch(4), site: site() },
        Entry::Intent(promote.clone()),
    ];
    assert_eq!(ask(&promote, &memory, false), Admission::Run(expected));
    let db = command(5, 4, start("db"));
    let expected = vec![Entry::Epoch { group, epoch: Epoch(4) }, Entry::Intent(db.clone())];
    assert_eq!(ask(&db, &memory, false), Admission::Run(expected));
}

#[test]
fn a7_only_what_agent_toml_names_and_only_for_this_host() {
    let memory = memory();
    let words = |command: &Command| refusal(ask(command, &memory, true)).to_string();
    assert!(words(&command(5, 3, start("ghost"))).contains("service `ghost`"));
    assert!(words(&command(5, 3, start("other"))).contains("in group `metals`"));
    assert!(words(&command(5, 3, verify("ghost"))).contains("feed `ghost`"));
    let stranger =
        Command { group: GroupId::new("crypto").unwrap(), ..command(5, 3, Action::Fence) };
    assert!(words(&stranger).contains("names no service of that group"));
    let elsewhere = Command { host: HostId::new("s1").unwrap(), ..command(5, 3, Action::Fence) };
    assert!(words(&elsewhere).contains("this is `p1`"));
    let late = Command { deadline: Millis::ZERO, ..command(5, 3, Action::Fence) };
    assert_eq!(refusal(ask(&late, &memory, true)), Refusal::TooLate);
    let endless = Command { deadline: Millis(u64::MAX), ..command(5, 3, Action::Fence) };
    assert_eq!(until(&endless, Mono(5)), Mono(5) + DEADLINE_MAX);
}

#[test]
fn a1_an_exclusive_service_needs_the_live_lease_of_its_epoch() {
    let mut memory = memory();
    let no_lease = |number| Refusal::NoLease { epoch: Epoch(number) };
    assert!(matches!(ask(&command(5, 3, start("bridge")), &memory, true), Admission::Run(_)));
    assert_eq!(refusal(ask(&command(5, 3, start("bridge")), &memory, false)), no_lease(3));
    assert_eq!(refusal(ask(&command(5, 4, start("bridge")), &memory, true)), no_lease(4));
    assert!(matches!(ask(&command(5, 4, start("db")), &memory, false), Admission::Run(_)));
    memory.apply(Entry::Fenced { group: GroupId::new("fx").unwrap(), epoch: Epoch(3) });
    for action in [start("bridge"), Action::Promote { site: site() }, verify("ticks")] {
        assert_eq!(refusal(ask(&command(5, 3, action), &memory, true)), no_lease(3));
    }
    assert!(matches!(ask(&command(5, 3, Action::Fence), &memory, false), Admission::Run(_)));
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Fence),
        Just(Action::Promote { site: site() }),
        "(ticks|ghost)".prop_map(|name| verify(&name)),
        "(bridge|db|other|ghost)".prop_map(|name| start(&name)),
    ]
}

proptest! {
    #[test]
    fn invariants_of_every_admission(
        (term, epoch, plan) in (0..9u64, 0..6u64, 1..6u64),
        action in actions(),
        (lease_live, fenced, done) in (any::<bool>(), 0..6u64, any::<bool>()),
    ) {
        let mut memory = memory();
        let group = GroupId::new("fx").unwrap();
        if fenced > 0 {
            memory.apply(Entry::Fenced { group: group.clone(), epoch: Epoch(fenced) });
        }
        let id = CommandId { plan: PlanId(plan), step: StepId(0), attempt: AttemptId(1), part: 0 };
        let command = Command { id, ..command(term, epoch, action) };
        if done {
            memory.apply(Entry::Intent(command.clone()));
            let outcome = Outcome::Failed { detail: "recorded".into() };
            memory.apply(Entry::Outcome { id: command.id.clone(), outcome });
        }
        let before = memory.clone();
        match ask(&command, &memory, lease_live) {
            Admission::Repeat(outcome) => {
                prop_assert!(done);
                prop_assert_eq!(outcome, Outcome::Failed { detail: "recorded".into() });
            }
            Admission::Refuse(_) => {
                let overtaken = command.epoch < before.epoch(&group);
                prop_assert!(!done || (command.action == Action::Fence && overtaken));
            }
            Admission::Run(entries) => {
                prop_assert!(!done && command.term >= before.term());
                prop_assert!(command.epoch >= before.epoch(&group));
                prop_assert!(matches!(entries.last(), Some(Entry::Intent(_))), "intent, always");
                entries.into_iter().for_each(|entry| memory.apply(entry));
                prop_assert_eq!(memory.term(), command.term.max(before.term()));
                prop_assert!(memory.epoch(&group) >= command.epoch);
                let active = memory.group(&group).unwrap().active().is_some();
                match &command.action {
                    Action::Fence => prop_assert!(!active),
                    Action::Promote { .. } => prop_assert!(active),
                    Action::Verify { feeds } => {
                        prop_assert!(active && feeds[0].as_str() == "ticks");
                    }
                    Action::StartService { service } if service.as_str() == "bridge" => {
                        prop_assert!(active && lease_live);
                    }
                    Action::StartService { service } => prop_assert_eq!(service.as_str(), "db"),
                }
            }
        }
    }
}
