//! Each rule broken in turn: the checker must find the harm, and tells it.

use protocol::{Defect, Protocol, property, story};
use stateright::{Checker, HasDiscoveries, Model};

/// Looks for a violation of `invariant`, prints the shortest, and says how many
/// states it took. Fails where there is none.
fn found(defect: Defect, invariant: &'static str) {
    found_in(Protocol::broken(defect), defect, invariant);
}

fn found_in(protocol: Protocol, defect: Defect, invariant: &'static str) {
    let enough = HasDiscoveries::AnyOf([invariant].into());
    // One thread: breadth first finds the shortest way.
    let checker = protocol.checker().finish_when(enough).spawn_bfs().join();
    let states = checker.unique_state_count();
    let path = checker.discovery(invariant);
    let path = path.unwrap_or_else(|| panic!("{defect:?}: {states} states, and no violation"));
    println!("{defect:?} breaks \"{invariant}\", after {states} states:\n{}", story::tell(path));
}

#[test]
fn a1_an_epoch_in_memory_alone_goes_down() {
    found(Defect::A1EpochForgotten, property::EPOCHS_GROW);
}

#[test]
fn a2_a_deadline_from_the_receipt_opens_two_gates() {
    found(Defect::A2FromReceipt, property::ONE_GATE);
}

#[test]
fn a2_an_answer_with_another_nonce_opens_two_gates() {
    found(Defect::A2AnyNonce, property::ONE_GATE);
}

#[test]
fn a6_failsafe_without_a_promise_opens_two_gates() {
    found(Defect::A6NoPromise, property::ONE_GATE);
}

#[test]
fn a6_a_promise_that_does_not_hold_the_gate_opens_two_gates() {
    found(Defect::A6NotEnforced, property::ONE_GATE);
}

#[test]
fn a6_a_promise_forgotten_at_a_restart_opens_two_gates() {
    found(Defect::A6Forgotten, property::ONE_GATE);
}

#[test]
fn a6_a_promise_of_t_alone_opens_two_gates() {
    found(Defect::A6TooShort, property::ONE_GATE);
}

#[test]
fn c2_a_grant_without_a_round_opens_two_gates() {
    found(Defect::C2NoRound, property::ONE_GATE);
}

#[test]
fn c2_a_round_begun_before_the_request_opens_two_gates() {
    found(Defect::C2EarlierRound, property::ONE_GATE);
}

#[test]
fn c4_an_activation_at_once_opens_two_gates() {
    found(Defect::C4AtOnce, property::ONE_GATE);
}

#[test]
fn c4_a_new_leader_that_counts_from_nothing_opens_two_gates() {
    found(Defect::C4ForgetsOthers, property::ONE_GATE);
}

#[test]
fn c4_a_lapse_without_the_margin_opens_two_gates() {
    found(Defect::C4WithoutMargin, property::ONE_GATE);
}

/// The gates stay apart, because the target's agent holds its own shut (A6); but
/// the record says that the old site is fenced, and it is not.
#[test]
fn c4_a_lapse_without_the_targets_report_is_not_true() {
    let broken = Protocol { withholding: true, ..Protocol::broken(Defect::C4WithoutReport) };
    found_in(broken, Defect::C4WithoutReport, property::TRUE_END);
}

#[test]
fn c4_a_report_forgotten_at_a_restart_makes_the_lapse_untrue() {
    let broken = Protocol { withholding: true, ..Protocol::broken(Defect::C4ReportForgotten) };
    found_in(broken, Defect::C4ReportForgotten, property::TRUE_END);
}

#[test]
fn c4_an_activation_at_once_leaves_a_granted_lease_alive() {
    found(Defect::C4AtOnce, property::TRUE_LAPSE);
}

#[test]
fn a6_a_promise_that_does_not_hold_the_gate_is_noticed_at_the_gate() {
    found(Defect::A6NotEnforced, property::BOUND_IS_CLOSED);
}
