//! Watches the age of the active site's backups, and has a person told when one
//! passes what is acceptable.

use super::{Engine, appends::Purpose};
use crate::{
    effect::Effect,
    event::Now,
    record::Record,
    sight::{CopySight, HostSight, Sight},
    state::Group,
    suspicion::Standing,
};
use alloc::{format, vec::Vec};
use model::{GroupId, Millis};

/// How often the same source is told of again while it stays beyond its bound:
/// four times a day, so that the day's person on call hears of it.
pub(crate) const REPEAT: Millis = Millis::from_secs(6 * 3600);

impl Engine {
    /// Looks at every group's sources; one record at a time.
    pub(super) fn watch_rpo(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.leading.is_none() {
            return;
        }
        let found: Vec<Record> =
            self.state.groups.values().filter_map(|group| self.beyond(group, now)).collect();
        for record in found {
            let Record::RpoExceeded { group, .. } = &record else { continue };
            let purpose = Purpose::Rpo(group.clone());
            // A full queue is tried again at the next tick.
            let _full = self.propose(purpose, record, out);
        }
    }

    /// The first source of the group that is beyond its bound, and not told of lately.
    fn beyond(&self, group: &Group, now: Now) -> Option<Record> {
        let name: &GroupId = &group.spec.name;
        let active = group.active.as_ref()?;
        let has_bounds = group.spec.site(active)?.hosts.iter().any(|host| {
            let seen = self.view.host(host);
            seen.is_some_and(|seen| seen.heartbeat.backups.iter().any(|b| b.max.is_some()))
        });
        if !has_bounds || self.appends.under_way(&Purpose::Rpo(name.clone())) {
            return None;
        }
        let sight = self.sight(group, now);
        let hosts = sight.site(active)?.hosts.iter();
        // A silent host is another story, which is told anyway.
        let heard = hosts.filter(|host| sight.standing(host) == Standing::Alive);
        let copies = heard.flat_map(|host| host.copies.iter().map(move |copy| (host, copy)));
        let mut due = copies.filter(|(host, copy)| {
            let told = group.rpo_told.get(&key(host, copy));
            acute(&sight, copy) && told.is_none_or(|at| now.wall.since(*at) >= REPEAT)
        });
        let (host, copy) = due.next()?;
        Some(Record::RpoExceeded {
            group: name.clone(),
            host: host.host.clone(),
            source: copy.source.clone(),
            age: copy.age,
            max: copy.max?,
            at: now.wall,
        })
    }
}

/// Beyond what is acceptable. Where there is no copy at all, only after as long:
/// the first one may be under way.
fn acute(sight: &Sight, copy: &CopySight) -> bool {
    copy.beyond(copy.max)
        && (copy.age.is_some() || copy.max.is_some_and(|max| sight.watched >= max))
}

fn key(host: &HostSight, copy: &CopySight) -> alloc::string::String {
    format!("{}/{}", host.host, copy.source)
}
