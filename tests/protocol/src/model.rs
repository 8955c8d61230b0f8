//! The protocol as a model: which steps are possible, and what must hold.

use crate::{
    agent::Site,
    defect::{Defect, Rules},
    property,
    state::State,
    step::{Step, Who},
    time::HELD,
};
use stateright::{Model, Property};

/// What is checked.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// The rules, all of them or all but one.
    pub rules: Rules,
    /// The highest epoch: 2 is one failover, 3 is a failback too.
    pub epochs: u8,
    /// How many elections there may be.
    pub elections: u8,
    /// Whether an agent that was asked for its word (C4) makes no promise after
    /// it. `safety.md` leaves that open: the first three invariants need it not,
    /// the truth of the proof and the end of waiting do.
    pub withholding: bool,
    /// Whether the active asks for a promise in every tick and no message of that
    /// is lost: the hardest case for a failover to come to its end.
    pub insistent: bool,
}

impl Protocol {
    /// With every rule as `safety.md` has it.
    #[must_use]
    pub const fn sound() -> Self {
        Self { rules: Rules::KEPT, epochs: 2, elections: 1, withholding: false, insistent: false }
    }

    /// With one rule broken.
    #[must_use]
    pub const fn broken(defect: Defect) -> Self {
        Self { rules: Rules::without(defect), ..Self::sound() }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(self)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        for site in Site::ALL {
            steps.extend([Step::Ask(site), Step::Close(site), Step::Restart(site)]);
            // Also what was committed long ago: an old command may come late.
            steps.extend((1..=state.epoch()).map(|epoch| Step::Hear(site, epoch)));
            self.messages(state, site, steps);
        }
        steps.push(Step::Round);
        if state.elections < self.elections {
            steps.extend([true, false].map(|keeps_record| Step::Elect { keeps_record }));
        }
        if state.leader.fencing {
            steps.extend([Step::Report, Step::Propose, Step::Commit]);
        } else if state.epoch() < self.epochs {
            steps.push(Step::Plan);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = last.clone();
        next.take(step, self);
        (next != *last).then_some(next)
    }

    fn format_action(&self, step: &Step) -> String {
        step.to_string()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::all(self)
    }
}

impl Protocol {
    /// What may arrive of `site`'s requests and of the answers to them.
    fn messages(&self, state: &State, site: Site, steps: &mut Vec<Step>) {
        for age in 0..usize::from(HELD) {
            let request = state.agent(site).asked[age];
            if request.sent {
                steps.extend([Who::Leader, Who::Former].map(|who| Step::Grant(who, site, age)));
                steps.push(Step::Promise(site, age));
            }
            if request.granted {
                steps.push(Step::TakeGrant(site, age));
            }
            // A6: without its rule, silence is as good as a promise.
            if request.promised || request.sent && self.rules.lack(Defect::A6NoPromise) {
                steps.push(Step::TakePromise(site, age));
            }
        }
    }
}
