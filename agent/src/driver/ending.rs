//! The agent's end: an agent that is not there cannot keep a lease, so what
//! needs one is stopped first (A1, A3).

use super::{Driver, Ended, now};
use crate::{command::stop_all, keeper::Why};
use daemon::notify_systemd;
use futures::future::join_all;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// How long stopping may take at the end: two full stops at the default
/// `stop_timeout`. systemd's own limit (90 s) is far above it.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two passes over what is not confirmed.
const AGAIN: Duration = Duration::from_millis(200);

impl Driver {
    /// Stops every exclusive service, whatever the reason for the end.
    pub(super) async fn end(mut self, ended: &Ended) {
        notify_systemd::status("stopping the exclusive services");
        tracing::info!(
            reason = %ended,
            "ending: the exclusive services are stopped first, for without an agent no lease \
             is kept; services of the process driver end with the agent"
        );
        for group in self.groups.values_mut() {
            group.shut(now(), Why::Over);
            group.cancel.trigger();
        }
        let until = Instant::now() + LIMIT;
        let passes = self.groups.keys().map(|group| self.stop_group(group, until));
        if join_all(passes).await.into_iter().all(|stopped| stopped) {
            // What could not be stopped the watchdog will: it is not fed any more.
            self.watchdog.disarm();
        }
        self.tasks.abort_all();
    }

    /// Whether all of it is confirmed stopped.
    async fn stop_group(&self, group: &model::GroupId, until: Instant) -> bool {
        let mut last = String::from("no answer");
        loop {
            match timeout_at(until, stop_all(Arc::clone(&self.services), group.clone())).await {
                Ok(Ok(stopped)) => {
                    tracing::info!(%group, ?stopped, "confirmed stopped");
                    return true;
                }
                Ok(Err(error)) => last = error,
                Err(_) => {}
            }
            if Instant::now() + AGAIN >= until {
                tracing::error!(
                    %group, error = last,
                    "NOT confirmed stopped: make sure by hand before this group is activated elsewhere"
                );
                return false;
            }
            sleep(AGAIN).await;
        }
    }
}
