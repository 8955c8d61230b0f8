//! The invariants, and what must be possible so that they are worth something.

use crate::{agent::Site, model::Protocol, state::State, time::Ticks};
use stateright::Property;

/// Invariant 1.
pub const ONE_GATE: &str = "1: at no instant do two sites have an open gate";
/// Invariant 2, as a fact and not as paper: what C4 concluded is so.
pub const TRUE_LAPSE: &str =
    "2: once an epoch is committed, no lease granted under an older one lives";
/// Invariant 3.
pub const EPOCHS_GROW: &str = "3: epochs never go down at an agent";
/// What allows a restarted agent with an open gate to go on (A6).
pub const BOUND_IS_CLOSED: &str = "an agent that is bound has a closed gate";
/// What C4's word of the target gives where it binds: the proof says no more
/// than is so, also of a site that went on by failsafe.
pub const TRUE_END: &str = "2: once an epoch is committed, every older gate is closed";

/// The lapse can happen.
pub const LAPSES: &str = "a lease lapses";
/// Failsafe can happen.
pub const FAILSAFE: &str = "the active goes on through failsafe alone";
/// A failover can happen.
pub const FAILOVER: &str = "a failover completes";
/// And the way back.
pub const FAILBACK: &str = "a failback completes";
/// A late answer of a leader that is none any more is among the runs (C2).
pub const FORMER_GRANTS: &str = "a former leader grants what its quorum had confirmed";

/// All that hold in `protocol`.
pub(crate) fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::always(ONE_GATE, |_, state: &State| !state.agents.iter().all(|a| a.open())),
        Property::always(TRUE_LAPSE, |_, state: &State| {
            state.agents.iter().all(|agent| agent.granted == 0 || agent.epoch == state.epoch())
        }),
        Property::always(EPOCHS_GROW, |_, state: &State| !state.went_down),
        Property::always(BOUND_IS_CLOSED, |_, state: &State| {
            state.agents.iter().all(|agent| agent.bound == 0 || !agent.open())
        }),
        Property::sometimes(FAILOVER, |_, state: &State| completed(state, 2)),
    ];
    if protocol.withholding {
        all.push(Property::always(TRUE_END, |_, state: &State| {
            state.agents.iter().all(|agent| !agent.open() || agent.epoch == state.epoch())
        }));
    }
    if !protocol.insistent {
        all.push(Property::sometimes(LAPSES, |_, state: &State| {
            !state.agent(Site::A).open() && state.epoch() == 1
        }));
        all.push(Property::sometimes(FAILSAFE, |_, state: &State| {
            let active = state.agent(Site::A);
            active.granted == 0 && active.failsafe > 0
        }));
        all.push(Property::sometimes(FORMER_GRANTS, former_grants));
    }
    if protocol.epochs > 2 {
        all.push(Property::sometimes(FAILBACK, |_, state: &State| completed(state, 3)));
    }
    all
}

/// Whether the site that `epoch` makes active is active, and the committed epoch is this.
fn completed(state: &State, epoch: u8) -> bool {
    state.epoch() == epoch && state.agent(Site::active_in(epoch)).granted > 0
}

/// Whether a leader that was replaced may still answer with a grant.
fn former_grants(protocol: &Protocol, state: &State) -> bool {
    let Some(former) = &state.former else { return false };
    state.agents.iter().any(|agent| {
        let asked = (0..).zip(agent.asked);
        let mut sent = asked.filter(|(_, request)| request.sent);
        sent.any(|(age, _): (Ticks, _)| former.grants(agent.epoch, age, protocol.rules))
    })
}
