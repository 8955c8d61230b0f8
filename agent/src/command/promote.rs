//! Promotion: the epoch is this host's already, durably, and the lease is being
//! asked for; here is only waited until it is live.

use super::{Room, failed};
use daemon::clock::boottime_ms;
use model::{Mono, Outcome, SiteId};

/// Waits for the live lease.
pub(super) async fn promote(room: &Room, site: &SiteId) -> Outcome {
    let mut lease = room.lease.clone();
    let live = |deadline: &Option<Mono>| deadline.is_some_and(|end| end > Mono(boottime_ms()));
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
