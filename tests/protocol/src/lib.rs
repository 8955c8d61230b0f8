//! The lease, failsafe and activation protocol in a model checker: every order
//! of its messages, losses, restarts and elections, until no new state is found.
//!
//! ```text
//! cargo nextest run -p protocol                         # all of it
//! cargo nextest run -p protocol --no-capture a2         # with A2 broken: prints how two gates open
//! ```
//!
//! # How to read it
//!
//! | file | holds |
//! |---|---|
//! | [`time`](mod@time) | the ticks, and how A2, A6 and C4 become numbers of them |
//! | [`agent`] | A1, A2, A6: what one agent remembers, and when its gate may open |
//! | [`coordinator`] | C1 to C4: rounds, grants, the proof of a lapse, the record |
//! | [`state`] | all of it together: two agents, a leader, perhaps a former one |
//! | [`step`] | everything that can happen, one step at a time |
//! | [`property`] | the invariants, and what must be possible |
//! | [`defect`] | the rules that can be broken, to see that the checker notices |
//! | [`story`] | a counterexample in words |
//!
//! # What is modelled
//!
//! Two sites, A (active at first) and B, one agent each. A leader; after an
//! election also a former leader that still believes that it leads. A step
//! changes one of them, or lets a tick of time pass. Any step that is possible
//! may be taken, and none must be:
//!
//! - *Lost, late, reordered, repeated messages.* A message that is under way may
//!   be taken at any later time, again and again, or never. One that is older
//!   than any lease it could carry is gone: it could extend nothing (A2). What is
//!   committed may be heard by anyone at any time after, however late. A refusal
//!   says no more than silence, but for a higher epoch, and that is heard.
//! - *Pauses, dead processes and cuts* are steps that are not taken. A gate is
//!   in the kernel, so it closes at its time all the same (A2).
//! - *Restarts* lose nonces and promises; the highest epoch is on disk (A1) and
//!   the gate is in the kernel. A reboot is a gate that closes, and a restart.
//! - *Clocks* are wrong by one tick in every lease, each in the bad direction:
//!   the active's is slow, those of all who wait for it are fast. A better clock,
//!   a stall (A5) or a command to stop (A3) closes a gate earlier, which is a
//!   step of its own.
//! - *A quorum* answers, or does not: the step is taken or not. It answers the
//!   newest leader alone, because its voters have left the others.
//!
//! Time is kept as what is left and what has passed, each up to the point where
//! more of it changes nothing. So the model has no horizon: an exhausted state
//! space is a statement about runs of any length.
//!
//! The checker knows a state by 64 bits of hash. With a few million states the
//! chance that two share theirs is about one in a million.
//!
//! # What is not
//!
//! A host whose hypervisor pauses it has no clock that runs; `safety.md` calls
//! it the honest limit, and no rule here helps. Reading the clock and setting
//! the kernel's timer is one step here; the agent must make it so. Plans are
//! never given up. Raft itself is taken as given: one log, and a leader that has
//! committed a record of its own term before it serves. Where a site has several
//! agents, A6 needs each one's promise and each holds its own gate, so one agent
//! stands for the one that matters.

pub mod agent;
pub mod coordinator;
pub mod defect;
mod model;
pub mod property;
pub mod state;
pub mod step;
pub mod story;
pub mod time;

pub use agent::{Agent, Site};
pub use coordinator::Leader;
pub use defect::{Defect, Rules};
pub use model::Protocol;
pub use state::State;
pub use step::{Step, Who};
