//! What is at work for one group, one thing at a time: closing, a command,
//! starting again what a lapse stopped (A3), or starting what stands by behind
//! the closed gate.
//!
//! Pure: told what happened and what time it is, it says what to do next. It
//! knows neither leases nor services; whether a lease is live is an argument.
//!
//! Invariants: closing waits for nothing; a fence is done only when all is
//! confirmed stopped by a pass that began after it, with no start under way;
//! nothing is started while a pass is under way.

mod standby;

use model::{Action, Command, CommandId, Epoch, Millis, Mono, ServiceName};
use standby::Standby;
use std::collections::VecDeque;

/// Commands that may wait: a plan has one or two for a host at a time.
const QUEUE_MAX: usize = 16;
/// Fences that may be under way: repeated attempts at the same one.
const FENCES_MAX: usize = 8;
/// Waits between passes that could not confirm: doubling, and never so long
/// that a service runs on unwatched.
const RETRY_FIRST: Millis = Millis(100);
const RETRY_CAP: Millis = Millis(2000);
/// Between a pass and one that a service seen running asks for: what was seen
/// may be older than the pass.
const ENFORCE_EVERY: Millis = Millis(250);
/// Tries to start again what ran before a lapse, with doubling waits: over a
/// minute. After that a person or the coordinators must decide.
const RESTORE_TRIES: u32 = 7;
const RESTORE_FIRST: Millis = Millis(1000);
const RESTORE_CAP: Millis = Millis(20_000);

/// Why a group is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The lease ran out; a promotion under way may still bring a new one.
    Lapse,
    /// What is at work is of an epoch that is over, or the agent ends.
    Over,
    /// What is at work brings a higher epoch itself, and goes on.
    Taken,
}

impl Why {
    /// Whether it ends what is at work.
    const fn ends(self, promotes: bool) -> bool {
        match self {
            Self::Lapse => !promotes,
            Self::Over => true,
            Self::Taken => false,
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Stop every exclusive service, then say [`Keeper::pass_ended`].
    Close,
    /// Tell what is at work to give up; it still says [`Keeper::job_ended`].
    Cancel,
    /// Compare this command and begin it, or say [`Keeper::job_ended`].
    Begin(Waiting),
    /// Start again what was started, then say [`Keeper::restored`].
    Restore,
    /// Start the gated services behind the closed gate, then say
    /// [`Keeper::stood_by`].
    StandBy,
}

/// A command that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The command.
    pub command: Command,
    /// When it must be done.
    pub until: Mono,
    /// Which coordinator sent it, as the driver counts them.
    pub from: usize,
}

/// How a fence ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    /// The command.
    pub command: Command,
    /// The services confirmed stopped, or why that could not be confirmed.
    pub result: Result<Vec<ServiceName>, String>,
}

#[derive(Debug)]
struct Fence {
    command: Command,
    until: Mono,
    /// Whether a pass has begun since.
    covered: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Job {
    Command { id: CommandId, promotes: bool },
    Restore,
    StandBy,
}

#[derive(Debug)]
struct Running {
    job: Job,
    cancel: bool,
    cancelled: bool,
}

#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Mono,
    tries: u32,
}

/// One group's keeper.
#[derive(Debug, Default)]
pub struct Keeper {
    /// A pass is wanted, not before that time.
    wanted: Option<Mono>,
    /// Passes in a row that could not confirm.
    fails: u32,
    /// A pass is under way; whether no job was at work when it began.
    pass: Option<bool>,
    /// A pass succeeded while a job was at work: the next waits for its end.
    unclean: bool,
    pass_ended: Mono,
    fault: Option<String>,
    restore: Option<Retry>,
    fences: Vec<Fence>,
    job: Option<Running>,
    queue: VecDeque<Waiting>,
    standby: Standby,
}

fn backoff(first: Millis, cap: Millis, tries: u32) -> Millis {
    // 2^20 times the first wait is beyond every cap.
    first.times(1 << tries.min(20)).min(cap)
}

impl Keeper {
    /// Everything exclusive must be stopped.
    pub fn close(&mut self, now: Mono, why: Why) {
        self.wanted = Some(now);
        self.fails = 0;
        self.unclean = false;
        self.restore = None;
        self.standby = Standby::default();
        if let Some(running) = &mut self.job {
            running.cancel |= why.ends(running.job.promotes());
        }
    }

    /// A fence was admitted; returns those it leaves no room for.
    pub fn fence(&mut self, command: Command, until: Mono, now: Mono) -> Option<Fenced> {
        self.close(now, Why::Over);
        let crowded = self.fences.len() == FENCES_MAX;
        let oldest = crowded.then(|| self.fences.remove(0));
        self.fences.push(Fence { command, until, covered: false });
        oldest.map(|fence| fence.ended(Err("newer fences of this group came meanwhile".into())))
    }

    /// A service that must not run was seen running.
    pub fn saw_running(&mut self, now: Mono) {
        if self.wanted.is_none() && self.pass.is_none() {
            self.wanted = Some(now.max(self.pass_ended + ENFORCE_EVERY));
        }
    }

    /// A lease is live again; `started` says whether something ran before.
    pub fn opened(&mut self, now: Mono, started: bool) {
        // What stood behind the gate is active from now on.
        self.standby = Standby::default();
        self.restore = started.then_some(Retry { at: now, tries: 0 });
    }

    /// Whether this very command waits or is at work.
    #[must_use]
    pub fn has(&self, id: &CommandId) -> bool {
        let running = self.job.as_ref().is_some_and(|running| running.job.is(id));
        running
            || self.fences.iter().any(|fence| fence.command.id == *id)
            || self.queue.iter().any(|waiting| waiting.command.id == *id)
    }

    /// Lines a command up; gives it back where too many wait.
    pub fn submit(&mut self, waiting: Waiting) -> Option<Waiting> {
        if self.queue.len() == QUEUE_MAX {
            return Some(waiting);
        }
        self.queue.push_back(waiting);
        None
    }

    /// What to do now; to be asked until it says `None`.
    pub fn next(&mut self, now: Mono, live: bool) -> Option<Next> {
        let waits = !self.queue.is_empty();
        if let Some(running) = self.job.as_mut().filter(|running| running.job == Job::StandBy) {
            running.cancel |= waits;
        }
        if let Some(running) = self.job.as_mut().filter(|job| job.cancel && !job.cancelled) {
            running.cancelled = true;
            return Some(Next::Cancel);
        }
        // Under a live lease nothing has to be stopped, unless for a fence.
        if live && self.fences.is_empty() {
            self.wanted = None;
        }
        if self.next_pass().is_some_and(|at| at <= now) {
            self.wanted = None;
            self.pass = Some(self.job.is_none());
            self.fences.iter_mut().for_each(|fence| fence.covered = true);
            return Some(Next::Close);
        }
        if self.job.is_some() {
            return None;
        }
        let quiet = self.is_quiet();
        if live && quiet && self.restore.is_some_and(|retry| retry.at <= now) {
            self.job = Some(Running::new(Job::Restore));
            return Some(Next::Restore);
        }
        if !live && quiet && self.queue.is_empty() {
            return self.next_standby(now);
        }
        let front = self.queue.front()?;
        let promotes = matches!(front.command.action, Action::Promote { .. });
        // A command that is too late is begun as well, to be refused.
        if !(quiet || promotes || front.until <= now) {
            return None;
        }
        let waiting = self.queue.pop_front()?;
        let id = waiting.command.id.clone();
        self.job = Some(Running::new(Job::Command { id, promotes }));
        Some(Next::Begin(waiting))
    }

    /// From when on a pass may begin, where one is wanted and none under way.
    fn next_pass(&self) -> Option<Mono> {
        let waits_for_job = self.unclean && self.job.is_some();
        self.wanted.filter(|_| self.pass.is_none() && !waits_for_job)
    }

    const fn is_quiet(&self) -> bool {
        self.wanted.is_none() && self.pass.is_none()
    }

    /// The command at work is over, or was not begun.
    pub fn job_ended(&mut self) {
        self.job = None;
    }

    /// Starting again is over; returns whether it is given up.
    pub fn restored(&mut self, now: Mono, well: bool) -> bool {
        self.job = None;
        let Some(retry) = self.restore.as_mut().filter(|_| !well) else {
            self.restore = None;
            return false;
        };
        let wait = backoff(RESTORE_FIRST, RESTORE_CAP, retry.tries);
        *retry = Retry { at: now + wait, tries: retry.tries + 1 };
        let given_up = retry.tries >= RESTORE_TRIES;
        if given_up {
            self.restore = None;
        }
        given_up
    }

    /// A pass is over; returns the fences that it ends.
    pub fn pass_ended(
        &mut self,
        now: Mono,
        result: Result<Vec<ServiceName>, String>,
    ) -> Vec<Fenced> {
        let clean = self.pass.take().unwrap_or(false);
        self.pass_ended = now;
        match result {
            Ok(stopped) if clean => {
                self.fault = None;
                self.fails = 0;
                self.unclean = false;
                let ended = self.fences.extract_if(.., |fence| fence.covered);
                ended.map(|fence| fence.ended(Ok(stopped.clone()))).collect()
            }
            Ok(_) => {
                self.unclean = true;
                self.wanted = Some(now);
                vec![]
            }
            Err(fault) => {
                self.fault = Some(fault);
                let wait = backoff(RETRY_FIRST, RETRY_CAP, self.fails);
                self.fails = self.fails.saturating_add(1);
                // One that was asked for meanwhile comes at once.
                self.wanted.get_or_insert(now + wait);
                vec![]
            }
        }
    }

    /// Fences that a higher epoch overtakes.
    pub fn overtaken(&mut self, by: Epoch) -> Vec<Fenced> {
        self.fences
            .extract_if(.., |fence| fence.command.epoch < by)
            .map(|fence| fence.ended(Err(format!("epoch {by} began before all was stopped"))))
            .collect()
    }

    /// Fences whose deadline has passed.
    pub fn late(&mut self, now: Mono) -> Vec<Fenced> {
        let fault = self.fault.clone();
        self.fences
            .extract_if(.., |fence| fence.until <= now)
            .map(|fence| {
                let still = fault.as_deref().unwrap_or("services are still stopping");
                fence.ended(Err(format!("not confirmed stopped at the deadline: {still}")))
            })
            .collect()
    }

    /// Whether all is confirmed stopped and nothing is at work.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_quiet() && self.job.is_none()
    }

    /// Why the last pass could not confirm.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// When to ask again at the latest.
    #[must_use]
    pub fn wake(&self) -> Option<Mono> {
        let free = self.is_quiet() && self.job.is_none();
        let restore = self.restore.filter(|_| free).map(|retry| retry.at);
        let fences = self.fences.iter().map(|fence| fence.until).min();
        let queue = self.queue.front().filter(|_| self.job.is_none()).map(|front| front.until);
        let standby = self.standby_wake().filter(|_| free);
        [self.next_pass(), restore, fences, queue, standby].into_iter().flatten().min()
    }
}

impl Fence {
    fn ended(self, result: Result<Vec<ServiceName>, String>) -> Fenced {
        Fenced { command: self.command, result }
    }
}

impl Job {
    fn promotes(&self) -> bool {
        match self {
            Self::Command { promotes, .. } => *promotes,
            Self::Restore | Self::StandBy => false,
        }
    }

    fn is(&self, wanted: &CommandId) -> bool {
        match self {
            Self::Command { id, .. } => id == wanted,
            Self::Restore | Self::StandBy => false,
        }
    }
}

impl Running {
    const fn new(job: Job) -> Self {
        Self { job, cancel: false, cancelled: false }
    }
}

#[cfg(test)]
mod tests;
