//! Calls that only show: plans, incidents, explanations, bounds, checks, the outbox.

use super::{OperatorService, views};
use crate::explain;
use certs::Peer;
use failover::{Engine, GroupSpec, IncidentState, Now, Refused, Report, State};
use jiff::Timestamp;
use model::{GroupId, IncidentId, PlanId, Wall};
use proto::v1::{self, explain_request::What};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Plans that may wait for a slow watcher; it needs only the newest.
const WATCH_QUEUE: usize = 16;

type Shown<T> = Result<T, Status>;

fn time(at: Wall) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| at.0.to_string(), |stamp| format!("{stamp:.3}"))
}

fn no_incident(id: u64) -> Status {
    Status::not_found(format!("no incident {id}; see: coordctl incident list"))
}

fn no_plan(id: u64) -> Status {
    Status::not_found(format!("no plan {id}; see: coordctl plan list"))
}

impl OperatorService {
    pub(super) async fn show_timing(
        &self,
        _: &Arc<Peer>,
        asked: v1::TimingRequest,
    ) -> Shown<v1::TimingReply> {
        let group = self.group(&asked.group).await?;
        let name = group.clone();
        let sight = self.ask(move |engine, now| engine.look(&group, now)).await?;
        let timing = sight.map_err(|why| self.refuse(&why))?.timing;
        let bounds = timing.bounds().iter().map(views::bound).collect();
        Ok(v1::TimingReply { group: name.into(), bounds })
    }

    pub(super) async fn show_doctor(
        &self,
        _: &Arc<Peer>,
        asked: v1::DoctorRequest,
    ) -> Shown<v1::DoctorReply> {
        let group = self.group(&asked.group).await?;
        let found = self
            .ask(move |engine, now| {
                Ok((engine.readiness(&group, now)?, engine.examine(&group, now)?))
            })
            .await?;
        let (readiness, found) = found.map_err(|why: Refused| self.refuse(&why))?;
        let mut checks = self.checks();
        checks.extend(found);
        // The same answer as in `status`.
        let ready = readiness.ready;
        Ok(v1::DoctorReply { ready, checks: checks.into_iter().map(views::check).collect() })
    }

    pub(super) async fn show_explanation(
        &self,
        _: &Arc<Peer>,
        asked: v1::ExplainRequest,
    ) -> Shown<v1::ExplainReply> {
        match asked.what {
            Some(What::Incident(id)) => self
                .ask(move |engine, _| {
                    engine.state().incidents.get(&IncidentId(id)).map(explain::incident)
                })
                .await?
                .ok_or_else(|| no_incident(id)),
            Some(What::NowGroup(name)) => {
                let group = self.group(&name).await?;
                let sight = self.ask(move |engine, now| engine.look(&group, now)).await?;
                Ok(explain::now(&sight.map_err(|why| self.refuse(&why))?))
            }
            Some(What::Last(last)) => {
                let count = usize::try_from(last.count).unwrap_or(explain::LAST_MAX);
                let of = move |state: &State, group: &GroupId| explain::last(state, group, count);
                self.on_record(&last.group, of).await
            }
            Some(What::At(at)) => {
                let moment = Wall(at.at_unix_ms);
                let of = move |state: &State, group: &GroupId| explain::at(state, group, moment);
                self.on_record(&at.group, of).await
            }
            None => Err(Status::invalid_argument("name an incident, or a group")),
        }
    }

    async fn on_record(
        &self,
        name: &str,
        of: impl FnOnce(&State, &GroupId) -> Option<v1::ExplainReply> + Send + 'static,
    ) -> Shown<v1::ExplainReply> {
        let group = self.group(name).await?;
        let (wanted, words) = (group.clone(), format!("nothing is on record for {group} then"));
        let found = self.ask(move |engine, _| of(engine.state(), &wanted)).await?;
        found.ok_or_else(|| Status::not_found(words))
    }

    pub(super) async fn list_all_incidents(
        &self,
        _: &Arc<Peer>,
        asked: v1::ListIncidentsRequest,
    ) -> Shown<v1::ListIncidentsReply> {
        let list = move |engine: &Engine, _: Now| {
            let wanted = |i: &&failover::Incident| {
                (asked.group.is_empty() || i.group.as_str() == asked.group)
                    && (!asked.open_only || i.state != IncidentState::Closed)
            };
            engine.state().incidents.values().rev().filter(wanted).map(views::incident).collect()
        };
        Ok(v1::ListIncidentsReply { incidents: self.ask(list).await? })
    }

    pub(super) async fn show_one_incident(
        &self,
        _: &Arc<Peer>,
        asked: v1::ShowIncidentRequest,
    ) -> Shown<v1::Incident> {
        let id = asked.incident;
        self.ask(move |engine, _| {
            engine.state().incidents.get(&IncidentId(id)).map(views::incident)
        })
        .await?
        .ok_or_else(|| no_incident(id))
    }

    pub(super) async fn show_report(
        &self,
        _: &Arc<Peer>,
        asked: v1::ReportRequest,
    ) -> Shown<v1::ReportReply> {
        let id = asked.incident;
        let made = self
            .ask(move |engine, _| {
                let state = engine.state();
                let incident = state.incidents.get(&IncidentId(id))?;
                let plans: Vec<Report> = incident
                    .plans
                    .iter()
                    .filter_map(|plan| state.plans.get(plan))
                    .map(Report::of_plan)
                    .collect();
                let json = serde_json::json!({
                    "incident": incident.id,
                    "group": incident.group,
                    "cause": incident.cause.word(),
                    "title": incident.title(),
                    "severity": incident.cause.severity(),
                    "state": incident.state.word(),
                    "opened_unix_ms": incident.opened_at,
                    "closed_unix_ms": incident.closed_at,
                    "plans": plans,
                    "timeline": incident.timeline,
                });
                Some((Report::markdown(incident, state, &time), json.to_string()))
            })
            .await?;
        let (markdown, json) = made.ok_or_else(|| no_incident(id))?;
        Ok(v1::ReportReply { markdown, json })
    }

    pub(super) async fn list_all_plans(
        &self,
        _: &Arc<Peer>,
        asked: v1::ListPlansRequest,
    ) -> Shown<v1::ListPlansReply> {
        let list = move |engine: &Engine, _: Now| {
            let wanted =
                |p: &&failover::Plan| asked.group.is_empty() || p.group.as_str() == asked.group;
            engine.state().plans.values().rev().filter(wanted).map(views::plan).collect()
        };
        Ok(v1::ListPlansReply { plans: self.ask(list).await? })
    }

    pub(super) async fn show_one_plan(
        &self,
        _: &Arc<Peer>,
        asked: v1::ShowPlanRequest,
    ) -> Shown<v1::Plan> {
        self.show_plan_now(asked.plan).await
    }

    /// Sends the plan at once and whenever it changes, until it is closed or
    /// this coordinator does not lead any more.
    pub(super) async fn follow_plan(
        &self,
        asked: v1::WatchPlanRequest,
    ) -> Shown<ReceiverStream<Result<v1::Plan, Status>>> {
        let id = asked.plan;
        let first = self.show_plan_now(id).await?;
        let (out, stream) = mpsc::channel(WATCH_QUEUE);
        let service = self.clone();
        tokio::spawn(async move {
            let mut changes = service.handle.changes();
            let mut last = first;
            loop {
                let over = last.state != "running";
                if out.send(Ok(last.clone())).await.is_err() || over {
                    return;
                }
                // Woken by every commit; a plan that did not change is not sent again.
                loop {
                    let changed = tokio::select! {
                        changed = changes.changed() => changed.is_ok(),
                        () = out.closed() => false,
                    };
                    if !changed {
                        return;
                    }
                    match service.show_plan_now(id).await {
                        Ok(plan) if plan == last => {}
                        Ok(plan) => {
                            last = plan;
                            break;
                        }
                        Err(status) => {
                            let _ = out.send(Err(status)).await;
                            return;
                        }
                    }
                }
            }
        });
        Ok(ReceiverStream::new(stream))
    }

    async fn show_plan_now(&self, id: u64) -> Shown<v1::Plan> {
        self.ask(move |engine, _| engine.state().plans.get(&PlanId(id)).map(views::plan))
            .await?
            .ok_or_else(|| no_plan(id))
    }

    pub(super) async fn show_outbox(
        &self,
        _: &Arc<Peer>,
        _: v1::OutboxRequest,
    ) -> Shown<v1::OutboxReply> {
        let list = |engine: &Engine, _: Now| {
            engine.state().outbox.values().rev().map(views::notification).collect()
        };
        Ok(v1::OutboxReply { notifications: self.ask(list).await? })
    }

    pub(super) async fn export_groups(
        &self,
        _: &Arc<Peer>,
        _: v1::ExportRequest,
    ) -> Shown<v1::ExportReply> {
        let specs: Vec<(GroupId, GroupSpec)> = self
            .ask(|engine, _| {
                let groups = engine.state().groups.iter();
                groups.map(|(name, group)| (name.clone(), group.spec.clone())).collect()
            })
            .await?;
        let documents = specs
            .iter()
            .map(|(name, spec)| {
                let text = super::group_file::write(spec)
                    .map_err(|error| Status::internal(error.to_string()))?;
                Ok(v1::Document { name: format!("{name}.toml"), text })
            })
            .collect::<Result<_, Status>>()?;
        Ok(v1::ExportReply { documents })
    }
}
