//! What the handle ordered: opening until a deadline, and closing (A2, A3).

use super::{NetlinkError, Warden};
use crate::gate::{
    shared::{Order, Standing},
    table::{self, PROTOCOLS},
};
use daemon::clock::boottime_ms;
use model::{GroupId, Mono};

/// What is taken off an element's time for the moment until the kernel has it,
/// in milliseconds, try by try: where more passed, it is set anew with the next,
/// and after the last the group is closed instead.
const MARGINS_MS: [u64; 4] = [2, 10, 40, 150];

impl Warden {
    /// Orders first those that close.
    pub(super) fn obey(&mut self) {
        if self.loaded.is_none() {
            return;
        }
        let mut orders: Vec<(GroupId, Order)> = {
            let mut state = self.shared.lock();
            let taken = |(group, standing): (&GroupId, &mut Standing)| {
                standing.pending.take().map(|order| (group.clone(), order))
            };
            state.groups.iter_mut().filter_map(taken).collect()
        };
        orders.sort_by_key(|(_, order)| order.until.is_some());
        for (group, order) in orders {
            let result = match order.until {
                None => self.close(&group),
                Some(until) => self.open(&group, until),
            };
            match result {
                Ok(until) => self.done(&group, order.number, until),
                Err(error) => self.failed(error),
            }
        }
    }

    pub(super) fn done(&self, group: &GroupId, number: u64, until: u64) {
        let mut news = false;
        if let Some(standing) = self.shared.lock().groups.get_mut(group) {
            news = (standing.open_until > 0) != (until > 0);
            standing.done = number;
            standing.open_until = until;
        }
        self.shared.tell(news);
    }

    pub(super) fn close(&mut self, group: &GroupId) -> Result<u64, NetlinkError> {
        let Some(kernel) = &mut self.kernel else { return Err(NetlinkError::Missing) };
        self.open.remove(group);
        let mut batch = kernel.batch(&self.room.table);
        batch.clear(&table::open_set(group), &PROTOCOLS.map(|protocol| vec![protocol]));
        kernel.commit(batch).map(|()| 0)
    }

    /// Opens until the deadline, never beyond (A2).
    pub(super) fn open(&mut self, group: &GroupId, until: Mono) -> Result<u64, NetlinkError> {
        let keys = PROTOCOLS.map(|protocol| vec![protocol]);
        let set = table::open_set(group);
        for margin in MARGINS_MS {
            let before = boottime_ms();
            let left = until.0.saturating_sub(before).saturating_sub(margin);
            if left == 0 {
                break;
            }
            let Some(kernel) = &mut self.kernel else { return Err(NetlinkError::Missing) };
            let mut batch = kernel.batch(&self.room.table);
            // Kernels differ in what adding an element again does to its time.
            batch.clear(&set, &keys);
            batch.add(&set, &keys, left);
            kernel.commit(batch)?;
            // Less than, because both readings of the clock were rounded down.
            if boottime_ms().saturating_sub(before) < margin {
                self.open.insert(group.clone(), until.0);
                return Ok(until.0);
            }
        }
        self.close(group)
    }
}
