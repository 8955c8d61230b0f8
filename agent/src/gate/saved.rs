//! `gate.nft` in the state directory: the closed table for the next boot.
//!
//! It can be loaded by `nft -f` alone. Its first line carries what was learnt
//! from Docker as JSON, so that `understudy-agent gate load`, which runs before
//! Docker does, makes the table anew from it and from today's agent.toml.

use super::table::{self, Facts};
use daemon::durable::{self, DurableError};
use model::GroupId;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

const FILE: &str = "gate.nft";
const FIRST: &str = "# understudy gate 1 ";

/// The file's text.
pub(super) fn text(table: &str, groups: &BTreeSet<GroupId>, facts: &Facts) -> String {
    // What lives only as long as its container or its boot is left out: an
    // address that is not known is held back on these bridges anyway. A cgroup
    // stays: nothing else holds back a container in the host's network until
    // Docker has been heard, and an agent that was killed comes up before that (A1).
    let mut lasting = facts.clone();
    lasting.addresses.clear();
    lasting.free.clear();
    let learnt = serde_json::to_string(&lasting).unwrap_or_default();
    let table = table::text(table, groups, &lasting, None);
    format!("{FIRST}{learnt}\n# Written by understudy-agent; changes are lost.\n{table}")
}

/// What was learnt before; `None` where nothing is saved or it cannot be read.
pub(super) fn load(state_dir: &Path) -> Option<Facts> {
    let bytes = durable::read_optional(&state_dir.join(FILE)).ok()??;
    let text = String::from_utf8(bytes).ok()?;
    serde_json::from_str(text.lines().next()?.strip_prefix(FIRST)?).ok()
}

/// Removes the file.
pub(super) fn remove(state_dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(state_dir.join(FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[derive(Debug, Default)]
struct Slot {
    newest: Option<String>,
    ended: bool,
}

/// Writes the file on a thread of its own: a disk that stalls must not hold up
/// the gate. Only the newest text waits.
#[derive(Debug)]
pub(super) struct Saver {
    slot: Arc<(Mutex<Slot>, Condvar)>,
    last: String,
}

impl Saver {
    /// Starts the thread.
    pub(super) fn start(state_dir: &Path) -> Self {
        let slot: Arc<(Mutex<Slot>, Condvar)> = Arc::default();
        let (seen, path) = (Arc::clone(&slot), state_dir.join(FILE));
        let run = move || write_all(&seen, &path);
        if let Err(error) = thread::Builder::new().name("gate-saver".into()).spawn(run) {
            tracing::warn!(%error, "the gate's table will not be saved for the next boot");
        }
        Self { slot, last: String::new() }
    }

    /// Saves a text, if it is another than the last.
    pub(super) fn save(&mut self, text: String) {
        if text == self.last {
            return;
        }
        self.slot.0.lock().unwrap_or_else(PoisonError::into_inner).newest = Some(text.clone());
        self.slot.1.notify_one();
        self.last = text;
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.slot.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.slot.1.notify_one();
    }
}

fn write_all(slot: &(Mutex<Slot>, Condvar), path: &Path) {
    loop {
        let text = {
            let slot_now = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = |slot: &mut Slot| slot.newest.is_none() && !slot.ended;
            let mut now = slot.1.wait_while(slot_now, idle).unwrap_or_else(PoisonError::into_inner);
            match now.newest.take() {
                Some(text) => text,
                None => return,
            }
        };
        if let Err(error) = write(path, &text) {
            tracing::warn!(%error, "the gate's table was not saved for the next boot");
        }
    }
}

/// Writes the file durably.
pub(super) fn write(path: &Path, text: &str) -> Result<(), DurableError> {
    durable::write_atomic(path, text.as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_cgroup_that_docker_told_of_is_still_held_back_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let group = GroupId::new("fx").unwrap();
        let place = (group.clone(), "understudy.slice".to_owned());
        let facts = Facts { cgroups: [(place.clone(), Some(77))].into(), ..Facts::default() };
        let text = text("understudy", &[group].into(), &facts);
        write(&dir.path().join(FILE), &text).unwrap();
        // Its number is looked up anew.
        assert_eq!(load(dir.path()).unwrap().cgroups, [(place, None)].into());
        // And the file still is one that nft takes after a boot, without the cgroup.
        assert!(text.lines().skip(1).all(|line| !line.contains("understudy.slice")), "{text}");
    }

    #[test]
    fn what_was_learnt_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), None);
        let group = GroupId::new("fx").unwrap();
        let facts = Facts {
            bridges: [(group.clone(), "br-1".into())].into(),
            free: [("br-1".to_owned(), "10.0.0.3".parse().unwrap())].into(),
            ..Facts::default()
        };
        let text = text("understudy", &[group].into(), &facts);
        write(&dir.path().join(FILE), &text).unwrap();
        let read = load(dir.path()).unwrap();
        assert_eq!(read.bridges, facts.bridges);
        // An address that is free now may be a protected container's after a boot.
        assert!(read.free.is_empty() && !text.contains("10.0.0.3"), "{text}");
        remove(dir.path()).unwrap();
        assert_eq!(load(dir.path()), None);
    }
}
