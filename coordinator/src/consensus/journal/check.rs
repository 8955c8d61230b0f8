//! What must hold of a journal before it is used: its format is known, every
//! value is as it was written, no entry is missing, and what was purged is in
//! the snapshot.

use super::{Journal, JournalError, LOG, META, Stored, durably, error, frame, key, put};
use crate::consensus::types::LogId;
use redb::{Database, ReadableDatabase};
use ring::rand::{SecureRandom, SystemRandom};
use std::{ops::Bound, path::Path};

/// The format of the file that this program writes.
const FORMAT: u64 = 1;
/// Node numbers have 53 bits, so that they pass unharmed through every JSON reader.
const NODE_BITS: u32 = 53;

/// Gives a new file its tables and its node number; answers the number.
pub(super) fn prepare(path: &Path, db: &Database) -> Result<u64, JournalError> {
    let damaged = |detail: String| JournalError::Damaged { path: path.to_path_buf(), detail };
    let fail = |cause| error::working(path, "prepare it", cause);
    if is_new(db).map_err(fail)? {
        let node = draw().map_err(fail)?;
        let work = |write: &redb::WriteTransaction| {
            write.open_table(LOG)?;
            put(write, key::FORMAT, &FORMAT)?;
            put(write, key::NODE, &node)
        };
        durably(db, work).map_err(fail)?;
        return Ok(node);
    }
    let value = |key: &'static str| -> Result<u64, JournalError> {
        let bytes = stored(db, key).map_err(fail)?;
        let bytes = bytes.ok_or_else(|| damaged(format!("its {key} is missing")))?;
        frame::decode(&bytes).map_err(|why| damaged(format!("its {key}: {why}")))
    };
    let format = value(key::FORMAT)?;
    if format != FORMAT {
        return Err(JournalError::Newer { path: path.to_path_buf(), format, known: FORMAT });
    }
    value(key::NODE)
}

fn is_new(db: &Database) -> Stored<bool> {
    Ok(db.begin_read()?.list_tables()?.next().is_none())
}

fn stored(db: &Database, key: &'static str) -> Stored<Option<Vec<u8>>> {
    let table = db.begin_read()?.open_table(META)?;
    Ok(table.get(key)?.map(|bytes| bytes.value().to_vec()))
}

fn draw() -> Stored<u64> {
    let mut bytes = [0; 8];
    let none = |_| std::io::Error::other("the system gives no random numbers");
    SystemRandom::new().fill(&mut bytes).map_err(none).map_err(redb::Error::Io)?;
    // 0 is what an absent number reads as on the wire.
    Ok((u64::from_le_bytes(bytes) >> (u64::BITS - NODE_BITS)).max(1))
}

impl Journal {
    /// Reads everything once.
    pub(super) fn check(&self) -> Result<(), JournalError> {
        let (purged, _) = self.log_state()?;
        let committed = self.committed()?;
        let snapshot = self.snapshot()?.and_then(|snapshot| snapshot.meta.last_log_id);
        if purged > snapshot {
            return Err(self.damaged("entries were purged that its snapshot does not hold"));
        }
        let after = |last: Option<LogId>| last.map_or(0, |last| last.index.saturating_add(1));
        let mut next = after(purged);
        for entry in self.entries((Bound::Unbounded, Bound::Unbounded))? {
            let found = entry.log_id.index;
            match snapshot {
                _ if found == next => {}
                // A crash between the leader's snapshot and the removal of what it replaces.
                Some(last) if next <= last.index && found <= last.index.saturating_add(1) => {
                    self.purge(last)?;
                    return self.check();
                }
                Some(_) | None => {
                    let detail = format!("it is missing, entry {found} follows");
                    return Err(self.damaged_at(next, detail));
                }
            }
            next = next.saturating_add(1);
        }
        // A snapshot may be ahead of the log just after it was installed.
        let known = next.max(after(snapshot));
        match committed {
            Some(committed) if committed.index >= known => Err(self.damaged_at(
                committed.index,
                format!("it was committed, and is missing: the entries end before {known}"),
            )),
            Some(_) | None => Ok(()),
        }
    }
}
