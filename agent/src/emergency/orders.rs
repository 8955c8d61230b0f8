//! Emergency stops through the coordinators: each is carried out once (A7), also
//! by an agent that was off when it was ordered.
//!
//! No entry of agent.toml is asked: a coordinator may stop what runs here anyway. A
//! release ends what an order began; what somebody stopped on this host stays
//! stopped until it is released here.

use super::{Stop, Stops, turn};
use daemon::{clock::wall_ms, durable::DurableError};
use model::{OrderId, StopDeed, StopOrder};
use std::path::Path;

/// What came of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The group is stopped.
    Stopped,
    /// It may run again.
    Released,
    /// It was released, and what somebody stopped on this host stays.
    StaysStopped,
    /// It was taken up before, or a newer one was.
    Known,
}

impl Stops {
    /// Whether an order is newer than what was taken up. By number, or by time where
    /// the coordinators count anew, because they were founded anew.
    #[must_use]
    pub fn is_news(&self, order: &StopOrder) -> bool {
        let newer = |known: &OrderId| order.id.number > known.number || order.id.at > known.at;
        self.orders.get(&order.group).is_none_or(newer)
    }
}

/// Carries out an order durably: the running agent, and the next one, see the file.
/// Blocks.
///
/// # Errors
/// [`DurableError`]: it would not last.
pub fn take_up(state_dir: &Path, order: &StopOrder) -> Result<Taken, DurableError> {
    let _turn = turn(state_dir)?;
    // What cannot be read stops everything already, and is released on this host.
    let mut stops = Stops::read(state_dir)?;
    if !stops.is_news(order) {
        return Ok(Taken::Known);
    }
    let group = &order.group;
    let ours = stops.groups.get(group).is_some_and(|known| known.order.is_none());
    let taken = match order.deed {
        StopDeed::Stop => {
            let (by, reason) =
                (format!("{} through the coordinators", order.by), order.reason.clone());
            if !ours {
                let stop = Stop { by, reason, at_unix_ms: wall_ms(), order: Some(order.id) };
                stops.groups.insert(group.clone(), stop);
            }
            Taken::Stopped
        }
        StopDeed::Release if ours => Taken::StaysStopped,
        StopDeed::Release => {
            stops.groups.remove(group);
            Taken::Released
        }
    };
    stops.orders.insert(group.clone(), order.id);
    stops.save(state_dir)?;
    Ok(taken)
}
