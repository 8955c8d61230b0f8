//! Verification: the site serves. Every service that was started is healthy,
//! and every feed of the group in agent.toml has brought a message since the
//! promotion. That those which the group's file names are among them was
//! settled by the guard.

use super::{GaveUp, Room, failed};
use crate::probe::FeedProgress;
use model::{Outcome, ServiceState, VerifyEvidence};
use std::time::Duration;

/// Between two looks at counters in memory: what a first message may wait to be
/// noticed, and so what this adds to a recovery.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until it serves, and gives the evidence.
pub(super) async fn verify(room: &Room) -> Outcome {
    match room.wait(until_it_serves(room)).await {
        Ok(evidence) => Outcome::Verified(evidence),
        Err(GaveUp::Cancelled) => failed(GaveUp::Cancelled.words()),
        Err(GaveUp::Deadline) => {
            let missing = look(room).err().unwrap_or_else(|| "it serves only now".into());
            failed(format!("the deadline passed before the site served: {missing}"))
        }
    }
}

async fn until_it_serves(room: &Room) -> VerifyEvidence {
    let mut services = room.services.changed();
    loop {
        if let Ok(evidence) = look(room) {
            return evidence;
        }
        tokio::select! {
            Ok(()) = services.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// The evidence, or what is missing, in words.
fn look(room: &Room) -> Result<VerifyEvidence, String> {
    let mut missing: Vec<String> = room
        .started
        .iter()
        .filter_map(|name| {
            let Some(service) = room.services.get(name) else {
                return Some(format!("service `{name}` is not in agent.toml any more"));
            };
            let status = service.status();
            (status.state != ServiceState::Running)
                .then(|| format!("service `{name}` is {}: {}", status.state, status.detail))
        })
        .collect();
    let mut evidence = VerifyEvidence::default();
    for (probe, mark) in room.marks.iter() {
        let FeedProgress { messages, first_after } = mark.progress();
        evidence.messages = evidence.messages.saturating_add(messages);
        match first_after {
            Some(after) => {
                evidence.fresh_feeds = evidence.fresh_feeds.saturating_add(1);
                let first = evidence.first_message_after.map_or(after, |first| first.min(after));
                evidence.first_message_after = Some(first);
            }
            None => {
                missing.push(format!("feed `{probe}` has brought no message since the promotion"));
            }
        }
    }
    if missing.is_empty() { Ok(evidence) } else { Err(missing.join("; ")) }
}
