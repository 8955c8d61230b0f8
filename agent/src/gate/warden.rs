//! The gate's thread: the only one that changes our table.
//!
//! A2: what opens a group is an element that the kernel removes by itself. Its
//! time is the deadline less now, rounded down, and looked at again after the
//! kernel took it: a thread that was stopped between the two must not open for
//! longer than the lease. Nothing here waits for Docker, a disk or the agent.
//!
//! A table that somebody else changed or removed is put back closed at once,
//! and only a renewal that comes after that opens it again.

mod look;
mod orders;

use super::{
    cgroup::Hierarchy,
    netlink::{Kernel, NetlinkError, News},
    owner::Owner,
    program::{self, ProgramError},
    saved::{self, Saver},
    shared::Shared,
    table::{self, Facts},
    wire::Key,
};
use daemon::clock::boottime_ms;
use model::GroupId;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
};

/// Longest sleep: a cgroup that was made again is found within it, and a
/// heartbeat is at least that long.
const TURN_MS: u64 = 50;

/// Between two looks at the whole table when nobody told of a change.
const LOOK_EVERY_MS: u64 = 500;

/// Between two looks when somebody changes rules all the time (Docker starting
/// a container does so dozens of times).
const LOOK_AGAIN_MS: u64 = 20;

/// Between two tries to get a table that could not be had.
const RETRY_MS: u64 = 1_000;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
enum TableError {
    #[error(
        "another agent keeps the table {0} in this network namespace; give each its own [gate] table"
    )]
    Taken(String),
    #[error(transparent)]
    Nft(#[from] ProgramError),
    #[error("nf_tables: {0}")]
    Netlink(#[from] NetlinkError),
}

/// A table that stands.
struct Loaded {
    /// What its sets were made of.
    facts: Facts,
    fingerprint: u64,
    sets: BTreeMap<String, BTreeSet<Key>>,
}

/// What it is given at its start.
pub(super) struct Room {
    pub(super) table: String,
    pub(super) state_dir: PathBuf,
    pub(super) groups: BTreeSet<GroupId>,
    /// From agent.toml alone.
    pub(super) fixed: Facts,
    pub(super) hierarchy: Option<Hierarchy>,
}

pub(super) struct Warden {
    room: Room,
    shared: Arc<Shared>,
    /// What was saved before this start: believed until Docker was heard.
    saved: Facts,
    saver: Saver,
    owner: Option<Owner>,
    kernel: Option<Kernel>,
    news: Option<News>,
    loaded: Option<Loaded>,
    /// Groups that were opened, with their deadlines.
    open: BTreeMap<GroupId, u64>,
    /// Somebody changed something since the last look.
    suspect: Option<String>,
    looked_at: u64,
    tried_at: Option<u64>,
    probe: Option<OwnedFd>,
}

impl Warden {
    pub(super) fn new(room: Room, shared: Arc<Shared>) -> Self {
        let mut saved = saved::load(&room.state_dir).unwrap_or_default();
        saved.bridges.retain(|(group, _)| room.groups.contains(group));
        saved.cgroups.retain(|(group, _), _| room.groups.contains(group));
        let probe = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        Self {
            saver: Saver::start(&room.state_dir),
            room,
            shared,
            saved,
            owner: None,
            kernel: None,
            news: None,
            loaded: None,
            open: BTreeMap::new(),
            suspect: None,
            looked_at: 0,
            tried_at: None,
            probe: probe.ok(),
        }
    }

    /// Runs until the last handle is gone; leaves the table closed.
    pub(super) fn run(mut self) {
        loop {
            self.wait();
            if let Some(wake) = &self.shared.wake {
                // Nothing in it: it was its turn.
                let _ = rustix::io::read(wake, &mut [0_u8; 8][..]);
            }
            if self.shared.lock().ended {
                break;
            }
            self.turn();
        }
        for group in self.room.groups.clone() {
            let _ = self.close(&group);
        }
        self.shared.tell(true);
    }

    fn wait(&self) {
        let wake = self.shared.wake.as_ref();
        let mut fds: Vec<_> =
            wake.map(|wake| PollFd::new(wake, PollFlags::IN)).into_iter().collect();
        fds.extend(self.news.as_ref().map(|news| PollFd::new(news, PollFlags::IN)));
        let turn = Timespec { tv_sec: 0, tv_nsec: 1_000_000 * TURN_MS.cast_signed() };
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, Some(&turn));
    }

    fn turn(&mut self) {
        let now = boottime_ms();
        if self.loaded.is_none() {
            if self.tried_at.is_some_and(|at| now.saturating_sub(at) < RETRY_MS) {
                return;
            }
            self.tried_at = Some(now);
            let result = self.begin();
            self.table_is(result.map_err(|error| error.to_string()));
        }
        if let (Some(news), Some(kernel)) = (&mut self.news, &self.kernel)
            && let Some(program) = news.others(kernel.port())
        {
            self.suspect = Some(program);
        }
        // Before all that may take a moment: an order to close most of all.
        self.obey();
        let since = now.saturating_sub(self.looked_at);
        if since >= LOOK_EVERY_MS || (self.suspect.is_some() && since >= LOOK_AGAIN_MS) {
            self.look();
        }
        self.apply();
    }

    /// What all that is known comes to, and its number.
    fn facts(&mut self) -> (Facts, u64) {
        let mut facts = self.room.fixed.clone();
        let number = {
            let state = self.shared.lock();
            for (found, _) in state.found.iter().flatten() {
                facts.merge(found);
            }
            if state.found.iter().any(Option::is_none) {
                facts.merge(&self.saved);
            }
            state.facts
        };
        // An address that both a protected and another container had is protected.
        let protected: BTreeSet<_> = facts.addresses.iter().map(|(_, at)| at.clone()).collect();
        facts.free.retain(|place| !protected.contains(place));
        let mut unusable = BTreeMap::new();
        for ((_, cgroup), number) in &mut facts.cgroups {
            let asked = self.room.hierarchy.as_ref().map(|hierarchy| hierarchy.number(cgroup));
            match asked {
                Some(Ok(found)) => *number = Some(found),
                Some(Err(error)) => {
                    unusable.insert(cgroup.clone(), error.to_string());
                }
                None => {
                    unusable.insert(cgroup.clone(), "no cgroup v2 hierarchy is mounted".into());
                }
            }
        }
        let absent = |bridge: &&String| {
            self.probe.as_ref().is_some_and(|probe| name_to_index(probe, bridge.as_str()).is_err())
        };
        let foreign: BTreeSet<String> =
            facts.bridges.iter().map(|(_, bridge)| bridge).filter(absent).cloned().collect();
        let mut state = self.shared.lock();
        let news = state.foreign != foreign || state.unusable != unusable;
        (state.foreign, state.unusable) = (foreign, unusable);
        state.cgroups = facts.cgroups.keys().cloned().collect();
        drop(state);
        if news {
            self.shared.tell(true);
        }
        (facts, number)
    }

    /// Gets the sockets and the table, closed.
    fn begin(&mut self) -> Result<(), TableError> {
        if self.owner.is_none() {
            let owner = Owner::take(&self.room.table);
            self.owner = Some(owner.ok_or_else(|| TableError::Taken(self.room.table.clone()))?);
        }
        if self.kernel.is_none() {
            self.news = Some(News::open()?);
            self.kernel = Some(Kernel::open()?);
        }
        self.load()
    }

    /// Loads the whole table, closed.
    fn load(&mut self) -> Result<(), TableError> {
        self.loaded = None;
        let (facts, number) = self.facts();
        let Room { table, groups, hierarchy, .. } = &self.room;
        let below = hierarchy.as_ref().and_then(Hierarchy::below_usual);
        let with_cgroups = program::load(&table::text(table, groups, &facts, below));
        if with_cgroups.is_err() {
            // Where nft cannot look cgroups up, they follow a moment later.
            program::load(&table::text(table, groups, &facts, None))?;
        }
        let Some(kernel) = &mut self.kernel else { return Err(NetlinkError::Missing.into()) };
        let fingerprint = kernel.fingerprint(table)?;
        let mut sets = BTreeMap::new();
        for set in table::elements(groups, &facts).into_keys() {
            let there = kernel.elements(table, &set)?;
            sets.insert(set, there.into_iter().map(|element| element.key).collect());
        }
        self.loaded = Some(Loaded { facts: facts.clone(), fingerprint, sets });
        self.looked_at = boottime_ms();
        self.suspect = None;
        self.closed_anew();
        self.saver.save(saved::text(&self.room.table, &self.room.groups, &facts));
        self.bring(&facts, number)?;
        Ok(())
    }

    /// Nothing is open, and what was ordered before does not open it.
    fn closed_anew(&mut self) {
        self.open.clear();
        let mut state = self.shared.lock();
        for standing in state.groups.values_mut() {
            standing.open_until = 0;
            if let Some(order) = standing.pending.take() {
                standing.done = order.number;
            }
        }
    }

    fn table_is(&mut self, result: Result<(), String>) {
        if let Err(reason) = &result {
            self.loaded = None;
            let known = self.shared.lock().table.as_ref().err() == Some(reason);
            if !known {
                tracing::warn!(%reason, "there is no kernel gate");
            }
        }
        let mut state = self.shared.lock();
        let news = state.table != result;
        (state.table, state.begun) = (result, true);
        drop(state);
        self.shared.tell(news);
    }

    /// Brings the sets to what is known now.
    fn apply(&mut self) {
        if self.loaded.is_none() {
            return;
        }
        let (facts, number) = self.facts();
        let known = self.loaded.as_ref().is_some_and(|loaded| loaded.facts == facts);
        if known && self.shared.lock().applied == number {
            return;
        }
        self.saver.save(saved::text(&self.room.table, &self.room.groups, &facts));
        if let Err(error) = self.bring(&facts, number) {
            self.failed(error);
        }
    }

    fn bring(&mut self, facts: &Facts, number: u64) -> Result<(), NetlinkError> {
        let (Some(loaded), Some(kernel)) = (&mut self.loaded, &mut self.kernel) else {
            return Err(NetlinkError::Missing);
        };
        let wanted = table::elements(&self.room.groups, facts);
        if loaded.sets != wanted {
            let mut batch = kernel.batch(&self.room.table);
            for (set, keys) in &wanted {
                let there = loaded.sets.get(set).cloned().unwrap_or_default();
                let gone: Vec<Key> = there.difference(keys).cloned().collect();
                let new: Vec<Key> = keys.difference(&there).cloned().collect();
                batch.remove(set, &gone);
                batch.add(set, &new, 0);
            }
            kernel.commit(batch)?;
            loaded.sets = wanted;
        }
        loaded.facts = facts.clone();
        let mut state = self.shared.lock();
        let news = state.applied != number;
        state.applied = number;
        drop(state);
        if news {
            self.shared.tell(true);
        }
        Ok(())
    }

    fn failed(&mut self, error: NetlinkError) {
        match error {
            NetlinkError::Missing => {
                self.suspect.get_or_insert_with(|| "somebody".into());
                self.look();
            }
            NetlinkError::Open(_)
            | NetlinkError::NotAllowed
            | NetlinkError::Refused(_)
            | NetlinkError::Silent(_) => {
                let reason = format!("the kernel did not take a change of the gate: {error}");
                self.table_is(Err(reason));
            }
        }
    }
}
