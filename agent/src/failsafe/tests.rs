//! A6 as both sides keep it, by example and for any order of events.

use super::*;
use crate::lease::{Dropped, Heard, Lease};
use model::{LeaseGrant, LeaseReply, SiteId, Term};
use proptest::prelude::*;

const T: Millis = Millis(5000);

fn group() -> GroupId {
    GroupId::new("fx").unwrap()
}

fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

fn peers(names: &[&str]) -> Vec<PeerAddress> {
    names.iter().map(|name| PeerAddress { host: host(name), address: "x:1".into() }).collect()
}

fn assignment(own: &str, others: &[&str]) -> GroupAssignment {
    GroupAssignment {
        group: group(),
        site: SiteId::new(own).unwrap(),
        active: Some(SiteId::new("p1").unwrap()),
        epoch: Epoch(1),
        lease: T,
        fencing: false,
        failsafe: Some(peers(others)),
    }
}

struct Active {
    host: HostId,
    peers: Vec<PeerAddress>,
    lease: Lease,
    asker: Asker,
    nonce: u64,
}

impl Active {
    /// Holds a lease that was asked for at `sent`.
    fn new(others: &[&str], sent: Mono) -> Self {
        let host = host("p1");
        let lease = Lease::new(group(), host.clone(), Epoch(1));
        let (peers, asker) = (peers(others), Asker::default());
        let mut active = Self { host, peers, lease, asker, nonce: 0 };
        active.grant(sent, sent);
        active
    }

    fn nonce(&mut self) -> Nonce {
        self.nonce += 1;
        Nonce(self.nonce)
    }

    fn grant(&mut self, sent: Mono, now: Mono) {
        let nonce = self.nonce();
        self.lease.request(sent, nonce, None);
        let (group, gate_margin) = (group(), T.div_ceil(20));
        let (epoch, term) = (Epoch(1), Term(1));
        let grant = LeaseGrant { group, epoch, nonce, term, lease: T, gate_margin };
        self.lease.on_reply(LeaseReply::Granted(grant), now);
        if let Some(granted) = self.lease.granted() {
            self.asker.granted(granted);
        }
    }

    fn ask(&mut self, now: Mono) -> Vec<(HostId, PromiseRequest)> {
        let (own, lease, epoch, group) = (&self.host, T, self.lease.epoch(), &group());
        let ask = Ask { group, own, epoch, lease, peers: &self.peers };
        let nonce = &mut self.nonce;
        self.asker.begin(now, &ask, || {
            *nonce += 1;
            Nonce(*nonce)
        })
    }

    fn hear(&mut self, reply: &PromiseReply, now: Mono) -> Option<Heard> {
        let (PromiseReply::Promised { host, .. } | PromiseReply::Refused { host, .. }) = reply;
        match self.asker.on_reply(&host.clone(), reply) {
            Answer::Complete(extension) => Some(self.lease.extend_by_promises(&extension, now)),
            Answer::Waiting | Answer::Over { .. } | Answer::Dropped => None,
        }
    }
}

fn promised(request: &PromiseRequest, by: &str) -> PromiseReply {
    PromiseReply::Promised { group: group(), host: host(by), nonce: request.nonce }
}

#[test]
fn a6_two_rounds_fit_after_half_a_lease_without_a_grant() {
    let mut active = Active::new(&["s1"], Mono(1000));
    assert!(active.ask(Mono(3499)).is_empty(), "not before T/2");
    assert_eq!(active.ask(Mono(3500)).len(), 1);
    assert!(active.ask(Mono(4499)).is_empty(), "the round has its time");
    let second = active.ask(Mono(4500));
    assert_eq!(second.len(), 1);
    let heard = active.hear(&promised(&second[0].1, "s1"), Mono(4600));
    let deadline = Mono(4500 + 5000 - 250);
    assert_eq!(heard, Some(Heard::Extended { deadline, opened: false }), "as a grant");
    assert!(active.asker.engaged());
    assert!(active.ask(Mono(4999)).is_empty());
    assert_eq!(active.ask(Mono(5000)).len(), 1, "then each heartbeat interval");
    active.grant(Mono(5100), Mono(5200));
    assert!(!active.asker.engaged() && active.ask(Mono(7599)).is_empty());
}

#[test]
fn a6_everybody_must_promise_in_one_round() {
    let mut active = Active::new(&["s1", "s2"], Mono(0));
    let first = active.ask(Mono(2500));
    assert_eq!(active.hear(&promised(&first[0].1, "s1"), Mono(2600)), None);
    assert_eq!(active.hear(&promised(&first[0].1, "s1"), Mono(2600)), None, "twice is once");
    assert_eq!(active.hear(&promised(&first[0].1, "s2"), Mono(2600)), None, "another's nonce");
    let second = active.ask(Mono(3500));
    assert_eq!(active.hear(&promised(&first[1].1, "s2"), Mono(3510)), None, "of the round before");
    assert_eq!(active.hear(&promised(&second[1].1, "s2"), Mono(3520)), None);
    let heard = active.hear(&promised(&second[0].1, "s1"), Mono(3530));
    assert!(matches!(heard, Some(Heard::Extended { deadline: Mono(8250), .. })), "{heard:?}");
    let nobody = Active::new(&[], Mono(0)).ask(Mono(2500));
    assert!(nobody.is_empty(), "nobody's promise is not everybody's");
    let mut unknown = Active::new(&["s1"], Mono(0));
    unknown.peers[0].address.clear();
    assert!(unknown.ask(Mono(2500)).is_empty(), "one that cannot be asked cannot promise");
    assert_eq!(unknown.asker.due(T), Some(Mono(3000)), "looked at again, and not at once");
}

#[test]
fn a6_one_refusal_ends_it_until_a_real_grant() {
    let mut active = Active::new(&["s1", "s2"], Mono(0));
    let first = active.ask(Mono(2500));
    active.ask(Mono(3500));
    let refused = PromiseReply::Refused {
        group: group(),
        host: host("s2"),
        nonce: first[1].1.nonce,
        reason: PromiseRefusal::HigherEpoch { epoch: Epoch(2) },
    };
    assert!(matches!(active.asker.on_reply(&host("s1"), &refused), Answer::Dropped), "not from it");
    let over = active.asker.on_reply(&host("s2"), &refused);
    assert!(matches!(over, Answer::Over { .. }), "also for a round before: {over:?}");
    assert!(active.ask(Mono(4500)).is_empty() && !active.asker.engaged());
    assert_eq!(active.lease.epoch(), Epoch(1), "a peer's word is not adopted");
    assert!(active.lease.live(Mono(4749)) && !active.lease.live(Mono(4750)), "it runs out");
    active.grant(Mono(4000), Mono(4600));
    assert_eq!(active.ask(Mono(6500)).len(), 2, "a grant begins anew");
}

#[test]
fn a5_a6_what_was_asked_before_a_stall_counts_for_nothing() {
    let mut active = Active::new(&["s1"], Mono(0));
    let first = active.ask(Mono(2500));
    active.lease.stall(Mono(3000));
    active.asker.stalled();
    assert_eq!(active.hear(&promised(&first[0].1, "s1"), Mono(3000)), None);
    assert!(active.lease.live(Mono(3000)) && active.lease.gate_until(Mono(3000)).is_none());
    let second = active.ask(Mono(3001));
    let heard = active.hear(&promised(&second[0].1, "s1"), Mono(3100));
    assert!(matches!(heard, Some(Heard::Extended { .. })), "{heard:?}");
    assert_eq!(active.lease.gate_until(Mono(3100)), Some(Mono(7751)));
}

#[test]
fn a6_promises_never_begin_a_lease() {
    let mut active = Active::new(&["s1"], Mono(0));
    let late = active.ask(Mono(4700));
    active.lease.expire(Mono(4750));
    let heard = active.hear(&promised(&late[0].1, "s1"), Mono(4751));
    assert_eq!(heard, Some(Heard::Dropped(Dropped::NotLive)));
    let mut active = Active::new(&["s1"], Mono(0));
    let late = active.ask(Mono(4700));
    active.lease.adopt(Epoch(2));
    let heard = active.hear(&promised(&late[0].1, "s1"), Mono(4701));
    let (given, seen) = (Epoch(1), Epoch(2));
    assert_eq!(heard, Some(Heard::Dropped(Dropped::Epoch { given, seen })));
}

fn request(epoch: u64) -> PromiseRequest {
    let (group, host) = (group(), host("p1"));
    PromiseRequest { group, host, epoch: Epoch(epoch), nonce: Nonce(1), lease: T }
}

fn reason(reply: PromiseReply) -> PromiseRefusal {
    match reply {
        PromiseReply::Refused { reason, .. } => reason,
        PromiseReply::Promised { .. } => panic!("promised"),
    }
}

#[test]
fn a6_a_host_refuses_what_it_could_not_keep_and_keeps_what_it_promised() {
    let own = host("s1");
    let assigned = assignment("s1", &["p1"]);
    let standing =
        Standing { own: &own, seen: Epoch(1), assignment: Some(&assigned), active: false };
    let refuses = |request: &PromiseRequest, standing: &Standing<'_>| {
        let mut barrier = Barrier::none();
        let reason = reason(barrier.consider(request, standing, Mono(0)));
        assert_eq!(barrier, Barrier::none(), "a refusal binds nobody");
        reason
    };
    let higher = Standing { seen: Epoch(2), ..standing };
    assert_eq!(refuses(&request(1), &higher), PromiseRefusal::HigherEpoch { epoch: Epoch(2) });
    let active = Standing { active: true, ..standing };
    assert_eq!(refuses(&request(1), &active), PromiseRefusal::Active);
    let fencing = GroupAssignment { fencing: true, ..assigned.clone() };
    let fencing = Standing { assignment: Some(&fencing), ..standing };
    assert_eq!(refuses(&request(1), &fencing), PromiseRefusal::Fencing);
    let without = GroupAssignment { failsafe: None, ..assigned.clone() };
    for (request, assignment) in [
        (request(1), None),
        (request(2), Some(&assigned)),
        (request(1), Some(&without)),
        (PromiseRequest { host: host("s2"), ..request(1) }, Some(&assigned)),
        (PromiseRequest { lease: Millis(60_001), ..request(1) }, Some(&assigned)),
        (PromiseRequest { lease: Millis(0), ..request(1) }, Some(&assigned)),
    ] {
        let refused = refuses(&request, &Standing { assignment, ..standing });
        assert!(matches!(refused, PromiseRefusal::Unknown { .. }), "{refused:?}");
    }
    let mut barrier = Barrier::none();
    let reply = barrier.consider(&request(1), &standing, Mono(100));
    assert!(matches!(reply, PromiseReply::Promised { nonce: Nonce(1), .. }));
    assert_eq!(barrier.left(Mono(100)), Some(Millis(5300)), "T(1+rho)+m from its receipt");
    let shorter = PromiseRequest { lease: Millis(500), ..request(1) };
    barrier.consider(&shorter, &standing, Mono(200));
    assert_eq!(barrier.left(Mono(200)), Some(Millis(5200)), "only ever later");
    assert_eq!(barrier.left(Mono(5400)), None);
}

#[test]
fn a6_a_restarted_agent_keeps_out_as_long_as_it_may_have_promised() {
    assert_eq!(Barrier::at_start(Mono(9), true).left(Mono(9)), None, "an active one refused");
    let mut barrier = Barrier::at_start(Mono(1000), false);
    assert!(barrier.left(Mono(2000)) > Some(Millis(60_000)), "nobody has said how long");
    barrier.assigned(&GroupAssignment { failsafe: None, ..assignment("s1", &[]) });
    assert_eq!(barrier.left(Mono(2000)), None, "nothing to be promised");
    barrier.assigned(&assignment("s1", &["p1"]));
    assert_eq!(barrier.left(Mono(2000)), Some(Millis(4300)), "counted from its start");
    assert_eq!(barrier.left(Mono(6300)), None);
}

/// A host of another site with a clock of its own.
struct Other {
    name: &'static str,
    /// Its clock at the true time 0, and parts in 10,000 by which it is fast.
    offset: u64,
    rate: i64,
    barrier: Barrier,
    seen: Epoch,
}

impl Other {
    fn now(&self, at: u64) -> Mono {
        Mono(self.offset + by_rate(at, self.rate))
    }
}

fn by_rate(at: u64, rate: i64) -> u64 {
    let off = i64::try_from(at).unwrap() * rate / 10_000;
    at.checked_add_signed(off).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Ask,
    /// Delivers a question, or an answer, of those under way; they stay, and may
    /// be delivered again.
    Question(prop::sample::Index),
    Answer(prop::sample::Index),
    Grant,
    Stall,
    Restart(usize),
    Higher(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..900_u64).prop_map(Step::Wait),
        4 => Just(Step::Ask),
        6 => any::<prop::sample::Index>().prop_map(Step::Question),
        6 => any::<prop::sample::Index>().prop_map(Step::Answer),
        1 => Just(Step::Grant),
        1 => Just(Step::Stall),
        1 => (0..2_usize).prop_map(Step::Restart),
        1 => (0..2_usize).prop_map(Step::Higher),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a6_while_promises_carry_a_lease_nobody_else_is_free_to_become_active(
        steps in steps(),
        rates in (-100..=100_i64, -100..=100_i64, -100..=100_i64),
        offsets in (1_000_000..9_000_000_u64, 1_000_000..9_000_000_u64),
    ) {
        let other = |name, offset, rate| Other {
            name, offset, rate, barrier: Barrier::none(), seen: Epoch(1),
        };
        let mut others = [other("s1", offsets.0, rates.0), other("s2", offsets.1, rates.1)];
        let mut active = Active::new(&["s1", "s2"], Mono(0));
        // The end of what grants alone would give.
        let mut granted_until = active.lease.deadline().unwrap();
        let (mut at, mut questions, mut answers) = (0_u64, vec![], vec![]);
        for step in steps {
            match step {
                Step::Wait(ms) => at += ms,
                Step::Ask => questions.extend(active.ask(Mono(by_rate(at, rates.2)))),
                Step::Question(which) if !questions.is_empty() => {
                    let (to, question) = which.get(&questions);
                    let other = others.iter_mut().find(|other| to.as_str() == other.name).unwrap();
                    let (assigned, own) = (assignment(other.name, &["p1"]), host(other.name));
                    let assignment = Some(&assigned);
                    let standing =
                        Standing { own: &own, seen: other.seen, assignment, active: false };
                    let now = other.now(at);
                    answers.push(other.barrier.consider(question, &standing, now));
                }
                Step::Answer(which) if !answers.is_empty() => {
                    active.hear(which.get(&answers), Mono(by_rate(at, rates.2)));
                }
                Step::Question(_) | Step::Answer(_) => {}
                Step::Grant => {
                    let now = Mono(by_rate(at, rates.2));
                    active.grant(now, now);
                    granted_until = active.lease.deadline().unwrap();
                }
                Step::Stall => {
                    active.lease.stall(Mono(by_rate(at, rates.2)));
                    active.asker.stalled();
                }
                Step::Restart(which) => {
                    let other = &mut others[which];
                    other.barrier = Barrier::at_start(other.now(at), false);
                    other.barrier.assigned(&assignment(other.name, &["p1"]));
                }
                Step::Higher(which) => others[which].seen = Epoch(2),
            }
            let now = Mono(by_rate(at, rates.2));
            active.lease.expire(now);
            if active.lease.live(now) && now >= granted_until {
                for other in &others {
                    prop_assert!(other.barrier.left(other.now(at)).is_some(), "{} is free", other.name);
                }
            }
        }
    }
}
