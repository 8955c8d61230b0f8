//! Whether each group could fail over: asked again every ten seconds, and told when
//! the answer has changed for longer than a moment.

use super::{Engine, appends::Purpose};
use crate::{
    doctor::{self, Check, Readiness},
    effect::Effect,
    event::Now,
    record::Record,
    request::Refused,
    state::Group,
};
use alloc::vec::Vec;
use model::{GroupId, Millis, Mono};

/// Between two looks.
const EVERY: Millis = Millis::from_secs(10);
/// How long a change must last before it is told: a host that restarts is back by then.
const SETTLING: Millis = Millis::from_secs(30);

/// What this leader found of one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    ready: bool,
    since: Mono,
    looked: Mono,
}

impl Engine {
    /// Every check of `group`, and what they come to.
    ///
    /// # Errors
    /// [`Refused::NoSuch`] with the groups that there are.
    pub fn examine(&self, group: &GroupId, now: Now) -> Result<Vec<Check>, Refused> {
        let found = self.state.groups.get(group).ok_or_else(|| self.no_such_group(group))?;
        let (readiness, mut checks) = self.look_over(found, now);
        checks.insert(0, readiness.check());
        Ok(checks)
    }

    /// Whether `group` could fail over now.
    ///
    /// # Errors
    /// [`Refused::NoSuch`] with the groups that there are.
    pub fn readiness(&self, group: &GroupId, now: Now) -> Result<Readiness, Refused> {
        let found = self.state.groups.get(group).ok_or_else(|| self.no_such_group(group))?;
        Ok(self.look_over(found, now).0)
    }

    fn look_over(&self, group: &Group, now: Now) -> (Readiness, Vec<Check>) {
        let sight = self.sight(group, now);
        let checks = doctor::examine(&self.state, group, &self.view, &sight);
        (Readiness::of(&sight, &checks), checks)
    }

    /// Looks where it is time to, and writes down what has changed for good.
    pub(super) fn watch_readiness(&mut self, now: Now, out: &mut Vec<Effect>) {
        let due = |name: &GroupId| {
            let known = self.readiness.get(name);
            known.is_none_or(|known| now.mono.since(known.looked) >= EVERY)
        };
        let due: Vec<GroupId> =
            self.state.groups.keys().filter(|name| due(name)).cloned().collect();
        for name in due {
            let Some(group) = self.state.groups.get(&name) else { continue };
            let (found, told) = (self.look_over(group, now).0, group.unready.is_some());
            let new = Watched { ready: found.ready, since: now.mono, looked: now.mono };
            let known = self.readiness.entry(name.clone()).or_insert(new);
            known.looked = now.mono;
            if known.ready != found.ready || found.expected {
                (known.ready, known.since) = (found.ready, now.mono);
            }
            let settled = now.mono.since(known.since) >= SETTLING;
            let purpose = Purpose::Readiness(name.clone());
            if found.expected || !settled || told != found.ready || self.appends.under_way(&purpose)
            {
                continue;
            }
            let why = (!found.ready).then_some(found.why);
            let record = Record::ReadinessChanged { group: name, why, at: now.wall };
            // A full queue is tried again at the next look.
            let _full = self.propose(purpose, record, out);
        }
    }
}
