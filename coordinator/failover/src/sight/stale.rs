//! Whether a host that is not active has rejoined as a standby, or still shows
//! traces of an epoch that is over: such a host is no target.

use crate::{state::Group, view::HostView};
use alloc::{format, string::String};
use model::{GateState, ServiceState, StandbyMode};

/// Why `seen`, a host of a site that is not active, counts as stale; `None` when
/// it reports the committed epoch, no lease, no open gate, and every exclusive
/// service stopped or behind the closed gate.
pub(super) fn stale(group: &Group, seen: &HostView) -> Option<String> {
    // Before the first activation there is no epoch to be behind of.
    group.active.as_ref()?;
    let name = &group.spec.name;
    let standing = seen.heartbeat.groups.iter().find(|standing| standing.group == *name)?;
    if standing.epoch < group.epoch {
        return Some(format!(
            "it knows epoch {}, and {} is committed",
            standing.epoch, group.epoch
        ));
    }
    if let Some(left) = standing.lease_left {
        return Some(format!("it reports a lease that lives for another {left}"));
    }
    if standing.gate == GateState::Open {
        return Some("its gate is open".into());
    }
    let services = seen.heartbeat.services.iter();
    let running = services.filter(|s| s.exclusive && s.group == *name).find(|service| {
        let runs = match service.state {
            ServiceState::Starting | ServiceState::Running | ServiceState::Unhealthy => true,
            // Unknown is not false, but no trace of an old epoch either.
            ServiceState::Stopped | ServiceState::Failed | ServiceState::Unknown => false,
        };
        let gated = service.standby == StandbyMode::Gated && standing.gate == GateState::Closed;
        runs && !gated
    })?;
    Some(format!("{} is {} there and not behind a closed gate", running.service, running.state))
}
