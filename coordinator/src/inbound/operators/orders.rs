//! Orders for hosts: isolate one, confirm that, release it; emergency stops.

use super::{OperatorService, by};
use certs::Peer;
use failover::{Aim, Applied, Record, Request as Change, State};
use model::{GroupId, HostDeed, HostId, IsolationProfile, Millis, NameError, SiteId, StopDeed};
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

impl OperatorService {
    /// Recorded before any agent hears of it (C1). What comes of it is in the hosts'
    /// heartbeats; that no lease is granted there needs nobody's word.
    pub(super) async fn stop_in_emergency(
        &self,
        peer: &Arc<Peer>,
        asked: v1::EmergencyStopRequest,
    ) -> Result<v1::EmergencyStopReply, Status> {
        let wrong = |error: NameError| Status::invalid_argument(error.to_string());
        let group = named(asked.group, GroupId::new).map_err(wrong)?;
        let site = named(asked.site, SiteId::new).map_err(wrong)?;
        let host = named(asked.host, HostId::new).map_err(wrong)?;
        let reason = asked.reason.trim().to_owned();
        if reason.is_empty() && !asked.release {
            return Err(Status::invalid_argument("a stop needs a reason: --reason \"...\""));
        }
        let deed = if asked.release { StopDeed::Release } else { StopDeed::Stop };
        let aim = (group.clone(), site.clone(), host.clone());
        let groups = self.ask(move |engine, _| aimed(engine.state(), &aim, deed)).await?;
        let record =
            Record::StopOrdered { group, site, host, deed, by: by(peer), reason, at: certs::now() };
        match self.change(Change::Write(Box::new(record))).await? {
            Applied::HostOrdered(id) => Ok(v1::EmergencyStopReply { order: id.number, groups }),
            Applied::Done
            | Applied::PlanOpened(_)
            | Applied::ApprovalAsked(_)
            | Applied::Ignored(_) => Err(Status::internal("an emergency stop was no order")),
        }
    }
}

/// `None` for an empty name.
fn named<T>(
    name: String,
    parse: impl Fn(String) -> Result<T, NameError>,
) -> Result<Option<T>, NameError> {
    if name.is_empty() { Ok(None) } else { parse(name).map(Some) }
}

/// Group by group: whom it concerns, and what becomes of the plan.
fn aimed(
    state: &State,
    (group, site, host): &(Option<GroupId>, Option<SiteId>, Option<HostId>),
    deed: StopDeed,
) -> Vec<v1::StoppedGroup> {
    let aim = Aim { group: group.as_ref(), site: site.as_ref(), host: host.as_ref() };
    let one = |(group, hosts): (GroupId, Vec<HostId>)| v1::StoppedGroup {
        plan: match deed {
            StopDeed::Stop => state.plan_under_stop(&group, &hosts).unwrap_or_default(),
            StopDeed::Release => String::new(),
        },
        group: group.to_string(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
    };
    state.aimed(aim).into_iter().map(one).collect()
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
