//! The operators' service: checks the rank, asks the engine, shows the answer.

mod backups;
mod change;
mod group_file;
mod identity;
mod orders;
mod show;
mod status;
mod tasks;
mod views;

use crate::{
    consensus::Consensus,
    driver::Handle,
    inbound::{not_leader, refused},
    outbound::{agents::Agents, dns::DnsHook},
};
use certs::{Allow, Rank, Trust, require};
use failover::{Applied, Engine, Now, Refused, Request as Change};
use model::GroupId;
use proto::v1::{self, operator_server::Operator};
use std::{path::PathBuf, sync::Arc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct OperatorService {
    handle: Handle,
    consensus: Consensus,
    trust: Trust,
    pki: PathBuf,
    enrol: Option<String>,
    dns: Option<DnsHook>,
    agents: Agents,
}

type Reply<T> = Result<Response<T>, Status>;

impl OperatorService {
    /// The service of a coordinator with these credentials; `enrol` is where
    /// joining hosts reach it, `dns` the hook that a dry run tries, `agents` are
    /// those with a session here.
    #[must_use]
    pub fn new(
        handle: Handle,
        consensus: Consensus,
        trust: Trust,
        pki: PathBuf,
        enrol: Option<String>,
        dns: Option<DnsHook>,
        agents: Agents,
    ) -> Self {
        Self { handle, consensus, trust, pki, enrol, dns, agents }
    }

    fn leader(&self) -> Option<String> {
        let leadership = self.consensus.leadership();
        let seen = leadership.borrow();
        // A witness gives a leadership away at once, and answers no such calls.
        let leader = seen.leader.as_ref().filter(|leader| !leader.member.witness);
        leader.map(|leader| leader.member.address.clone())
    }

    /// Asks the engine, on the leader only: the others' view may be behind.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine, Now) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let asked = self
            .handle
            .query(move |engine, now| engine.leads().is_some().then(|| question(engine, now)));
        asked.await?.ok_or_else(|| not_leader(self.leader().as_deref()))
    }

    fn refuse(&self, why: &Refused) -> Status {
        refused(why, self.leader().as_deref())
    }

    /// Changes something, and waits for the commit.
    async fn change(&self, change: Change) -> Result<Applied, Status> {
        match self.handle.ask(change).await {
            Ok(Applied::Ignored(why)) => Err(super::by_rule(why)),
            Ok(applied) => Ok(applied),
            Err(why) => Err(self.refuse(&why)),
        }
    }

    /// The group of this name; the only one for the empty name.
    async fn group(&self, name: &str) -> Result<GroupId, Status> {
        let names: Vec<GroupId> =
            self.ask(|engine, _| engine.state().groups.keys().cloned().collect()).await?;
        if !name.is_empty() {
            return GroupId::new(name).map_err(|e| Status::invalid_argument(e.to_string()));
        }
        let mut all = names.iter();
        match (all.next(), all.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => Err(Status::not_found(
                "no group is applied yet; write one and run: coordctl apply -f DIR",
            )),
            (Some(_), Some(_)) => {
                let list: Vec<&str> = names.iter().map(GroupId::as_str).collect();
                Err(Status::invalid_argument(format!("name a group: {}", list.join(", "))))
            }
        }
    }
}

/// The call's name, the least rank that may make it, and the method that does the work.
macro_rules! calls {
    ($($rank:ident $name:ident: $request:ident -> $reply:ident = $work:ident;)*) => {
        #[tonic::async_trait]
        impl Operator for OperatorService {
            $(
                async fn $name(&self, request: Request<v1::$request>) -> Reply<v1::$reply> {
                    let call = concat!("Operator.", stringify!($name));
                    let peer = require(&request, call, &[Allow::Operators(Rank::$rank)])?;
                    self.$work(&peer, request.into_inner()).await.map(Response::new)
                }
            )*

            type WatchPlanStream = ReceiverStream<Result<v1::Plan, Status>>;

            async fn watch_plan(
                &self,
                request: Request<v1::WatchPlanRequest>,
            ) -> Reply<Self::WatchPlanStream> {
                require(&request, "Operator.watch_plan", &[Allow::Operators(Rank::Viewer)])?;
                self.follow_plan(request.into_inner()).await.map(Response::new)
            }

            type RunTaskStream = ReceiverStream<Result<v1::TaskEvent, Status>>;

            async fn run_task(
                &self,
                request: Request<v1::RunTaskRequest>,
            ) -> Reply<Self::RunTaskStream> {
                let call = "Operator.run_task";
                let peer = require(&request, call, &[Allow::Operators(Rank::Operator)])?;
                self.run_a_task(&peer, request.into_inner()).await.map(Response::new)
            }
        }
    };
}

calls! {
    Viewer status: StatusRequest -> StatusReply = show_status;
    Viewer timing: TimingRequest -> TimingReply = show_timing;
    Viewer doctor: DoctorRequest -> DoctorReply = show_doctor;
    Viewer explain: ExplainRequest -> ExplainReply = show_explanation;
    Viewer list_incidents: ListIncidentsRequest -> ListIncidentsReply = list_all_incidents;
    Viewer show_incident: ShowIncidentRequest -> Incident = show_one_incident;
    Viewer report: ReportRequest -> ReportReply = show_report;
    Viewer list_plans: ListPlansRequest -> ListPlansReply = list_all_plans;
    Viewer show_plan: ShowPlanRequest -> Plan = show_one_plan;
    Viewer outbox: OutboxRequest -> OutboxReply = show_outbox;
    Viewer members: MembersRequest -> MembersReply = show_members;
    Viewer export: ExportRequest -> ExportReply = export_groups;
    Viewer diff: ApplyRequest -> ApplyReply = diff_groups;
    Viewer list_certificates: ListCertificatesRequest -> ListCertificatesReply = list_all_certificates;
    Operator start_plan: StartPlanRequest -> StartPlanReply = start_a_plan;
    Operator approve: ApproveRequest -> StartPlanReply = approve_a_plan;
    Operator hold: HoldRequest -> HoldReply = hold_automation;
    Operator resume: ResumeRequest -> ResumeReply = resume_automation;
    Operator order_host: OrderHostRequest -> OrderHostReply = order_a_host;
    Operator emergency_stop: EmergencyStopRequest -> EmergencyStopReply = stop_in_emergency;
    Admin apply: ApplyRequest -> ApplyReply = apply_groups;
    Admin create_token: CreateTokenRequest -> CreateTokenReply = create_a_token;
    Admin revoke_certificate: RevokeCertificateRequest -> RevokeCertificateReply = revoke_one;
    Admin remove_member: RemoveMemberRequest -> RemoveMemberReply = remove_a_member;
    Admin transfer_leadership: TransferLeadershipRequest -> TransferLeadershipReply = transfer;
}

/// Who asks, for the records.
fn by(peer: &Arc<certs::Peer>) -> String {
    peer.identity.name().to_owned()
}
