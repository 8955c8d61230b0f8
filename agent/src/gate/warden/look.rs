//! Whether the table is still as we made it, and putting it back where not.

use super::{NetlinkError, Warden, table};
use daemon::clock::{boottime_ms, wall_ms};

/// The kernel's ticks: an element may be listed with this much more than its
/// time, in milliseconds.
const TICK_MS: u64 = 12;

impl Warden {
    /// Looks whether the table is still ours, and puts it back where not.
    pub(super) fn look(&mut self) {
        let Some(loaded) = &self.loaded else { return };
        let Some(kernel) = &mut self.kernel else { return };
        self.looked_at = boottime_ms();
        let table = &self.room.table;
        let standing = || -> Result<Option<&'static str>, NetlinkError> {
            match kernel.fingerprint(table) {
                Err(NetlinkError::Missing) => return Ok(Some("removed the table")),
                Err(error) => return Err(error),
                Ok(found) if found != loaded.fingerprint => return Ok(Some("changed its rules")),
                Ok(_) => {}
            }
            for (set, keys) in &loaded.sets {
                let there = kernel.elements(table, set)?;
                if there.len() != keys.len() || there.iter().any(|e| !keys.contains(&e.key)) {
                    return Ok(Some("changed its sets"));
                }
            }
            for group in &self.room.groups {
                let left = self.open.get(group).map_or(0, |until| {
                    until.saturating_sub(self.looked_at).saturating_add(TICK_MS)
                });
                let there = kernel.elements(table, &table::open_set(group))?;
                let longer = |at: Option<u64>| at.is_none_or(|at| at > left && at > TICK_MS);
                if there.iter().any(|element| longer(element.left)) {
                    return Ok(Some("opened it"));
                }
            }
            Ok(None)
        };
        let mut standing = standing;
        match standing() {
            Ok(None) => self.suspect = None,
            Ok(Some(what)) => self.restore(what),
            Err(NetlinkError::Missing) => self.restore("removed a part of the table"),
            Err(error) => self.table_is(Err(format!("the table cannot be looked at: {error}"))),
        }
    }

    pub(super) fn restore(&mut self, what: &str) {
        let by = self.suspect.take().unwrap_or_else(|| "somebody".into());
        let at = jiff::Timestamp::from_millisecond(wall_ms().cast_signed()).unwrap_or_default();
        tracing::warn!(%by, %what, "the kernel gate was interfered with, and is restored closed");
        let result = self.load().map_err(|error| error.to_string());
        let note = match &result {
            Ok(()) => format!("restored closed at {at:.3}, after {by} {what}"),
            Err(error) => format!("{by} {what} at {at:.3}, and it was not restored: {error}"),
        };
        for standing in self.shared.lock().groups.values_mut() {
            standing.note.clone_from(&note);
        }
        self.tried_at = Some(boottime_ms());
        self.table_is(result);
        self.shared.tell(true);
    }
}
