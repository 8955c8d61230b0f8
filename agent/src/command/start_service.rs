//! Starting one service, and waiting until it is healthy: a health gate, never
//! a fixed wait.

use super::{GaveUp, Room, failed};
use crate::service::StartError;
use model::{Outcome, ServiceName, ServiceStatus};

/// Why a service did not come up.
#[derive(Debug)]
pub(super) enum Fault {
    /// The lease was not live any more.
    NoLease,
    /// Anything else, in words.
    Words(String),
}

/// Starts it and reports.
pub(super) async fn start_service(room: &Room, service: &ServiceName) -> Outcome {
    match bring_up(room, service).await {
        Ok(status) => Outcome::Done {
            detail: format!("service `{service}` is {}: {}", status.state.word(), status.detail),
        },
        Err(Fault::NoLease) => room.no_lease(),
        Err(Fault::Words(words)) => failed(words),
    }
}

/// Starts it and waits until it is healthy.
pub(super) async fn bring_up(room: &Room, name: &ServiceName) -> Result<ServiceStatus, Fault> {
    let gave_up = |why: GaveUp| Fault::Words(format!("service `{name}`: {}", why.words()));
    let Some(service) = room.services.get(name) else {
        return Err(Fault::Words(format!("agent.toml on this host has no service `{name}`")));
    };
    if room.cancel.is_requested() {
        return Err(gave_up(GaveUp::Cancelled));
    }
    // So that the gate covers it before it runs. Where it does not, the heartbeat
    // says so, and the lease that is live allows it to run.
    if service.config().exclusive && service.is_container() {
        room.gate.settle(&room.group).await;
    }
    // Waited for without a limit of ours: the driver has its own, and a start
    // that is dropped half way could come true after everything was stopped.
    match service.start(Some(room.lease.clone())).await {
        Ok(()) => {}
        Err(StartError::NoLease { .. }) => return Err(Fault::NoLease),
        Err(error) => return Err(Fault::Words(error.to_string())),
    }
    match room.wait(service.until_healthy(room.left())).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(error)) => Err(Fault::Words(error.to_string())),
        Err(GaveUp::Deadline) => {
            let status = service.status();
            Err(Fault::Words(format!(
                "service `{name}` is not healthy at the deadline: {}, {}",
                status.state.word(),
                status.detail
            )))
        }
        Err(why @ GaveUp::Cancelled) => Err(gave_up(why)),
    }
}
