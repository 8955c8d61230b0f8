//! The emergency stop: nothing exclusive of a group runs on this host until a
//! person releases it. Works without the agent and without any coordinator.
//!
//! What is stopped stands in `emergency-stop.json` in the state directory, so that
//! it lasts over a restart of the agent and a reboot: the agent takes no lease for
//! such a group (A1), and the boot loads the gate closed anyway. The order is that
//! of A3: durable, gate, stop, report. A file that cannot be read stops everything.

mod act;
mod orders;

pub use act::{ServiceStop, Stopped, stop};
pub use orders::{Taken, take_up};

use daemon::{
    clock::wall_ms,
    durable::{self, DurableError, Operation},
};
use model::{GroupId, OrderId};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::watch;

const FILE: &str = "emergency-stop.json";
const LOCK: &str = "emergency-stop.lock";

/// Between two looks of the agent's: how long it may go on renewing a lease after
/// somebody stopped the group. One small file each time.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One group that is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Who stopped it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The order through the coordinators that began it; `None` where somebody did
    /// on this host, which is then the place to release it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
}

/// The groups that are stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stops {
    /// By name.
    pub groups: BTreeMap<GroupId, Stop>,
    /// The newest order through the coordinators that was taken up, of each group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub orders: BTreeMap<GroupId, OrderId>,
    /// Why everything is, where the file cannot be read.
    #[serde(skip)]
    pub fault: Option<String>,
}

/// Between two tries to get the turn, and how long it is waited for: whoever has it
/// writes one small file.
const TURN_EVERY: Duration = Duration::from_millis(5);
const TURN_LIMIT: Duration = Duration::from_secs(5);

/// The right to change the file: the command line and the running agent both do.
fn turn(state_dir: &Path) -> Result<File, DurableError> {
    let lock = state_dir.join(LOCK);
    let error = |error| DurableError::new(Operation::Write, &lock, error);
    let file = File::create(&lock).map_err(error)?;
    let until = Instant::now() + TURN_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(TURN_EVERY),
            Err(other) => return Err(error(io::Error::other(other))),
        }
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

impl Stops {
    /// What is stopped; everything where that cannot be told.
    #[must_use]
    pub fn load(state_dir: &Path) -> Self {
        Self::read(state_dir).unwrap_or_else(|error| Self {
            groups: BTreeMap::new(),
            orders: BTreeMap::new(),
            fault: Some(error.to_string()),
        })
    }

    fn read(state_dir: &Path) -> Result<Self, DurableError> {
        let path = path(state_dir);
        let Some(bytes) = durable::read_optional(&path)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map_err(|error| {
            let why = format!("it is damaged ({error}); release with `emergency-stop --release`");
            DurableError::new(Operation::Read, &path, io::Error::other(why))
        })
    }

    /// Why a group is stopped; `None` when it is not.
    #[must_use]
    pub fn why(&self, group: &GroupId) -> Option<String> {
        if let Some(fault) = &self.fault {
            return Some(format!("it may be stopped in an emergency: {fault}"));
        }
        let stop = self.groups.get(group)?;
        let reason = if stop.reason.is_empty() { "" } else { ": " };
        Some(format!("it is stopped in an emergency, by {}{reason}{}", stop.by, stop.reason))
    }

    /// Stops these groups durably; an earlier stop of one that was begun on this
    /// host stays as it was.
    ///
    /// # Errors
    /// [`DurableError`]: it would not last.
    pub fn begin(
        state_dir: &Path,
        groups: &BTreeSet<GroupId>,
        by: &str,
        reason: &str,
    ) -> Result<(), DurableError> {
        let _turn = turn(state_dir)?;
        let mut stops = Self::read(state_dir).unwrap_or_default();
        for group in groups {
            let (by, reason, at_unix_ms) = (by.into(), reason.into(), wall_ms());
            let stop = Stop { by, reason, at_unix_ms, order: None };
            // Whoever types it here has the last word here.
            let ours = stops.groups.get(group).is_some_and(|known| known.order.is_none());
            if !ours {
                stops.groups.insert(group.clone(), stop);
            }
        }
        stops.save(state_dir)
    }

    /// Lets these groups run again, or all of them; gives those that were stopped.
    ///
    /// # Errors
    /// [`DurableError`]: they stay stopped.
    pub fn release(
        state_dir: &Path,
        group: Option<&GroupId>,
    ) -> Result<BTreeSet<GroupId>, DurableError> {
        let _turn = turn(state_dir)?;
        let mut stops = match (Self::read(state_dir), group) {
            (Ok(stops), _) => stops,
            // What cannot be read is released as a whole or not at all.
            (Err(_), None) => Self::default(),
            (Err(error), Some(_)) => return Err(error),
        };
        let was: BTreeSet<GroupId> = stops
            .groups
            .keys()
            .filter(|known| group.is_none_or(|one| one == *known))
            .cloned()
            .collect();
        stops.groups.retain(|known, _| !was.contains(known));
        stops.save(state_dir)?;
        Ok(was)
    }

    fn save(&self, state_dir: &Path) -> Result<(), DurableError> {
        durable::write_json(&path(state_dir), self, 0o600)
    }
}

/// The agent's look at the file; dropped, the thread ends.
#[derive(Debug)]
pub struct Watch {
    stops: watch::Receiver<Stops>,
    ended: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    /// Looks once, so that the first word is true, and starts the thread.
    ///
    /// # Errors
    /// There is no thread: an agent that cannot be stopped must not run.
    pub fn start(state_dir: &Path) -> io::Result<Self> {
        let (tell, stops) = watch::channel(Stops::load(state_dir));
        let ended = Arc::new(AtomicBool::new(false));
        let (seen, state_dir) = (Arc::clone(&ended), state_dir.to_owned());
        let run = move || {
            while !seen.load(Ordering::Relaxed) {
                // A pace, not a wait for something.
                thread::sleep(LOOK_EVERY);
                let newest = Stops::load(&state_dir);
                tell.send_if_modified(|told| {
                    let changed = *told != newest;
                    *told = newest;
                    changed
                });
            }
        };
        thread::Builder::new().name("emergency-stop".into()).stack_size(128 << 10).spawn(run)?;
        Ok(Self { stops, ended })
    }

    /// What is stopped, and when that changes.
    #[must_use]
    pub fn stops(&self) -> watch::Receiver<Stops> {
        self.stops.clone()
    }
}

#[cfg(test)]
mod tests;
