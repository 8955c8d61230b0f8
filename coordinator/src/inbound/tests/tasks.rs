//! Tasks: an operator on one side, an agent that plays its part on the other.

use super::*;
use crate::outbound::tasks::{EVENTS_MAX, PIECE_MAX};
use proto::v1::{HostTask, TaskEvent, TaskReply, TaskUp, coordinator_message, task_event, task_up};
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::Streaming;

const SOON: Duration = Duration::from_secs(20);

/// A coordinator whose group names `p1`, and that host's session.
struct Scene {
    solo: Solo,
    operator: OperatorClient<Channel>,
    agent: AgentLinkClient<Channel>,
    down: Streaming<v1::CoordinatorMessage>,
    _up: mpsc::Sender<v1::AgentMessage>,
}

type Output = (mpsc::Sender<TaskUp>, JoinHandle<Result<TaskReply, Status>>);

impl Scene {
    async fn start(hello: v1::Hello) -> Self {
        let solo = Solo::start().await;
        let mut admin = solo.operator(Rank::Admin).await;
        let document = v1::Document { name: "fx.toml".into(), text: GROUP.into() };
        let request = v1::ApplyRequest { request_id: "1".into(), documents: vec![document] };
        assert!(admin.apply(request).await.unwrap().into_inner().faults.is_empty());
        let mut agent = AgentLinkClient::new(solo.dial(Role::Agent, "p1").await);
        let (up, stream) = mpsc::channel(8);
        up.send(v1::AgentMessage { body: Some(Body::Hello(hello)) }).await.unwrap();
        let mut down = agent.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
        // The welcome: from here on the host can be reached.
        down.message().await.unwrap().unwrap();
        let operator = solo.operator(Rank::Operator).await;
        Self { solo, operator, agent, down, _up: up }
    }

    fn wish(request: &str) -> v1::RunTaskRequest {
        let work = v1::task::Work::BackupList(v1::BackupList::default());
        v1::RunTaskRequest {
            request_id: request.into(),
            host: "p1".into(),
            reason: "a test".into(),
            task: Some(v1::Task { work: Some(work) }),
            ..v1::RunTaskRequest::default()
        }
    }

    async fn order(&mut self, wish: v1::RunTaskRequest) -> Streaming<TaskEvent> {
        self.operator.run_task(wish).await.unwrap().into_inner()
    }

    /// What the agent is told to do.
    async fn told(&mut self) -> HostTask {
        loop {
            let said = tokio::time::timeout(SOON, self.down.message()).await.unwrap();
            if let Some(coordinator_message::Body::Task(task)) = said.unwrap().unwrap().body {
                return task;
            }
        }
    }

    /// The agent's stream for a request.
    async fn output(&self, request: &str) -> Output {
        let (up, stream) = mpsc::channel(1);
        let mut agent = self.agent.clone();
        let call = tokio::spawn(async move {
            agent.task_output(ReceiverStream::new(stream)).await.map(tonic::Response::into_inner)
        });
        let begin = v1::TaskBegin { request: request.into() };
        up.send(TaskUp { body: Some(task_up::Body::Begin(begin)) }).await.unwrap();
        (up, call)
    }

    async fn recorded(&mut self) -> v1::TaskRecord {
        let until = Instant::now() + SOON;
        loop {
            let status = self.operator.status(v1::StatusRequest::default()).await.unwrap();
            let host = status.into_inner().hosts.into_iter().find(|host| host.name == "p1");
            let task = host.and_then(|host| host.task).unwrap();
            if task.end.is_some() {
                return task;
            }
            assert!(Instant::now() < until, "its end is not recorded: {task:?}");
            tokio::task::yield_now().await;
        }
    }
}

fn out(bytes: Vec<u8>) -> TaskUp {
    TaskUp { body: Some(task_up::Body::Out(bytes)) }
}

fn end(exit: u32) -> TaskUp {
    let end = v1::TaskEnd { exit, detail: String::new() };
    TaskUp { body: Some(task_up::Body::End(end)) }
}

/// Everything until the end, and the end.
async fn read(events: &mut Streaming<TaskEvent>) -> (usize, v1::TaskEnd) {
    let mut bytes = 0;
    loop {
        let event = tokio::time::timeout(SOON, events.message()).await.unwrap().unwrap();
        match event.expect("an end").body.unwrap() {
            task_event::Body::Out(piece) | task_event::Body::Talk(piece) => bytes += piece.len(),
            task_event::Body::End(end) => return (bytes, end),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_operator_slows_the_agent_and_nothing_is_lost() {
    let mut scene = Scene::start(hello("p1")).await;
    let mut events = scene.order(Scene::wish("r1")).await;
    let told = scene.told().await;
    assert_eq!(
        (told.request.as_str(), told.by.as_str(), told.reason.as_str()),
        ("r1", "ann", "a test")
    );
    let (up, call) = scene.output("r1").await;
    // Nobody reads: what is taken is bounded by the queue and by the windows of
    // both connections, far below what is offered.
    let offered = 64 << 20;
    let mut taken = 0;
    while taken < offered {
        let sent = up.send(out(vec![7; PIECE_MAX]));
        if tokio::time::timeout(Duration::from_secs(2), sent).await.is_err() {
            break;
        }
        taken += PIECE_MAX;
    }
    assert!(taken >= EVENTS_MAX * PIECE_MAX, "{taken}: the queue is not even full");
    assert!(taken < offered / 4, "{taken} bytes were taken for an operator who reads nothing");
    let sending = tokio::spawn(async move {
        up.send(out(vec![7; PIECE_MAX])).await.unwrap();
        up.send(end(5)).await.unwrap();
    });
    let (bytes, end) = read(&mut events).await;
    sending.await.unwrap();
    // The piece whose turn did not come was dropped by the wait above, and sent again.
    assert_eq!((bytes, end.exit), (taken + PIECE_MAX, 5));
    call.await.unwrap().unwrap();
    let record = scene.recorded().await;
    assert_eq!((record.bytes, record.end.unwrap().exit), (bytes as u64, 5));
    assert_eq!((record.task.as_str(), record.by.as_str()), ("backup list", "ann"));
    // The same request again is done once.
    let again = read(&mut scene.order(Scene::wish("r1")).await).await;
    assert_eq!((again.0, again.1.exit), (0, 5));
    assert!(again.1.detail.contains("already"), "{:?}", again.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_leaves_and_a_limit_end_the_task_and_a_lost_agent_is_told() {
    let mut scene = Scene::start(hello("p1")).await;
    let mut events = scene.order(Scene::wish("leaves")).await;
    scene.told().await;
    let (up, call) = scene.output("leaves").await;
    up.send(out(vec![7])).await.unwrap();
    // What has come says that the stream is claimed.
    tokio::time::timeout(SOON, events.message()).await.unwrap().unwrap();
    drop(events);
    let ended = tokio::time::timeout(SOON, call).await.unwrap().unwrap().unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::Cancelled, "the operator left"));
    assert!(scene.recorded().await.end.unwrap().detail.contains("operator left"));

    let wish = v1::RunTaskRequest { limit_bytes: 10, ..Scene::wish("much") };
    let mut events = scene.order(wish).await;
    scene.told().await;
    let (up, call) = scene.output("much").await;
    up.send(out(vec![7; 11])).await.unwrap();
    assert!(read(&mut events).await.1.detail.contains("more than 10 bytes"));
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::ResourceExhausted);

    let mut events = scene.order(Scene::wish("lost")).await;
    scene.told().await;
    let (up, _call) = scene.output("lost").await;
    drop(up);
    let lost = read(&mut events).await.1;
    assert!(lost.exit == 4 && lost.detail.contains("lost"), "{lost:?}");

    // A stream for what nobody ordered, and one of another host, are refused.
    let (_up, call) = scene.output("stranger").await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_do_it_is_named_before_anything_is_ordered() {
    let old = v1::Version { minor: 0, ..proto::own_version() };
    let mut scene = Scene::start(v1::Hello { version: Some(old), ..hello("p1") }).await;
    let refused = read(&mut scene.order(Scene::wish("r1")).await).await.1;
    assert!(refused.exit == 1 && refused.detail.contains("upgrade it"), "{refused:?}");
    let elsewhere = v1::RunTaskRequest { host: "s1".into(), ..Scene::wish("r2") };
    let refused = read(&mut scene.order(elsewhere).await).await.1;
    assert!(refused.exit == 4 && refused.detail.contains("no session with c1"), "{refused:?}");
    for wrong in [
        v1::RunTaskRequest { request_id: String::new(), ..Scene::wish("") },
        v1::RunTaskRequest { task: None, ..Scene::wish("r3") },
        v1::RunTaskRequest { host: "../x".into(), ..Scene::wish("r3") },
    ] {
        let refused = scene.operator.run_task(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let mut viewer = scene.solo.operator(Rank::Viewer).await;
    let denied = viewer.run_task(Scene::wish("r4")).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
}
