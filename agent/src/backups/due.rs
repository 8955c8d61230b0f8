//! What is due when: pure, the time is an argument.
//!
//! Calendars go by the wall's clock, everything shorter by the machine's own, so
//! that a clock that is set neither starts nor holds back a retry. Invariants: a
//! job never runs twice at once; no two jobs work on one repository; turns that
//! were missed, however many, are one run; a failure is tried again a bounded
//! number of times, then the next turn comes.

use backup::schedule::Schedule;
use jiff::Timestamp;
use model::{Millis, Mono};
use std::collections::BTreeSet;

/// After a change: how long the files must be quiet. An editor writes, syncs and
/// renames within this.
pub(super) const SETTLE: Millis = Millis(200);
/// How long a change waits at most where files are never quiet.
pub(super) const SETTLE_MAX: Millis = Millis(1000);
/// The least time between the end of a run and the next one for a change.
const REST_MIN: Millis = Millis(500);
/// A run for a change is followed by a rest of so many times its length, so that
/// files that change all the time take a fifth of one processor at most.
const REST_TIMES: u64 = 4;
/// The longest such rest: a run by the schedule may have read far more.
const REST_MAX: Millis = Millis::from_secs(60);
/// The waits before a failed run is tried again; then its next turn comes. Where
/// there is no next turn, the last one is repeated.
const RETRIES: [Millis; 3] =
    [Millis::from_secs(60), Millis::from_secs(240), Millis::from_secs(900)];
/// Processes at once: one that is long, and one for a change beside it.
const AT_ONCE: usize = 2;

/// Both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) wall: Timestamp,
    pub(super) mono: Mono,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    Run,
    Verify { level: u8, percent: u8 },
}

/// One thing that comes again and again.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Its name in the durable file: `run:SOURCE`, `verify:SOURCE:0`.
    pub(super) key: String,
    pub(super) source: String,
    pub(super) deed: Deed,
    /// The repositories that it works on.
    pub(super) repositories: BTreeSet<String>,
    schedule: Option<Schedule>,
    /// Whose delay it has.
    jitter: String,
    /// What was last taken: the turns after it are due.
    taken: Option<Timestamp>,
    running: bool,
    /// Failures since the last success or turn.
    failures: usize,
    retry: Option<Mono>,
    /// The first and the newest change that no run has seen the beginning of.
    changed: Option<(Mono, Mono)>,
    rest_until: Mono,
}

impl Job {
    pub(super) fn new(
        key: String,
        source: &str,
        deed: Deed,
        repositories: BTreeSet<String>,
        schedule: Option<Schedule>,
        host: &str,
    ) -> Self {
        Self {
            jitter: format!("{host}/{key}"),
            key,
            source: source.into(),
            deed,
            repositories,
            schedule,
            taken: None,
            running: false,
            failures: 0,
            retry: None,
            changed: None,
            rest_until: Mono(0),
        }
    }

    /// Takes up what was durable of it. What says the future is a clock that was
    /// ahead, and must not hold anything back.
    pub(super) fn resume(&mut self, taken: Option<Timestamp>, now: Timestamp) {
        self.taken = match (taken, &self.deed) {
            (Some(taken), _) => Some(taken.min(now)),
            // The first copy is made at once; a proof has its first turn before it.
            (None, Deed::Run) => None,
            (None, Deed::Verify { .. }) => Some(now),
        };
    }

    /// What is to be durable of it.
    pub(super) const fn taken(&self) -> Option<Timestamp> {
        self.taken
    }

    /// Its next turn by the schedule, which may be past. The clock may have been
    /// put back since the last one.
    pub(super) fn turn(&self, now: Timestamp) -> Option<Timestamp> {
        let schedule = self.schedule.as_ref()?;
        match self.taken {
            Some(taken) => schedule.next(taken.min(now), &self.jitter),
            None => Some(Timestamp::UNIX_EPOCH),
        }
    }

    fn urgent(&self) -> Option<Mono> {
        let (first, newest) = self.changed?;
        Some((newest + SETTLE).min(first + SETTLE_MAX).max(self.rest_until))
    }

    /// How long until it is due; zero when it is.
    fn left(&self, now: Now) -> Option<Millis> {
        if self.running {
            return None;
        }
        let turn = self.turn(now.wall).map(|turn| {
            let left = turn.duration_since(now.wall).as_millis();
            Millis(u64::try_from(left).unwrap_or(0))
        });
        let own = self.retry.map(|at| at.since(now.mono));
        // Until a failed run was tried again, no change starts one: it would fail too.
        let urgent = self.urgent().filter(|_| self.retry.is_none()).map(|at| at.since(now.mono));
        [turn, own, urgent].into_iter().flatten().min()
    }

    fn is_urgent(&self, now: Now) -> bool {
        self.retry.is_none() && self.urgent().is_some_and(|at| at <= now.mono)
    }

    fn begin(&mut self, now: Now) {
        if self.turn(now.wall).is_some_and(|turn| turn <= now.wall) {
            self.failures = 0;
        }
        self.taken = Some(now.wall);
        self.running = true;
        self.retry = None;
        self.changed = None;
    }
}

/// Every job.
#[derive(Debug, Default)]
pub(super) struct Jobs(Vec<Job>);

impl Jobs {
    pub(super) const fn new(jobs: Vec<Job>) -> Self {
        Self(jobs)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.0.iter_mut()
    }

    /// A file of a source has changed.
    pub(super) fn changed(&mut self, source: &str, now: Mono) {
        let of = |job: &&mut Job| job.source == source && job.deed == Deed::Run;
        for job in self.0.iter_mut().filter(of) {
            let first = job.changed.map_or(now, |(first, _)| first);
            job.changed = Some((first, now));
        }
    }

    /// The next job to begin now, begun: one for a change first, then whoever
    /// waits longest for its turn.
    pub(super) fn begin(&mut self, now: Now) -> Option<Job> {
        let running = || self.0.iter().filter(|job| job.running);
        let busy: BTreeSet<&String> = running().flat_map(|job| &job.repositories).collect();
        let count = running().count();
        let free = |job: &&Job| job.repositories.iter().all(|name| !busy.contains(name));
        let due = |job: &&Job| job.left(now) == Some(Millis::ZERO);
        // The second place is for changes, which are small and cannot wait.
        let place = |job: &&Job| count == 0 || (count < AT_ONCE && job.is_urgent(now));
        let order = |job: &&Job| (!job.is_urgent(now), job.turn(now.wall), job.key.clone());
        let next = self.0.iter().filter(due).filter(free).filter(place).min_by_key(order)?;
        let key = next.key.clone();
        let job = self.0.iter_mut().find(|job| job.key == key)?;
        job.begin(now);
        Some(job.clone())
    }

    /// How a job ended, and how long it took.
    pub(super) fn ended(&mut self, key: &str, well: bool, took: Millis, now: Mono) {
        let Some(job) = self.0.iter_mut().find(|job| job.key == key) else { return };
        job.running = false;
        job.rest_until = now + Millis(took.0.saturating_mul(REST_TIMES)).clamp(REST_MIN, REST_MAX);
        if well {
            job.failures = 0;
            return;
        }
        let last = RETRIES.len() - 1;
        let wait = match RETRIES.get(job.failures) {
            Some(wait) => Some(*wait),
            None if job.schedule.is_none() => Some(RETRIES[last]),
            None => None,
        };
        job.failures += 1;
        job.retry = wait.map(|wait| now + wait);
    }

    /// How long nothing more will be due; `None` where nothing ever is by itself.
    /// What is due and waits for its place begins when another ends.
    pub(super) fn wait(&self, now: Now) -> Option<Millis> {
        self.0.iter().filter_map(|job| job.left(now)).filter(|left| left.0 > 0).min()
    }
}

#[cfg(test)]
mod tests;
