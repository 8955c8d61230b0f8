//! The one way in which a promise could be forgotten (A6), walked on purpose:
//! a host that was active hears of a newer epoch, is asked for a promise while
//! that word is on its way to the disk, and dies. Its ledger then says that it
//! is promoted under the highest epoch, and exempts it from waiting.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "all of this is test code")]

use model::Millis;
use simulation::{
    checkers::Violation,
    draw::Plan,
    fault::{Fault, Planned},
    run, scene,
    stage::{C1, C2, P1, S1, Setting, W},
};

/// Walks that differ in when P1 hears no coordinator any more and in when it dies.
const WALKS: u64 = 96;

fn walk(number: u64, hasty: bool) -> Plan {
    let ms = |ms: u64| ms * 1000;
    let mut setting = Setting::plain(Millis(500));
    setting.hasty_promises = hasty;
    let mut faults = Vec::new();
    let mut put = |at, span, fault| faults.push(Planned { at, until: at + span, fault });
    // P1 is away until S1 is active; what it hears then does not get to its disk.
    let back = ms(4000);
    let cut = back + ms(700);
    let deaf = cut + ms(390 + 10 * (number % 12));
    let death = cut + ms(850 + 50 * (number / 12));
    put(0, back, Fault::Isolate(P1));
    put(back - ms(100), death - back, Fault::SlowDisk(P1, ms(6000)));
    for voter in [C1, C2, W] {
        // No voter hears S1 any more, which asks P1 for promises.
        put(cut, ms(4000), Fault::Cut(S1, voter));
        put(cut, ms(4000), Fault::Cut(voter, S1));
        // P1 does not hear that S1 is being fenced, and goes on promising.
        put(deaf, death - deaf, Fault::Cut(P1, voter));
        put(deaf, death - deaf, Fault::Cut(voter, P1));
    }
    // It dies, is back at once, and is asked no more.
    put(death, ms(20), Fault::Crash(P1));
    put(death, ms(4000), Fault::Cut(P1, S1));
    put(death, ms(4000), Fault::Cut(S1, P1));
    faults.sort_by_key(|planned| (planned.at, planned.until));
    let length = faults.iter().map(|planned| planned.until).max().unwrap_or(0);
    Plan { seed: number, setting, faults, length, mild: false }
}

fn broken(number: u64, hasty: bool) -> Vec<Violation> {
    run::play(walk(number, hasty), false).unwrap().violations
}

#[test]
fn a6_a_promise_that_rests_on_a_durable_epoch_survives_a_crash() {
    for number in 0..WALKS {
        let violations = broken(number, false);
        if !violations.is_empty() {
            let told = run::play(walk(number, false), true).unwrap();
            panic!("walk {number}: {}\n{violations:?}", scene::print(&told.lines));
        }
    }
}

#[test]
fn a6_a_promise_that_rests_on_an_epoch_not_yet_durable_is_found() {
    let one = |number| broken(number, true).iter().any(|violation| violation.invariant == 1);
    assert!((0..WALKS).any(one));
}
