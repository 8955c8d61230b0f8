//! Gated services on a standby: started behind the closed gate once the group
//! has been quiet for a moment, and started again when they end, a bounded
//! number of times.
//!
//! Pure, like the keeper it is part of. Whether the gate is closed and another
//! site is active is the caller's matter.
//!
//! Invariants: closing ends it; nothing is started before the group was
//! confirmed closed for [`QUIET`]; a command does not wait for it.

use super::{Job, Keeper, Next, RESTORE_CAP, RESTORE_FIRST, RESTORE_TRIES, Running, Why, backoff};
use model::{Millis, Mono};

/// Between the confirmed end of what ran under a lease and the start behind the
/// gate: a fence or a switchover under way has seen its proof by then.
const QUIET: Millis = Millis(1000);
/// What ran for so long is not failing, and its tries count from anew.
const STEADY: Millis = Millis(60_000);

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Standby {
    /// Gated services may run behind the gate.
    behind: bool,
    /// When to start them.
    at: Option<Mono>,
    tries: u32,
    up_since: Option<Mono>,
}

impl Keeper {
    /// What the driver sees, to be said on every round: whether gated services
    /// are to be started here (`may`: the gate is closed, another site active),
    /// and whether all of them run.
    pub fn stand_by(&mut self, now: Mono, may: bool, all_up: bool) {
        let at_work = self.job.as_ref().is_some_and(|running| running.job == Job::StandBy);
        let quiet = self.is_quiet();
        let standby = &mut self.standby;
        if !may || !quiet {
            standby.at = None;
            return;
        }
        standby.behind = true;
        if all_up {
            let since = *standby.up_since.get_or_insert(now);
            standby.at = None;
            if now.since(since) >= STEADY {
                standby.tries = 0;
            }
            return;
        }
        standby.up_since = None;
        if standby.at.is_some() || at_work || standby.tries >= RESTORE_TRIES {
            return;
        }
        let wait = match standby.tries {
            0 => QUIET,
            tries => backoff(RESTORE_FIRST, RESTORE_CAP, tries - 1),
        };
        standby.at = Some(now + wait);
    }

    /// Whether gated services may be running behind the gate: those that were
    /// started there, and not those that a lost lease left behind.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.standby.behind
    }

    /// Starting them is over; returns whether it is given up.
    pub fn stood_by(&mut self, well: bool) -> bool {
        self.job = None;
        !well && self.standby.tries >= RESTORE_TRIES
    }

    /// A higher epoch came, and no lease was live: what stands behind the gate
    /// was never active and stays; everything else is as after [`Self::close`].
    pub fn overtake(&mut self, now: Mono, why: Why) {
        if !self.standby.behind {
            return self.close(now, why);
        }
        self.restore = None;
        if let Some(running) = self.job.as_mut().filter(|running| running.job != Job::StandBy) {
            running.cancel |= why.ends(running.job.promotes());
        }
    }

    /// What is to be done of it now, with no job at work and none waiting.
    pub(super) fn next_standby(&mut self, now: Mono) -> Option<Next> {
        self.standby.at.filter(|at| *at <= now)?;
        self.standby.at = None;
        self.standby.tries += 1;
        self.job = Some(Running::new(Job::StandBy));
        Some(Next::StandBy)
    }

    /// When the next start is due.
    pub(super) fn standby_wake(&self) -> Option<Mono> {
        self.standby.at.filter(|_| self.queue.is_empty())
    }
}
