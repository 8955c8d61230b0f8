//! Starting what stands by behind the closed gate: running is enough, because
//! what cannot reach the network may well not call itself healthy.

use super::Room;
use model::{GateState, StandbyMode};

/// Starts each gated service of the group, in agent.toml's order; one that runs
/// is left alone.
///
/// # Errors
/// The first that could not be started, in words.
pub(crate) async fn stand_by(room: Room) -> Result<(), String> {
    for service in room.services.of_group(&room.group) {
        if service.config().standby != StandbyMode::Gated {
            continue;
        }
        let name = &service.config().name;
        if room.cancel.is_requested() {
            return Err(format!(
                "service `{name}`: given up, because something else is to be done"
            ));
        }
        // A1: nothing starts that the kernel would not hold back.
        let covered = room.gate.settle(&room.group).await;
        let state = room.gate.state(&room.group);
        if !covered || state != GateState::Closed {
            return Err(format!(
                "service `{name}`: the gate is {state} and {} it; {}",
                if covered { "covers" } else { "may not cover" },
                room.gate.why(&room.group)
            ));
        }
        service.start_gated().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}
