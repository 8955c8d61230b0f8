//! Starting again, in their order, the services that committed commands had
//! started before a lapse or a restart of the agent stopped them.

use super::{
    Room,
    start_service::{Fault, bring_up},
};
use model::{Millis, ServiceState};

/// How long one try may take in all: the default time for a service to become
/// healthy (`start_timeout` in the group's file).
pub(crate) const RESTORE_LIMIT: Millis = Millis::from_secs(60);

/// Brings each of them up again; one that runs already is left alone.
///
/// # Errors
/// The first that did not come up, in words.
pub(crate) async fn restore(room: Room) -> Result<(), String> {
    for name in &room.started {
        let runs = room.services.get(name).is_some_and(|service| match service.status().state {
            // A process that runs took the new lease's deadlines when it was
            // not stopped; starting it again makes sure of that.
            ServiceState::Running => !service.config().exclusive,
            ServiceState::Stopped
            | ServiceState::Starting
            | ServiceState::Unhealthy
            | ServiceState::Failed
            | ServiceState::Unknown => false,
        });
        if runs {
            continue;
        }
        match bring_up(&room, name).await {
            Ok(_) => tracing::info!(service = %name, group = %room.group, "started again"),
            Err(Fault::NoLease) => return Err("the lease ended".into()),
            Err(Fault::Words(words)) => return Err(words),
        }
    }
    Ok(())
}
