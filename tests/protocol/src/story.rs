//! A counterexample in words: a line for each step, with what it led to.

use crate::{
    agent::{Agent, Site},
    coordinator::Leader,
    state::State,
    step::Step,
};
use stateright::Path;
use std::fmt::Write;

/// Tells a path, from the first state to the last.
#[must_use]
pub fn tell(path: Path<State, Step>) -> String {
    let steps = path.into_vec();
    let mut told = String::new();
    let mut now = 0;
    let mut done = "at first".to_owned();
    for (state, next) in steps {
        line(&mut told, now, &done, &state);
        if let Some(step) = next {
            now += u32::from(step == Step::Tick);
            done = step.to_string();
        }
    }
    told
}

fn line(told: &mut String, now: u32, done: &str, state: &State) {
    let [a, b] = Site::ALL.map(|site| agent(state.agent(site)));
    let leader = leader(&state.leader, state.proposed);
    // Writing to a String cannot fail.
    let _ = writeln!(told, "tick {now:2}  {done:44}  A {a:26}  B {b:26}  {leader}");
}

fn agent(agent: &Agent) -> String {
    let gate = if agent.open() {
        format!("OPEN for {}", agent.granted.max(agent.failsafe))
    } else {
        "closed".into()
    };
    let bound =
        if agent.bound > 0 { format!(", bound for {}", agent.bound) } else { String::new() };
    format!("e{} {gate}{bound}", agent.epoch)
}

fn leader(leader: &Leader, proposed: bool) -> String {
    let plan = match (leader.fencing, proposed) {
        (false, _) => "",
        (true, false) => ", fencing",
        (true, true) => ", activation in the log",
    };
    format!("committed e{}{plan}, {} since a grant", leader.epoch, leader.since)
}
