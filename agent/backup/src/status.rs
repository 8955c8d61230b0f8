//! What became of each source's backups and proofs: written durably by every
//! process that makes one, whoever started it, and read by the agent.
//!
//! One small file a source below the state directory. It is a summary: the
//! repository says what there is. A file that cannot be read says that nothing is
//! known, which makes a copy look older, never newer.

use crate::{
    config::{Config, SourceConfig},
    error::BackupError,
    repository::{Level, Verified},
    run::Done,
};
use daemon::durable::{self, DurableError, Operation};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Attempts that are kept of each kind: the success rate is of so many.
pub const ATTEMPTS_MAX: usize = 100;
/// Copies that are kept in mind of each repository: a proof that is taken back
/// leaves the one before.
const COPIES_MAX: usize = 8;
/// Bytes kept of what went wrong.
const WORDS_MAX: usize = 400;

/// What is known of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Copies that were tried, the newest last.
    #[serde(default)]
    pub runs: Vec<Attempt>,
    /// Proofs of level 2 and 3 that were tried, the newest last.
    #[serde(default)]
    pub proofs: Vec<Attempt>,
    /// Copies that were made, the newest last.
    #[serde(default)]
    pub copies: Vec<CopyMade>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took, ms.
    pub took_ms: u64,
    /// Why it failed; nothing when it did not.
    pub failed: Option<String>,
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyMade {
    /// In which repository.
    pub repository: String,
    /// Its id.
    pub snapshot: String,
    /// When its reading began: what was written later is not in it.
    pub at: Timestamp,
    /// How far it was proven, as 1 to 3; nothing when that was taken back.
    pub level: Option<u8>,
    /// When.
    pub verified_at: Option<Timestamp>,
}

/// How the attempts of a kind went, of late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// How many there were, up to [`ATTEMPTS_MAX`].
    pub count: u32,
    /// How many of them went well.
    pub well: u32,
    /// The time that 95 of 100 of those took at most, ms.
    pub took_p95_ms: u64,
}

impl Rate {
    /// Of these.
    #[must_use]
    pub fn of(attempts: &[Attempt]) -> Self {
        let mut took: Vec<u64> =
            attempts.iter().filter(|one| one.failed.is_none()).map(|one| one.took_ms).collect();
        took.sort_unstable();
        // Nearest rank.
        let rank = (took.len() * 95).div_ceil(100);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            count: number(attempts.len()),
            well: number(took.len()),
            took_p95_ms: rank.checked_sub(1).and_then(|at| took.get(at)).copied().unwrap_or(0),
        }
    }
}

impl Status {
    /// The file of a source.
    #[must_use]
    pub fn path(state_dir: &Path, source: &str) -> PathBuf {
        directory(state_dir).join(format!("{source}.json"))
    }

    /// What is known of a source; nothing where there is no readable file.
    #[must_use]
    pub fn load(state_dir: &Path, source: &str) -> Self {
        let bytes = durable::read_optional(&Self::path(state_dir, source)).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// The newest proven copy in one of these repositories.
    #[must_use]
    pub fn newest_verified(&self, within: impl Fn(&str) -> bool) -> Option<&CopyMade> {
        let proven = self.copies.iter().filter(|copy| copy.level.is_some());
        proven.filter(|copy| within(&copy.repository)).max_by_key(|copy| copy.at)
    }

    fn attempt(list: &mut Vec<Attempt>, attempt: Attempt) {
        list.push(attempt);
        list.drain(..list.len().saturating_sub(ATTEMPTS_MAX));
    }

    fn made(&mut self, copy: CopyMade) {
        self.copies.push(copy);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut kept: Vec<CopyMade> = std::mem::take(&mut self.copies);
        kept.sort_by_key(|copy| std::cmp::Reverse(copy.at));
        kept.retain(|copy| {
            let count = seen.entry(copy.repository.clone()).or_default();
            *count += 1;
            *count <= COPIES_MAX
        });
        kept.reverse();
        self.copies = kept;
    }
}

fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("backup").join("status")
}

fn attempt(begun: Timestamp, failed: &[&BackupError]) -> Attempt {
    let took = Timestamp::now().duration_since(begun).as_millis();
    let mut words = failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    while words.len() > WORDS_MAX {
        words.pop();
    }
    Attempt {
        at: begun,
        took_ms: u64::try_from(took).unwrap_or(0),
        failed: (!failed.is_empty()).then_some(words),
    }
}

/// Notes what became of a run: the copies in the repositories that took one, and
/// why the others did not. It went well where all of them did.
///
/// # Errors
/// [`DurableError`]: it is not noted; the copy is as it is.
pub(crate) fn ran(
    config: &Config,
    source: &SourceConfig,
    begun: Timestamp,
    done: &[Done],
    failed: &[BackupError],
) -> Result<(), DurableError> {
    change(&config.state_dir, &source.name, |status| {
        let failed: Vec<&BackupError> = failed.iter().collect();
        Status::attempt(&mut status.runs, attempt(begun, &failed));
        for done in done {
            status.made(CopyMade {
                repository: done.repository.clone(),
                snapshot: done.snapshot.clone(),
                at: done.at,
                level: Some(done.verified_level),
                verified_at: Some(Timestamp::now()),
            });
        }
    })
}

/// Notes what became of a proof; `snapshot` is the whole id, where one was chosen.
///
/// # Errors
/// [`DurableError`]: it is not noted; the proof beside the copy is as it is.
pub(crate) fn proved(
    config: &Config,
    source: &SourceConfig,
    begun: Timestamp,
    snapshot: Option<&str>,
    done: Result<&Verified, &BackupError>,
) -> Result<(), DurableError> {
    let damaged = matches!(done, Err(BackupError::Verify(error)) if error.takes_back());
    change(&config.state_dir, &source.name, |status| {
        if done.as_ref().map_or(true, |verified| verified.level != Level::Structure) {
            Status::attempt(&mut status.proofs, attempt(begun, done.err().as_slice()));
        }
        let of_it = |copy: &&mut CopyMade| Some(copy.snapshot.as_str()) == snapshot;
        for copy in status.copies.iter_mut().filter(of_it) {
            match &done {
                Ok(verified) => {
                    copy.level = copy.level.max(Some(verified.level.into()));
                    copy.verified_at = Some(verified.at);
                }
                Err(_) if damaged => (copy.level, copy.verified_at) = (None, None),
                Err(_) => {}
            }
        }
    })
}

/// Changes a source's file, alone.
fn change(
    state_dir: &Path,
    source: &str,
    with: impl FnOnce(&mut Status),
) -> Result<(), DurableError> {
    let directory = directory(state_dir);
    durable::create_private_dir(&state_dir.join("backup"))?;
    durable::create_private_dir(&directory)?;
    let _alone = alone(&directory.join("lock"))?;
    let mut status = Status::load(state_dir, source);
    with(&mut status);
    durable::write_json(&Status::path(state_dir, source), &status, 0o600)
}

/// Waits for the others, each of whom writes one small file.
fn alone(path: &Path) -> Result<File, DurableError> {
    let failed = |error| DurableError::new(Operation::Create, path, error);
    let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
    let file = options.open(path).map_err(failed)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(repository: &str, second: i64, level: Option<u8>) -> CopyMade {
        CopyMade {
            repository: repository.into(),
            snapshot: format!("{repository}{second}"),
            at: Timestamp::from_second(second).unwrap(),
            level,
            verified_at: None,
        }
    }

    #[test]
    fn the_newest_copies_of_each_repository_stay_in_mind() {
        let mut status = Status::default();
        status.made(copy("rare", 1, Some(2)));
        for second in 2..50 {
            status.made(copy("often", second, Some(1)));
        }
        assert_eq!(status.copies.len(), COPIES_MAX + 1);
        assert_eq!(status.newest_verified(|name| name == "rare").unwrap().snapshot, "rare1");
        assert_eq!(status.newest_verified(|_| true).unwrap().snapshot, "often49");
        status.copies.last_mut().unwrap().level = None;
        assert_eq!(status.newest_verified(|_| true).unwrap().snapshot, "often48");
        assert_eq!(status.newest_verified(|name| name == "none"), None);
    }

    #[test]
    fn rates_are_of_the_attempts_of_late() {
        let mut list = Vec::new();
        for number in 0..250_u64 {
            let failed = (number % 10 == 0).then(|| "why".to_owned());
            let attempt = Attempt { at: Timestamp::UNIX_EPOCH, took_ms: number, failed };
            Status::attempt(&mut list, attempt);
        }
        assert_eq!(Rate::of(&list), Rate { count: 100, well: 90, took_p95_ms: 245 });
        assert_eq!(Rate::of(&[]), Rate::default());
    }
}
