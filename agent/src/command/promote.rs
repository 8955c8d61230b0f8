//! Promotion: the epoch is this host's already, durably, and the lease is being
//! asked for; here is only waited until it is live.

use super::{Room, failed};
use daemon::clock::boottime_ms;
use model::{Mono, Outcome, SiteId};
use std::time::Duration;

/// How long arming the watchdog may hold up the promotion: opening a device takes
/// a millisecond, and one that cannot be opened is told in the heartbeat and is
/// no reason not to serve.
const ARM_LIMIT: Duration = Duration::from_millis(500);

/// Waits for the live lease.
pub(super) async fn promote(room: &Room, site: &SiteId) -> Outcome {
    let mut lease = room.lease.clone();
    let live = |deadline: &Option<Mono>| deadline.is_some_and(|end| end > Mono(boottime_ms()));
    // Armed before a site is active, where there is one.
    let _ = tokio::time::timeout(ARM_LIMIT, room.watchdog.armed()).await;
    match room.wait(async { lease.wait_for(live).await.is_ok() }).await {
        Ok(true) => Outcome::Done {
            detail: format!("site `{site}` is active here under epoch {}", room.epoch),
        },
        Ok(false) => failed("the agent is ending"),
        Err(why) => {
            failed(format!("no lease for epoch {} was granted: {}", room.epoch, why.words()))
        }
    }
}
