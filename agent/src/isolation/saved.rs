//! `isolation.json` in the state directory: the isolation that is to stand, also
//! after a reboot, and who did what. What the kernel has follows it.

use super::{Profile, allow::Allowed};
use daemon::{
    clock::{boottime_ms, wall_ms},
    durable::{self, DurableError, Operation},
};
use model::OrderOutcome;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fmt, fs, io,
    path::{Path, PathBuf},
};

const FILE: &str = "isolation.json";

/// The form of the file.
const VERSION: u32 = 1;

/// Deeds that are remembered: years of them.
const ACTS_MAX: usize = 200;

/// Where the kernel says which boot this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A moment that is found again after a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moment {
    boot: String,
    boot_ms: u64,
    unix_ms: u64,
    /// How far away it was when it was set.
    length_ms: u64,
}

/// The clocks at one time.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    boot: String,
    boot_ms: u64,
    unix_ms: u64,
}

impl Clocks {
    pub(super) fn now() -> Self {
        // Without it every moment counts by the wall clock.
        let boot = fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned();
        Self { boot, boot_ms: boottime_ms(), unix_ms: wall_ms() }
    }

    pub(super) fn in_ms(&self, length_ms: u64) -> Moment {
        Moment {
            boot: self.boot.clone(),
            boot_ms: self.boot_ms.saturating_add(length_ms),
            unix_ms: self.unix_ms.saturating_add(length_ms),
            length_ms,
        }
    }
}

impl Moment {
    /// Milliseconds until then. After a reboot by the wall clock, which may be
    /// wrong until it is set: then never longer than it was at first.
    pub(super) fn left(&self, now: &Clocks) -> u64 {
        let same = !self.boot.is_empty() && self.boot == now.boot;
        let left = match same {
            true => self.boot_ms.saturating_sub(now.boot_ms),
            false => self.unix_ms.saturating_sub(now.unix_ms),
        };
        left.min(self.length_ms)
    }
}

/// An isolation that is to stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Active {
    pub(super) profile: Profile,
    pub(super) reason: String,
    pub(super) by: String,
    pub(super) since_unix_ms: u64,
    pub(super) allowed: Allowed,
    /// Its end, where it has one.
    pub(super) until: Option<Moment>,
    /// When it reverts unless somebody confirms it; `None` once confirmed.
    pub(super) confirm_until: Option<Moment>,
}

impl Active {
    /// Milliseconds until it ends by itself; `None` where it does not.
    pub(super) fn left(&self, now: &Clocks) -> Option<u64> {
        let ends = [&self.until, &self.confirm_until].into_iter().flatten();
        ends.map(|end| end.left(now)).min()
    }
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Act {
    pub(super) at_unix_ms: u64,
    pub(super) what: String,
    pub(super) by: String,
    pub(super) reason: String,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.at_unix_ms).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
        write!(f, "{at:.0}, {}: {}", self.by, self.what)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    pub(super) active: Option<Active>,
    acts: VecDeque<Act>,
    /// What came of the newest order through coordinators.
    #[serde(default)]
    pub(super) order: Option<OrderOutcome>,
}

impl Default for Saved {
    fn default() -> Self {
        Self { version: VERSION, active: None, acts: VecDeque::new(), order: None }
    }
}

/// Where it is.
pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

impl Saved {
    /// What is saved; nothing where there is no file.
    pub(super) fn load(state_dir: &Path) -> Result<Self, DurableError> {
        let path = path(state_dir);
        let Some(bytes) = durable::read_optional(&path)? else { return Ok(Self::default()) };
        let damaged =
            |reason: String| DurableError::new(Operation::Read, &path, io::Error::other(reason));
        let saved: Self = serde_json::from_slice(&bytes)
            .map_err(|error| damaged(format!("it is damaged ({error}); remove it")))?;
        if saved.version != VERSION {
            return Err(damaged(format!(
                "it has the form {}, this agent knows {VERSION}",
                saved.version
            )));
        }
        Ok(saved)
    }

    /// Notes a deed.
    pub(super) fn act(&mut self, what: impl Into<String>, by: &str, reason: &str) {
        self.acts.push_back(Act {
            at_unix_ms: wall_ms(),
            what: what.into(),
            by: by.into(),
            reason: reason.into(),
        });
        while self.acts.len() > ACTS_MAX {
            self.acts.pop_front();
        }
    }

    /// The newest deed.
    pub(super) fn last(&self) -> Option<&Act> {
        self.acts.back()
    }

    /// Writes it durably.
    pub(super) fn save(&self, state_dir: &Path) -> Result<(), DurableError> {
        durable::write_json(&path(state_dir), self, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(boot: &str, boot_ms: u64, unix_ms: u64) -> Clocks {
        Clocks { boot: boot.into(), boot_ms, unix_ms }
    }

    #[test]
    fn what_is_left_survives_a_reboot_and_a_wrong_clock() {
        let end = clocks("a", 10_000, 1_000_000).in_ms(5_000);
        // The same boot goes by the clock that nobody sets.
        assert_eq!(end.left(&clocks("a", 12_000, 0)), 3_000);
        assert_eq!(end.left(&clocks("a", 15_001, 0)), 0);
        // Another one by the wall clock.
        assert_eq!(end.left(&clocks("b", 7, 1_001_000)), 4_000);
        assert_eq!(end.left(&clocks("b", 7, 1_005_000)), 0);
        // Which is behind before it is set: not longer than at first.
        assert_eq!(end.left(&clocks("b", 7, 0)), 5_000);
    }

    #[test]
    fn the_file_is_read_back_and_its_deeds_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut saved = Saved::load(dir.path()).unwrap();
        assert_eq!(saved, Saved::default());
        for number in 0..=ACTS_MAX {
            saved.act(format!("deed {number}"), "ann", "why");
        }
        saved.save(dir.path()).unwrap();
        let read = Saved::load(dir.path()).unwrap();
        assert_eq!((read.acts.len(), read.acts[0].what.as_str()), (ACTS_MAX, "deed 1"));
        fs::write(path(dir.path()), "{").unwrap();
        assert!(Saved::load(dir.path()).unwrap_err().to_string().contains("damaged"));
    }
}
