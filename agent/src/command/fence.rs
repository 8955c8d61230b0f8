//! Stopping every exclusive service of a group (A3): what a fence, a lapse and
//! the agent's own end have in common.
//!
//! The lease was given up before, so the order is gate, stop, report.

use crate::service::{Service, Services};
use futures::future::join_all;
use model::{GroupId, ServiceName};
use std::sync::Arc;

/// Kills all of them at once and gives their names once every driver saw its
/// service stopped.
///
/// # Errors
/// Which of them may still run, in the drivers' words.
pub(crate) async fn stop_all(
    services: Arc<Services>,
    group: GroupId,
) -> Result<Vec<ServiceName>, String> {
    let exclusive: Vec<_> =
        services.of_group(&group).filter(|service| service.config().exclusive).cloned().collect();
    let stops = join_all(exclusive.iter().map(|service| stop(service))).await;
    let faults: Vec<String> =
        stops.iter().filter_map(|stop| stop.as_ref().err()).cloned().collect();
    if faults.is_empty() {
        Ok(stops.into_iter().flatten().collect())
    } else {
        Err(faults.join("; "))
    }
}

async fn stop(service: &Service) -> Result<ServiceName, String> {
    let name = &service.config().name;
    match service.stop().await {
        Ok(detail) => {
            tracing::debug!(service = %name, detail, "confirmed stopped");
            Ok(name.clone())
        }
        Err(error) => Err(error.to_string()),
    }
}
