//! Exact effects, event by event.

use crate::world::{World, group, host};
use failover::{Asker, Effect, Event, Record, Round, Ticket};
use model::{
    Epoch, HostDeed, IsolationProfile, LeaseGrant, LeaseRefusal, LeaseReply, LeaseRequest, Millis,
    Nonce, Term, Wall,
};

fn request(epoch: u64, name: &str) -> Event {
    let request = LeaseRequest {
        group: group(),
        host: host(name),
        epoch: Epoch(epoch),
        nonce: Nonce(9),
        derived: None,
    };
    Event::Renewal { asker: Asker(4), request }
}

fn step(world: &mut World, event: Event) -> Vec<Effect> {
    let now = world.now();
    world.engine.step(event, now)
}

fn refusal(reason: LeaseRefusal, term: u64) -> Effect {
    let reply = LeaseReply::Refused { group: group(), nonce: Nonce(9), term: Term(term), reason };
    Effect::Lease { asker: Asker(4), reply }
}

#[test]
fn c2_a_renewal_leads_to_a_round_and_the_round_to_a_grant() {
    let mut world = World::running();
    let asked = step(&mut world, request(1, "p1"));
    let [Effect::ConfirmQuorum { round, term }] = asked[..] else { panic!("{asked:?}") };
    assert_eq!(term, Term(1));
    // A second one waits for a round of its own, begun after it.
    assert_eq!(step(&mut world, request(1, "s1")), []);
    let granted = step(&mut world, Event::RoundEnded { round, confirmed: true });
    let grant = LeaseGrant {
        group: group(),
        epoch: Epoch(1),
        nonce: Nonce(9),
        term: Term(1),
        lease: Millis(500),
        gate_margin: Millis(25),
    };
    let next = Round(round.0 + 1);
    assert_eq!(
        granted,
        [
            Effect::Lease { asker: Asker(4), reply: LeaseReply::Granted(grant) },
            Effect::ConfirmQuorum { round: next, term: Term(1) },
        ]
    );
    let refused = step(&mut world, Event::RoundEnded { round: next, confirmed: true });
    assert_eq!(refused, [refusal(LeaseRefusal::NotActive, 1)]);
}

#[test]
fn c2_an_unconfirmed_round_grants_nothing() {
    let mut world = World::running();
    let asked = step(&mut world, request(1, "p1"));
    let [Effect::ConfirmQuorum { round, .. }] = asked[..] else { panic!("{asked:?}") };
    let ended = step(&mut world, Event::RoundEnded { round, confirmed: false });
    assert_eq!(ended, [refusal(LeaseRefusal::NoQuorum, 1)]);
    let again = step(&mut world, Event::RoundEnded { round, confirmed: true });
    assert_eq!(again, [], "a round that ended serves nobody twice");
}

#[test]
fn a_follower_grants_nothing_and_decides_nothing() {
    let mut world = World::running();
    assert_eq!(step(&mut world, Event::Deposed { term: Term(3) }), []);
    assert_eq!(step(&mut world, request(1, "p1")), [refusal(LeaseRefusal::NotLeader, 3)]);
    world.mono.0 += 100;
    assert_eq!(step(&mut world, Event::Tick), []);
    assert_eq!(step(&mut world, Event::SessionOpened { host: host("p1") }), []);
}

#[test]
fn a_superseded_epoch_is_told_the_committed_one() {
    let mut world = World::running();
    let asked = step(&mut world, request(0, "p1"));
    let [Effect::ConfirmQuorum { round, .. }] = asked[..] else { panic!("{asked:?}") };
    let ended = step(&mut world, Event::RoundEnded { round, confirmed: true });
    assert_eq!(ended, [refusal(LeaseRefusal::Superseded { epoch: Epoch(1) }, 1)]);
}

#[test]
fn a_session_is_told_where_its_groups_stand() {
    let mut world = World::running();
    let effects = step(&mut world, Event::SessionOpened { host: host("s1") });
    let [Effect::Assign { host: told, term, groups, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((told, *term, groups.len()), (&host("s1"), Term(1), 1));
    assert_eq!((groups[0].epoch, groups[0].site.as_str()), (Epoch(1), "standby"));
}

#[test]
fn c1_an_order_for_a_host_leaves_once_it_is_committed_and_at_every_session() {
    let mut world = World::running();
    let ordered = |name: &str, deed| Record::HostOrdered {
        host: host(name),
        deed,
        by: "ann".into(),
        reason: "an odd process".into(),
        at: Wall(7),
    };
    let isolate = HostDeed::Isolate {
        profile: IsolationProfile::Breach,
        span: Some(Millis(5000)),
        force: false,
    };
    // Nothing but an append leaves before the commit.
    let event = Event::Request {
        id: failover::RequestId(99),
        request: Box::new(failover::Request::Write(Box::new(ordered("p1", isolate)))),
    };
    let effects = step(&mut world, event);
    assert!(matches!(&effects[..], [Effect::Append { .. }]), "{effects:?}");
    let position = failover::Position { index: 900, term: Term(1) };
    let record = Box::new(ordered("p1", isolate));
    let effects = step(&mut world, Event::Committed { position, record });
    let told = |effects: &[Effect]| {
        let [Effect::Assign { host, order, .. }] = effects else { panic!("{effects:?}") };
        (host.clone(), order.clone())
    };
    let (to, order) = told(&effects);
    let order = order.unwrap();
    assert_eq!((to, order.deed, order.by.as_str()), (host("p1"), isolate, "ann"));
    // Again at every session, and nobody else's.
    let again = step(&mut world, Event::SessionOpened { host: host("p1") });
    assert_eq!(told(&again), (host("p1"), Some(order.clone())));
    assert_eq!(told(&step(&mut world, Event::SessionOpened { host: host("s1") })).1, None);
    // The newest takes its place, under another number.
    let position = failover::Position { index: 901, term: Term(1) };
    let record = Box::new(ordered("p1", HostDeed::Release));
    let newer = told(&step(&mut world, Event::Committed { position, record })).1.unwrap();
    assert!(newer.id != order.id && newer.deed == HostDeed::Release);
    // For a host that nobody knows there is no order.
    world.write(ordered("x9", HostDeed::Release));
    assert!(matches!(world.answer(), Ok(failover::Applied::Ignored(why)) if why.contains("x9")));
}

#[test]
fn a_revocation_reaches_the_tls_side_at_its_commit() {
    let mut world = World::running();
    let position = failover::Position { index: 999, term: Term(1) };
    let record =
        Record::CertificateRevoked { serial: "0a".into(), reason: "lost".into(), at: Wall(1) };
    let event = Event::Committed { position, record: Box::new(record) };
    assert_eq!(step(&mut world, event), [Effect::TrustChanged]);
}

#[test]
fn an_append_that_failed_is_decided_anew_and_not_repeated_blindly() {
    let mut world = World::running();
    world.agent("p1").alive = false;
    world.commits = false;
    world.pass(2000);
    let open = world.transcript.iter().filter(|line| line.contains("plan-opened failover")).count();
    assert_eq!(open, 0, "nothing was committed");
    let stray = Event::Appended {
        ticket: Ticket(u64::MAX),
        result: Err(failover::AppendFailure::NotLeader),
    };
    // An answer that nobody waits for changes nothing; the one under way stays the only one.
    let effects = step(&mut world, stray);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Append { .. })), "{effects:?}");
}

#[test]
fn a_task_is_ordered_once_and_its_end_is_told_once() {
    let mut world = World::running();
    let ordered = |request: &str, name: &str| Record::TaskOrdered {
        request: request.into(),
        host: host(name),
        task: "backup run db".into(),
        by: "ann".into(),
        reason: "before the upgrade".into(),
        at: Wall(7),
    };
    let ended = |exit| Record::TaskEnded {
        request: "r1".into(),
        exit,
        detail: String::new(),
        bytes: 12,
        at: Wall(9),
    };
    let refused = |world: &mut World, record, words: &str| {
        world.write(record);
        let answer = world.answer();
        assert!(
            matches!(&answer, Ok(failover::Applied::Ignored(why)) if why.contains(words)),
            "{answer:?}"
        );
    };
    refused(&mut world, ordered("r0", "x9"), "no group names a host x9");
    world.write(ordered("r1", "p1"));
    assert_eq!(world.answer(), Ok(failover::Applied::Done));
    refused(&mut world, ordered("r1", "p1"), "was ordered already");
    world.write(ended(3));
    refused(&mut world, ended(0), "recorded already");
    let mut state = failover::State::default();
    let mut index = 0;
    let mut apply = |state: &mut failover::State, record| {
        index += 1;
        state.apply(failover::Position { index, term: Term(1) }, &record)
    };
    let spec = Box::new(crate::world::spec());
    apply(&mut state, Record::GroupApplied { spec, by: "ann".into(), at: Wall(1) });
    for number in 0..150 {
        apply(&mut state, ordered(&format!("r{number}"), "p1"));
    }
    assert_eq!((state.tasks.len(), state.task("r49")), (100, None), "bounded: the oldest went");
    assert_eq!(state.newest_task(&host("p1")).map(|task| task.request.as_str()), Some("r149"));
    // What a journal of before has no tasks in is read as it was.
    let mut old = serde_json::to_value(&state).unwrap();
    old.as_object_mut().unwrap().remove("tasks");
    assert!(serde_json::from_value::<failover::State>(old).unwrap().tasks.is_empty());
}
