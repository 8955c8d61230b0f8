//! Coordinators that play a part: real TLS and gRPC, answers from a script.

use certs::{Authority, Identity, Rank, Role, Trust};
// The service has most of the package's messages in its signatures.
use proto::v1::operator_server::Operator;
#[allow(clippy::wildcard_imports)]
use proto::v1::*;
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// How one stream of `WatchPlan` goes on after its snapshots.
#[derive(Clone)]
pub(crate) enum Then {
    /// The server ends it.
    Ends,
    /// It breaks, and this coordinator (by its number) leads from now on.
    Leads(usize),
    /// It stays open and silent.
    Hangs,
}

/// What the coordinators are told to say, and what they were asked.
#[derive(Default)]
pub(crate) struct Script {
    /// Who leads.
    pub(crate) leader: Option<usize>,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) groups: Vec<Group>,
    /// Snapshots of each `WatchPlan` in turn.
    pub(crate) streams: VecDeque<(Vec<Plan>, Then)>,
    /// Answers to `StartPlan` in turn; the last one stays.
    pub(crate) starts: VecDeque<Result<StartPlanReply, Status>>,
    /// One answer for each other call by its name; without one, the default reply.
    pub(crate) refusals: BTreeMap<&'static str, Status>,
    pub(crate) apply: ApplyReply,
    pub(crate) doctor: DoctorReply,
    /// `CALL@COORDINATOR`.
    pub(crate) calls: Vec<String>,
    pub(crate) started: Vec<StartPlanRequest>,
    pub(crate) applied: Vec<ApplyRequest>,
    pub(crate) ordered: Vec<OrderHostRequest>,
    pub(crate) stops: Vec<EmergencyStopRequest>,
    pub(crate) stop: EmergencyStopReply,
    pub(crate) tasks: Vec<RunTaskRequest>,
    /// What each task says.
    pub(crate) events: Vec<task_event::Body>,
    /// The hosts that a status shows.
    pub(crate) hosts: Vec<Host>,
}

/// The script, shared by all coordinators and the test.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Script>>);

impl Shared {
    pub(crate) fn edit<T>(&self, edit: impl FnOnce(&mut Script) -> T) -> T {
        edit(&mut self.0.lock().unwrap())
    }
}

/// One coordinator.
struct Player {
    number: usize,
    script: Shared,
}

type Reply<T> = Result<Response<T>, Status>;

impl Player {
    /// Notes the call; an error when this one does not lead or is told to refuse.
    fn enter(&self, call: &'static str) -> Result<(), Status> {
        self.script.edit(|script| {
            script.calls.push(format!("{call}@{}", self.number));
            if script.leader != Some(self.number) {
                let mut status = Status::failed_precondition("not the leader");
                let leader = script.leader.map(|number| script.addresses[number].to_string());
                let value = leader.unwrap_or_default().parse().unwrap();
                status.metadata_mut().insert("understudy-leader", value);
                return Err(status);
            }
            match script.refusals.get(call) {
                Some(status) => Err(status.clone()),
                None => Ok(()),
            }
        })
    }

    fn plain<T: Default>(&self, call: &'static str) -> Reply<T> {
        self.enter(call).map(|()| Response::new(T::default()))
    }
}

#[tonic::async_trait]
impl Operator for Player {
    type WatchPlanStream = ReceiverStream<Result<Plan, Status>>;
    type RunTaskStream = ReceiverStream<Result<TaskEvent, Status>>;

    async fn run_task(&self, request: Request<RunTaskRequest>) -> Reply<Self::RunTaskStream> {
        self.enter("run_task")?;
        let (sender, receiver) = mpsc::channel(16);
        let events = self.script.edit(|script| {
            script.tasks.push(request.into_inner());
            script.events.clone()
        });
        for body in events {
            sender.try_send(Ok(TaskEvent { body: Some(body) })).unwrap();
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Reply<StatusReply> {
        self.enter("status")?;
        let only = request.into_inner().group;
        let reply = self.script.edit(|script| StatusReply {
            installation: "lab".into(),
            term: 2,
            leader: format!("c{}", self.number),
            groups: script
                .groups
                .iter()
                .filter(|group| only.is_empty() || group.name == only)
                .cloned()
                .collect(),
            members: (0..).zip(&script.addresses).map(member).collect(),
            hosts: script.hosts.clone(),
            ..Default::default()
        });
        Ok(Response::new(reply))
    }

    async fn watch_plan(&self, _: Request<WatchPlanRequest>) -> Reply<Self::WatchPlanStream> {
        self.enter("watch_plan")?;
        let next = self.script.edit(|script| script.streams.pop_front());
        let (plans, then) = next.unwrap_or((vec![], Then::Hangs));
        let (sender, receiver) = mpsc::channel(16);
        let script = self.script.clone();
        tokio::spawn(async move {
            for plan in plans {
                if sender.send(Ok(plan)).await.is_err() {
                    return;
                }
            }
            match then {
                Then::Ends => {}
                Then::Leads(number) => {
                    script.edit(|script| script.leader = Some(number));
                    let _ = sender.send(Err(Status::unavailable("this leader is gone"))).await;
                }
                Then::Hangs => sender.closed().await,
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn start_plan(&self, request: Request<StartPlanRequest>) -> Reply<StartPlanReply> {
        self.enter("start_plan")?;
        self.script.edit(|script| {
            script.started.push(request.into_inner());
            let last = script.starts.len() == 1;
            let next =
                if last { script.starts.front().cloned() } else { script.starts.pop_front() };
            next.unwrap_or_else(|| Err(Status::internal("no script"))).map(Response::new)
        })
    }

    async fn apply(&self, request: Request<ApplyRequest>) -> Reply<ApplyReply> {
        self.enter("apply")?;
        self.script.edit(|script| {
            script.applied.push(request.into_inner());
            Ok(Response::new(script.apply.clone()))
        })
    }

    async fn diff(&self, _: Request<ApplyRequest>) -> Reply<ApplyReply> {
        self.enter("diff")?;
        Ok(Response::new(self.script.edit(|script| script.apply.clone())))
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Reply<DoctorReply> {
        self.enter("doctor")?;
        Ok(Response::new(self.script.edit(|script| script.doctor.clone())))
    }

    async fn create_token(&self, _: Request<CreateTokenRequest>) -> Reply<CreateTokenReply> {
        self.enter("create_token")?;
        Ok(Response::new(CreateTokenReply { token: "ust1.abc".into(), expires_unix_ms: 0 }))
    }

    async fn report(&self, _: Request<ReportRequest>) -> Reply<ReportReply> {
        self.enter("report")?;
        let (markdown, json) = ("# Incident 3\n".into(), "{\"incident\":3}".into());
        Ok(Response::new(ReportReply { markdown, json }))
    }

    async fn export(&self, _: Request<ExportRequest>) -> Reply<ExportReply> {
        self.enter("export")?;
        let document = Document { name: "fx.toml".into(), text: "[group]\n".into() };
        Ok(Response::new(ExportReply { documents: vec![document] }))
    }

    async fn members(&self, _: Request<MembersRequest>) -> Reply<MembersReply> {
        self.enter("members")?;
        let members = self.script.edit(|script| (0..).zip(&script.addresses).map(member).collect());
        Ok(Response::new(MembersReply { members }))
    }

    async fn explain(&self, _: Request<ExplainRequest>) -> Reply<ExplainReply> {
        self.plain("explain")
    }
    async fn approve(&self, _: Request<ApproveRequest>) -> Reply<StartPlanReply> {
        self.enter("approve")?;
        self.script.edit(|script| {
            let next = script.starts.pop_front();
            next.unwrap_or_else(|| Err(Status::internal("no script"))).map(Response::new)
        })
    }
    async fn timing(&self, _: Request<TimingRequest>) -> Reply<TimingReply> {
        self.plain("timing")
    }
    async fn list_incidents(&self, _: Request<ListIncidentsRequest>) -> Reply<ListIncidentsReply> {
        self.plain("list_incidents")
    }
    async fn show_incident(&self, _: Request<ShowIncidentRequest>) -> Reply<Incident> {
        self.plain("show_incident")
    }
    async fn list_plans(&self, _: Request<ListPlansRequest>) -> Reply<ListPlansReply> {
        self.plain("list_plans")
    }
    async fn show_plan(&self, _: Request<ShowPlanRequest>) -> Reply<Plan> {
        self.plain("show_plan")
    }
    async fn outbox(&self, _: Request<OutboxRequest>) -> Reply<OutboxReply> {
        self.plain("outbox")
    }
    async fn list_certificates(
        &self,
        _: Request<ListCertificatesRequest>,
    ) -> Reply<ListCertificatesReply> {
        self.plain("list_certificates")
    }
    async fn hold(&self, _: Request<HoldRequest>) -> Reply<HoldReply> {
        self.plain("hold")
    }
    async fn resume(&self, _: Request<ResumeRequest>) -> Reply<ResumeReply> {
        self.plain("resume")
    }
    async fn order_host(&self, request: Request<OrderHostRequest>) -> Reply<OrderHostReply> {
        self.enter("order_host")?;
        let request = request.into_inner();
        let order = self.script.edit(|script| {
            script.ordered.push(request);
            script.ordered.len() as u64
        });
        Ok(Response::new(OrderHostReply { order }))
    }
    async fn emergency_stop(
        &self,
        request: Request<EmergencyStopRequest>,
    ) -> Reply<EmergencyStopReply> {
        self.enter("emergency_stop")?;
        let request = request.into_inner();
        Ok(Response::new(self.script.edit(|script| {
            script.stops.push(request);
            script.stop.clone()
        })))
    }
    async fn revoke_certificate(
        &self,
        _: Request<RevokeCertificateRequest>,
    ) -> Reply<RevokeCertificateReply> {
        self.plain("revoke_certificate")
    }
    async fn remove_member(&self, _: Request<RemoveMemberRequest>) -> Reply<RemoveMemberReply> {
        self.plain("remove_member")
    }
    async fn transfer_leadership(
        &self,
        _: Request<TransferLeadershipRequest>,
    ) -> Reply<TransferLeadershipReply> {
        self.plain("transfer_leadership")
    }
}

fn member((number, address): (usize, &SocketAddr)) -> Member {
    Member {
        name: format!("c{number}"),
        address: address.to_string(),
        voter: true,
        ..Default::default()
    }
}

/// Coordinators, an operator's context, and the script.
pub(crate) struct Stage {
    root: tempfile::TempDir,
    pub(crate) script: Shared,
}

impl Stage {
    /// So many coordinators; the first leads, and the context knows them all.
    pub(crate) async fn with(coordinators: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = tempfile::tempdir().unwrap();
        let authority = Authority::create("lab", certs::now()).unwrap();
        let stage = Self { root, script: Shared::default() };
        for number in 0..coordinators {
            let dir = stage.path(&format!("c{number}"));
            equip(&authority, &dir, Role::Coordinator, &format!("c{number}"));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            stage.script.edit(|script| script.addresses.push(address));
            let player = Player { number, script: stage.script.clone() };
            let trust = Trust::load(dir).unwrap();
            let incoming =
                certs::listen(listener, &trust, certs::Limits::default(), std::future::pending());
            let service = operator_server::OperatorServer::new(player);
            tokio::spawn(
                tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming),
            );
        }
        equip(&authority, &stage.path("context"), Role::Operator(Rank::Admin), "ann");
        stage.know(&(0..coordinators).collect::<Vec<_>>());
        stage.script.edit(|script| {
            script.leader = Some(0);
            script.groups = vec![Group { name: "fx".into(), ..Default::default() }];
        });
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Which coordinators the context lists.
    pub(crate) fn know(&self, numbers: &[usize]) {
        let addresses = self.script.edit(|script| script.addresses.clone());
        let list: Vec<String> =
            numbers.iter().map(|number| format!("\"{}\"", addresses[*number])).collect();
        let text = format!("coordinators = [{}]\n", list.join(", "));
        std::fs::write(self.path("context/context.toml"), text).unwrap();
    }

    /// A context of another installation that dials the same coordinators.
    pub(crate) fn foreign_context(&self) -> PathBuf {
        let dir = self.path("foreign");
        let authority = Authority::create("lab", certs::now()).unwrap();
        equip(&authority, &dir, Role::Operator(Rank::Admin), "eve");
        std::fs::copy(self.path("context/context.toml"), dir.join("context.toml")).unwrap();
        dir
    }

    /// A command for this stage's context, not started.
    pub(crate) fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("coordctl"));
        command
            .args(args)
            .env("UNDERSTUDY_CONTEXT", self.path("context"))
            .env_remove("UNDERSTUDY_LOG");
        command
    }

    /// Runs it, off the runtime's threads.
    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        Self::finish(self.command(args)).await
    }

    pub(crate) async fn finish(command: std::process::Command) -> Ended {
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true).stdin(std::process::Stdio::null());
        let limit = Duration::from_secs(60);
        let output = tokio::time::timeout(limit, command.output()).await.expect("it hangs");
        Ended::of(output.unwrap())
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.script.edit(|script| script.calls.clone())
    }
}

fn equip(authority: &Authority, dir: &Path, role: Role, name: &str) {
    let identity = Identity::new("lab", role, name).unwrap();
    authority.equip(dir, &identity, Duration::from_secs(3600), certs::now()).unwrap();
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) data: String,
    pub(crate) talk: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            data: String::from_utf8(output.stdout).unwrap(),
            talk: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// This run, which must have ended with this code.
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// A refusal by a safety rule, as the coordinators send it.
pub(crate) fn refused_by(rule: &str, words: &str) -> Status {
    let mut status = Status::failed_precondition(words);
    status.metadata_mut().insert("understudy-refused-by", rule.parse().unwrap());
    status
}
