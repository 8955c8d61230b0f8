//! With every rule in force the whole state space is visited and nothing is found.

use protocol::{Protocol, property};
use stateright::{Checker, Model};

/// As many as the cores that the tests assume.
const THREADS: usize = 2;

/// Visits every state, and says how many there were.
fn exhaust(name: &str, protocol: Protocol) {
    let began = std::time::Instant::now();
    let checker = protocol.checker().threads(THREADS).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states, depth {}, {:?}", checker.max_depth(), began.elapsed());
    assert!(checker.is_done(), "{name}: states were left unvisited");
    assert!(states > 0, "{name}: no state was visited");
    checker.assert_properties();
}

#[test]
fn no_run_of_a_failover_opens_two_gates() {
    exhaust("one failover, one election", Protocol::sound());
}

#[test]
fn no_run_of_a_failover_and_a_failback_opens_two_gates() {
    exhaust("failover and failback", Protocol { epochs: 3, ..Protocol::sound() });
}

#[test]
fn no_run_with_two_elections_opens_two_gates() {
    exhaust("two elections", Protocol { elections: 2, ..Protocol::sound() });
}

/// Without withholding the gates stay apart too, but the record may say
/// "fenced" of a site that has got another promise after the report.
#[test]
fn c4_a_report_that_binds_makes_the_lapse_true() {
    exhaust("promises withheld", Protocol { withholding: true, ..Protocol::sound() });
}

#[test]
fn c4_an_insistent_active_is_replaced_where_promises_are_withheld() {
    let protocol = Protocol { withholding: true, insistent: true, ..Protocol::sound() };
    exhaust("an insistent active", protocol);
}

#[test]
fn c4_an_insistent_active_is_never_replaced_where_they_are_not() {
    let protocol = Protocol { insistent: true, ..Protocol::sound() };
    let checker = protocol.checker().threads(THREADS).spawn_bfs().join();
    assert!(checker.is_done());
    println!("insistent, nothing withheld: {} states", checker.unique_state_count());
    checker.assert_no_discovery(property::ONE_GATE);
    checker.assert_no_discovery(property::FAILOVER);
}
