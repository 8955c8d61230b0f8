//! What the gate's handle and its thread have in common: orders one way, what
//! the kernel confirmed the other. Locked for moments only.

use super::table::Facts;
use model::{GateState, GroupId, Mono};
use rustix::event::{EventfdFlags, eventfd};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// The newest order for a group; an older one is overtaken by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// Counts up with every order for the group.
    pub(super) number: u64,
    /// Open until then, or closed.
    pub(super) until: Option<Mono>,
}

/// What is known of one group.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) order: u64,
    pub(super) pending: Option<Order>,
    /// The newest order that the kernel confirmed.
    pub(super) done: u64,
    /// When the kernel closes by itself what it was told to open; 0 when closed.
    pub(super) open_until: u64,
    /// Whether it has containers.
    pub(super) needs_docker: bool,
    /// What of the group is not covered, from agent.toml alone.
    pub(super) fixed_gaps: Vec<String>,
    /// What happened, for a person.
    pub(super) note: String,
}

/// What Docker's watchers found, by socket.
pub(super) type Found = (Facts, BTreeMap<GroupId, BTreeSet<String>>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) groups: BTreeMap<GroupId, Standing>,
    /// Whether the table stands, or why not.
    pub(super) table: Result<(), String>,
    /// Whether it was tried.
    pub(super) begun: bool,
    /// By watcher; `None` before its Docker was heard.
    pub(super) found: Vec<Option<Found>>,
    /// Bridges of which the thread found that they are not in its network namespace.
    pub(super) foreign: BTreeSet<String>,
    /// Every cgroup that is held back, by its path below the root.
    pub(super) cgroups: BTreeSet<(GroupId, String)>,
    /// Cgroups that cannot be used, with the reason.
    pub(super) unusable: BTreeMap<String, String>,
    /// Counts up with every change of `found`.
    pub(super) facts: u64,
    /// The newest `facts` that the kernel has.
    pub(super) applied: u64,
    pub(super) ended: bool,
}

/// Both sides hold one.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// `None` where the system gives none: then the thread wakes by its turn.
    pub(super) wake: Option<OwnedFd>,
    /// For those who wait for a confirmation: counts up with everything.
    pub(super) news: watch::Sender<u64>,
    /// For the heartbeat: counts up when a group's state or its reason changes.
    pub(super) changed: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok(),
            news: watch::Sender::new(0),
            changed: watch::Sender::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the gate's thread.
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Only fails when it was woken 2^64 times already.
            let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
        }
    }

    /// Tells those who wait. Whoever hears a confirmation finds the change told.
    pub(super) fn tell(&self, changed: bool) {
        if changed {
            self.changed.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Gives an order; its number, or 0 for a group that is not here.
    pub(super) fn order(&self, group: &GroupId, until: Option<Mono>) -> u64 {
        let number = {
            let mut state = self.lock();
            let Some(standing) = state.groups.get_mut(group) else { return 0 };
            standing.order += 1;
            standing.pending = Some(Order { number: standing.order, until });
            standing.order
        };
        self.wake();
        number
    }
}

impl State {
    /// Before anything was done or heard, for so many Engines.
    pub(super) fn new(groups: BTreeMap<GroupId, Standing>, engines: usize, reason: &str) -> Self {
        Self {
            groups,
            table: Err(reason.into()),
            begun: false,
            found: vec![None; engines],
            foreign: BTreeSet::new(),
            cgroups: BTreeSet::new(),
            unusable: BTreeMap::new(),
            facts: 0,
            applied: 0,
            ended: false,
        }
    }

    /// Whether the table was tried, and, where it stands and containers need it,
    /// every Docker was heard.
    pub(super) fn is_known(&self) -> bool {
        let docker = self.groups.values().any(|standing| standing.needs_docker);
        let heard = !docker || self.found.iter().all(Option::is_some);
        if self.table.is_ok() { heard } else { self.begun }
    }

    /// Why the group counts as having no gate; empty when it has one.
    pub(super) fn gaps(&self, group: &GroupId) -> Vec<String> {
        let Some(standing) = self.groups.get(group) else {
            return vec!["no service of this host is of that group".into()];
        };
        if let Err(reason) = &self.table {
            return vec![reason.clone()];
        }
        let mut gaps = standing.fixed_gaps.clone();
        if self.found.iter().any(Option::is_none) && standing.needs_docker {
            gaps.push("Docker was not heard yet".into());
        }
        for (facts, found) in self.found.iter().flatten() {
            gaps.extend(found.get(group).into_iter().flatten().cloned());
            for (_, bridge) in facts.bridges.iter().filter(|(of, _)| of == group) {
                if self.foreign.contains(bridge) {
                    gaps.push(format!(
                        "the bridge {bridge} is not in the agent's network namespace \
                         (is it a rootless Docker?)"
                    ));
                }
            }
            for (of, cgroup) in facts.cgroups.keys() {
                if of == group
                    && let Some(reason) = self.unusable.get(cgroup)
                {
                    gaps.push(format!("the cgroup {cgroup} cannot be used: {reason}"));
                }
            }
        }
        gaps
    }

    /// The group's state at `now`, milliseconds of `CLOCK_BOOTTIME`.
    pub(super) fn state(&self, group: &GroupId, now: u64) -> GateState {
        let Some(standing) = self.groups.get(group) else { return GateState::Absent };
        if !self.gaps(group).is_empty() {
            return GateState::Absent;
        }
        // The kernel closes by itself, at the deadline or a moment before.
        if standing.open_until > now { GateState::Open } else { GateState::Closed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_group_with_anything_uncovered_counts_as_having_no_gate() {
        let group = GroupId::new("fx").unwrap();
        let mut state = State::new(BTreeMap::new(), 0, "no nft");
        assert_eq!(state.state(&group, 5), GateState::Absent);
        state.groups.insert(group.clone(), Standing::default());
        assert_eq!(
            (state.state(&group, 5), state.gaps(&group)),
            (GateState::Absent, vec!["no nft".into()])
        );
        state.table = Ok(());
        assert_eq!(state.state(&group, 5), GateState::Closed);
        state.groups.get_mut(&group).unwrap().open_until = 9;
        assert_eq!(state.state(&group, 8), GateState::Open);
        // No word is needed for it to be closed again.
        assert_eq!(state.state(&group, 9), GateState::Closed);
        let facts = Facts { bridges: [(group.clone(), "br-x".into())].into(), ..Facts::default() };
        state.found = vec![Some((facts, BTreeMap::new()))];
        state.foreign.insert("br-x".into());
        assert!(state.gaps(&group)[0].contains("rootless"));
        state.foreign.clear();
        state.found[0].as_mut().unwrap().1.insert(group.clone(), ["macvlan".to_owned()].into());
        assert_eq!(state.state(&group, 8), GateState::Absent);
    }
}
