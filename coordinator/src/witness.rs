//! What a witness does with committed records. It has no driver and decides
//! nothing; but it answers agents, so a revoked certificate must be refused
//! here too, and agents here must hear of it.

use crate::{consensus::Applied, outbound::agents::Agents};
use certs::Trust;
use failover::Record;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Keeps the list of revoked certificates; runs until consensus ends.
pub(crate) async fn follow(mut applied: mpsc::Receiver<Applied>, trust: Trust, agents: Agents) {
    let mut revoked: BTreeMap<String, String> = trust.revoked();
    while let Some(applied) = applied.recv().await {
        let before = revoked.len();
        match applied {
            Applied::Record {
                record: Record::CertificateRevoked { serial, reason, .. }, ..
            } => {
                revoked.entry(serial).or_insert(reason);
            }
            // Revoked is revoked: nothing is ever taken off the list here.
            Applied::Snapshot(state, _) => revoked.extend(state.revoked),
            Applied::Record { .. } => {}
        }
        if revoked.len() == before {
            continue;
        }
        let (keeper, list) = (trust.clone(), revoked.clone());
        match tokio::task::spawn_blocking(move || keeper.set_revoked(list)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = certs::explain(&error);
                tracing::error!(%error, "the list of revoked certificates was not stored");
            }
            Err(error) => tracing::error!(%error, "the list of revoked certificates was not kept"),
        }
        agents.trust(&revoked);
    }
}
