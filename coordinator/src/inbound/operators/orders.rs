//! Orders for one host: isolate it, confirm that, release it.

use super::{OperatorService, by};
use certs::Peer;
use failover::{Applied, Record, Request as Change};
use model::{HostDeed, HostId, IsolationProfile, Millis};
use proto::v1;
use std::sync::Arc;
use tonic::Status;

impl OperatorService {
    /// Recorded before the agent hears of it (C1); what came of it is in its heartbeat.
    pub(super) async fn order_a_host(
        &self,
        peer: &Arc<Peer>,
        asked: v1::OrderHostRequest,
    ) -> Result<v1::OrderHostReply, Status> {
        let host = HostId::new(&asked.host).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let deed = deed(&asked)?;
        let reason = asked.reason.trim().to_owned();
        let record = Record::HostOrdered { host, deed, by: by(peer), reason, at: certs::now() };
        match self.change(Change::Write(Box::new(record))).await? {
            Applied::HostOrdered(id) => Ok(v1::OrderHostReply { order: id.number }),
            Applied::Done
            | Applied::PlanOpened(_)
            | Applied::ApprovalAsked(_)
            | Applied::Ignored(_) => Err(Status::internal("an order for a host was no order")),
        }
    }
}

fn deed(asked: &v1::OrderHostRequest) -> Result<HostDeed, Status> {
    let wrong = |words: String| Err(Status::invalid_argument(words));
    match asked.deed.as_str() {
        "confirm" => Ok(HostDeed::Confirm),
        "release" => Ok(HostDeed::Release),
        "isolate" => {
            let all = [IsolationProfile::Breach, IsolationProfile::EgressBlock];
            let Some(profile) = all.into_iter().find(|one| one.word() == asked.profile) else {
                return wrong(format!("`{}` is no profile: breach or egress-block", asked.profile));
            };
            if asked.force && asked.reason.trim().is_empty() {
                return wrong("--force needs a reason: --reason \"...\"".into());
            }
            let span = (asked.for_ms > 0).then_some(Millis(asked.for_ms));
            Ok(HostDeed::Isolate { profile, span, force: asked.force })
        }
        other => wrong(format!("`{other}` is no order that this coordinator knows")),
    }
}
