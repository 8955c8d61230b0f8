//! A1, A2 and A3 as the lease keeps them, by example and for any order of events.

use super::*;
use model::Term;
use proptest::prelude::*;

fn group() -> GroupId {
    GroupId::new("fx").unwrap()
}

fn lease(seen: u64) -> Lease {
    Lease::new(group(), HostId::new("p1").unwrap(), Epoch(seen))
}

fn grant(epoch: u64, nonce: u64, lease: u64) -> LeaseReply {
    LeaseReply::Granted(LeaseGrant {
        group: group(),
        epoch: Epoch(epoch),
        nonce: Nonce(nonce),
        term: Term(1),
        lease: Millis(lease),
        gate_margin: Millis(lease.div_ceil(20)),
    })
}

fn refused(reason: LeaseRefusal) -> LeaseReply {
    LeaseReply::Refused { group: group(), nonce: Nonce(1), term: Term(1), reason }
}

#[test]
fn a1_only_the_highest_epoch_seen_is_live() {
    let mut lease = lease(3);
    assert!(!lease.live(Mono(0)), "closed until granted");
    lease.request(Mono(0), Nonce(1), None);
    let wrong = Dropped::Epoch { given: Epoch(2), seen: Epoch(3) };
    assert_eq!(lease.on_reply(grant(2, 1, 5000), Mono(5)), Heard::Dropped(wrong));
    lease.on_reply(grant(3, 1, 5000), Mono(5));
    assert!(lease.live(Mono(5)));
    assert!(lease.adopt(Epoch(4)) && !lease.adopt(Epoch(3)));
    assert!(!lease.live(Mono(5)), "a higher epoch ends the lease at once");
    assert_eq!(lease.on_reply(grant(4, 1, 5000), Mono(6)), Heard::Dropped(Dropped::Nonce));
    let superseded = refused(LeaseRefusal::Superseded { epoch: Epoch(9) });
    assert_eq!(lease.on_reply(superseded.clone(), Mono(7)), Heard::Superseded(Epoch(9)));
    assert!(matches!(lease.on_reply(superseded, Mono(7)), Heard::NotGranted(_)));
    assert_eq!(lease.epoch(), Epoch(9));
}

#[test]
fn a2_the_deadline_counts_from_before_the_sending() {
    let mut lease = lease(1);
    let request = lease.request(Mono(1000), Nonce(7), None);
    assert_eq!((request.epoch, request.nonce), (Epoch(1), Nonce(7)));
    assert_eq!(lease.on_reply(grant(1, 8, 5000), Mono(1500)), Heard::Dropped(Dropped::Nonce));
    let heard = lease.on_reply(grant(1, 7, 5000), Mono(1500));
    assert_eq!(heard, Heard::Extended { deadline: Mono(1000 + 5000 - 250), opened: true });
    assert_eq!(lease.left(Mono(1500)), Some(Millis(4250)));
    assert_eq!(lease.on_reply(grant(1, 7, 5000), Mono(1600)), Heard::NothingNew);
    assert!(lease.live(Mono(5749)) && !lease.live(Mono(5750)));
}

#[test]
fn a2_a_grant_outside_of_the_range_or_after_its_end_counts_for_nothing() {
    let mut lease = lease(1);
    lease.request(Mono(0), Nonce(1), None);
    for odd in [0, 60_001, u64::MAX] {
        let heard = lease.on_reply(grant(1, 1, odd), Mono(1));
        assert_eq!(heard, Heard::Dropped(Dropped::Length { lease: Millis(odd) }));
    }
    assert_eq!(lease.on_reply(grant(1, 1, 5000), Mono(4750)), Heard::Dropped(Dropped::Late));
    let thin = LeaseGrant { gate_margin: Millis::ZERO, ..taken(grant(1, 1, 5000)) };
    let heard = lease.on_reply(LeaseReply::Granted(thin), Mono(1));
    assert_eq!(heard, Heard::Extended { deadline: Mono(4750), opened: true }, "never under T/20");
    let other = LeaseGrant { group: GroupId::new("metals").unwrap(), ..taken(grant(1, 1, 5000)) };
    assert_eq!(lease.on_reply(LeaseReply::Granted(other), Mono(1)), Heard::Dropped(Dropped::Group));
}

fn taken(reply: LeaseReply) -> LeaseGrant {
    match reply {
        LeaseReply::Granted(grant) => grant,
        LeaseReply::Refused { .. } => unreachable!(),
    }
}

#[test]
fn a3_a_lapse_is_told_once_and_a_given_up_lease_stays_so() {
    let mut lease = lease(1);
    lease.request(Mono(0), Nonce(1), None);
    lease.request(Mono(500), Nonce(2), None);
    lease.on_reply(grant(1, 1, 1000), Mono(10));
    assert!(!lease.expire(Mono(949)));
    assert!(lease.expire(Mono(950)) && !lease.expire(Mono(951)));
    assert!(matches!(
        lease.on_reply(grant(1, 2, 1000), Mono(960)),
        Heard::Extended { opened: true, .. }
    ));
    lease.give_up();
    assert!(!lease.live(Mono(960)) && !lease.expire(Mono(5000)));
    assert_eq!(lease.on_reply(grant(1, 2, 1000), Mono(961)), Heard::Dropped(Dropped::Nonce));
}

#[test]
fn a5_after_a_stall_the_gate_waits_for_what_is_sent_after_it() {
    let mut lease = lease(1);
    lease.request(Mono(0), Nonce(1), None);
    lease.on_reply(grant(1, 1, 5000), Mono(10));
    assert_eq!(lease.gate_until(Mono(10)), Some(Mono(4750)));
    lease.request(Mono(500), Nonce(2), None);
    lease.stall(Mono(900));
    assert!(lease.live(Mono(900)) && lease.gate_until(Mono(900)).is_none());
    let heard = lease.on_reply(grant(1, 2, 5000), Mono(901));
    assert_eq!(heard, Heard::Dropped(Dropped::Nonce), "it was sent before the stall");
    lease.request(Mono(902), Nonce(3), None);
    // A shorter lease makes it good as well, and takes nothing away.
    let heard = lease.on_reply(grant(1, 3, 1000), Mono(903));
    assert_eq!(heard, Heard::Extended { deadline: Mono(4750), opened: false });
    assert_eq!(lease.gate_until(Mono(903)), Some(Mono(4750)));
    lease.stall(Mono(1000));
    assert!(lease.expire(Mono(4750)));
    lease.request(Mono(4800), Nonce(4), None);
    lease.on_reply(grant(1, 4, 5000), Mono(4810));
    assert_eq!(lease.gate_until(Mono(4810)), Some(Mono(9550)));
}

#[test]
fn a_refusal_does_not_shorten_what_is_held() {
    let mut lease = lease(1);
    lease.request(Mono(0), Nonce(1), None);
    lease.on_reply(grant(1, 1, 1000), Mono(1));
    for reason in [
        LeaseRefusal::NotLeader,
        LeaseRefusal::NoQuorum,
        LeaseRefusal::NotActive,
        LeaseRefusal::Unknown { detail: "?".into() },
    ] {
        assert_eq!(lease.on_reply(refused(reason.clone()), Mono(2)), Heard::NotGranted(reason));
        assert_eq!(lease.left(Mono(2)), Some(Millis(948)));
    }
}

#[test]
fn requests_are_bounded_and_the_oldest_goes_first() {
    let mut lease = lease(1);
    for nonce in 0..=32 {
        lease.request(Mono(nonce), Nonce(nonce), None);
    }
    assert_eq!(lease.on_reply(grant(1, 0, 5000), Mono(40)), Heard::Dropped(Dropped::Nonce));
    assert!(matches!(lease.on_reply(grant(1, 1, 5000), Mono(40)), Heard::Extended { .. }));
}

#[derive(Debug, Clone)]
enum Step {
    Ask,
    Grant { back: u64, epoch: u64, lease: u64 },
    Adopt(u64),
    Superseded(u64),
    GiveUp,
    Stall,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Ask),
        4 => (0..8u64, 0..6u64, 0..70_000u64)
            .prop_map(|(back, epoch, lease)| Step::Grant { back, epoch, lease }),
        1 => (0..6u64).prop_map(Step::Adopt),
        1 => (0..6u64).prop_map(Step::Superseded),
        1 => Just(Step::GiveUp),
        1 => Just(Step::Stall),
        3 => (0..3000u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn a1_a2_a5_whatever_comes_in_whatever_order(steps in steps()) {
        let mut lease = lease(1);
        let (mut now, mut nonce) = (Mono(0), 0_u64);
        // When each nonce was sent, and whether it still counts.
        let mut sent: Vec<(Mono, bool)> = vec![];
        for step in steps {
            let before = (lease.epoch(), lease.deadline());
            let mut ended = false;
            match step {
                Step::Ask => {
                    lease.request(now, Nonce(nonce), None);
                    sent.push((now, true));
                    nonce += 1;
                }
                Step::Grant { back, epoch, lease: length } => {
                    let of = nonce.wrapping_sub(1 + back);
                    let heard = lease.on_reply(grant(epoch, of, length), now);
                    if let Heard::Extended { deadline, .. } = heard {
                        let (at, good) = sent[usize::try_from(of).unwrap()];
                        prop_assert!(good && Epoch(epoch) == lease.epoch());
                        prop_assert!(deadline > now && length <= 60_000);
                        let own = Mono(at.0 + length - length.div_ceil(20));
                        prop_assert!(Some(deadline) <= before.1.max(Some(own)));
                        prop_assert_eq!(lease.gate_until(now), Some(deadline));
                    }
                }
                Step::Adopt(epoch) => ended = lease.adopt(Epoch(epoch)),
                Step::Superseded(epoch) => {
                    let reply = refused(LeaseRefusal::Superseded { epoch: Epoch(epoch) });
                    ended = matches!(lease.on_reply(reply, now), Heard::Superseded(_));
                }
                Step::GiveUp => {
                    lease.give_up();
                    ended = true;
                }
                Step::Stall => {
                    lease.stall(now);
                    sent.iter_mut().for_each(|entry| entry.1 = false);
                    prop_assert!(lease.gate_until(now).is_none());
                }
                Step::Wait(for_ms) => {
                    now += Millis(for_ms);
                    let was_over = before.1.is_some_and(|deadline| deadline <= now);
                    prop_assert_eq!(lease.expire(now), was_over);
                    if was_over { continue }
                }
            }
            prop_assert!(lease.epoch() >= before.0);
            if ended {
                prop_assert!(!lease.live(now));
                sent.iter_mut().for_each(|entry| entry.1 = false);
            } else {
                prop_assert!(lease.deadline() >= before.1, "only ever extended");
            }
        }
    }
}
