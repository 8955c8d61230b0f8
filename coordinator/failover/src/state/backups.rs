//! Backups that are too old into the state: a notification, and when it was told.

use super::{Applied, NO_INCIDENT, State, apply::ignored};
use crate::record::Record;
use alloc::{format, string::String};
use model::{Millis, Severity};

/// How long it is kept in mind that a source was told of: longer than the pause
/// between two, so that sources that are gone do not stay for ever.
const KEPT: Millis = Millis::from_secs(7 * 86_400);

impl State {
    pub(super) fn apply_rpo_exceeded(&mut self, record: &Record) -> Applied {
        let Record::RpoExceeded { group: name, host, source, age, max, at } = record else {
            return ignored(String::from("it is no such record"));
        };
        let Some(group) = self.groups.get_mut(name) else {
            return ignored(format!("no group is called {name}"));
        };
        group.rpo_told.retain(|_, told| at.since(*told) < KEPT);
        group.rpo_told.insert(format!("{host}/{source}"), *at);
        let now = match age {
            Some(age) => format!("the newest proven copy that survives {host} is {age} old"),
            None => format!("no proven copy survives {host}"),
        };
        let body = format!(
            "{now}; at most {max} is acceptable (rpo_max). If {host} is lost now, what was written \
             since is lost. Look: coordctl backup rpo; on {host}: understudy-agent backup run {source}"
        );
        let incident = self.open_incident(name).map_or(NO_INCIDENT, |incident| incident.id);
        let title = format!("{name}: the backup `{source}` of {host} is too old");
        self.notify((Severity::High, name, incident), &title, body, *at);
        Applied::Done
    }
}
