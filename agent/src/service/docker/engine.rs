//! The Docker Engine behind one socket: every call with a deadline, and its
//! event stream, connected again when it breaks.
//!
//! The connection is made when it is first needed, so that an agent may start
//! before Docker does. The API's version is negotiated again after every
//! failure: Docker may have been upgraded.

use super::{Compose, ContainerFacts, Target};
use bollard::{
    Docker,
    errors::Error as BollardError,
    models::{ContainerUpdateBody, EventMessage, RestartPolicy, RestartPolicyNameEnum},
    query_parameters::{
        EventsOptionsBuilder, InspectContainerOptions, KillContainerOptions,
        ListContainersOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
    },
};
use daemon::backoff::Backoff;
use futures::{StreamExt, future::join_all};
use model::Millis;
use std::{
    collections::HashMap,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, broadcast},
    task::AbortHandle,
    time::{sleep, timeout},
};

/// The event that says that a container ended.
pub(super) const DIE: &str = "die";

/// The events that change what a look would say.
const ACTIONS: [&str; 11] = [
    "create",
    "start",
    "restart",
    DIE,
    "oom",
    "stop",
    "pause",
    "unpause",
    "health_status",
    "destroy",
    "rename",
];

/// Events kept for a service that is slow to look: beyond, it looks once for all of them.
const EVENTS_MAX: usize = 64;

/// How long connecting and asking for the version may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// The client's own limit in seconds, for the event stream's beginning; every
/// other call has a shorter one from here.
const CLIENT_LIMIT_S: u64 = 60;

/// Waits between tries to get the event stream back.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No connection.
    #[error(
        "cannot reach Docker at {}: {source}; is it running, and may this user open the socket?",
        socket.display()
    )]
    Unreachable {
        /// The Engine's socket.
        socket: PathBuf,
        /// What the system said.
        source: Box<BollardError>,
    },
    /// No answer in time.
    #[error("Docker at {} did not answer `{call}` within {limit}", socket.display())]
    Silent {
        /// The Engine's socket.
        socket: PathBuf,
        /// What was asked.
        call: &'static str,
        /// How long was waited.
        limit: Millis,
    },
    /// It said no.
    #[error("Docker refused `{call}`: {message} (status {status})")]
    Refused {
        /// What was asked.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// Docker's words.
        message: String,
    },
    /// Its answer broke off or could not be read.
    #[error("Docker's answer to `{call}` could not be read: {source}")]
    Garbled {
        /// What was asked.
        call: &'static str,
        /// What was wrong with it.
        source: Box<BollardError>,
    },
}

impl EngineError {
    /// Whether Docker said nothing at all.
    pub(super) const fn is_silence(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Refused { .. } | Self::Garbled { .. } => false,
        }
    }

    /// Takes an answer for a success: the container is in that state anyway.
    fn is_one_of(&self, statuses: &[u16]) -> bool {
        matches!(self, Self::Refused { status, .. } if statuses.contains(status))
    }
}

/// Which of the containers that `docker compose run` made for a service count:
/// they are not started with it, but they act like it while they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OneOffs {
    None,
    Running,
    All,
}

/// What the event stream brought.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The stream began or broke: events may be missing.
    Resync,
    /// Something about one container.
    Container(ContainerEvent),
}

/// One event of one container.
#[derive(Debug, Clone, Default)]
pub(super) struct ContainerEvent {
    pub(super) action: String,
    pub(super) name: Option<String>,
    pub(super) project: Option<String>,
    pub(super) service: Option<String>,
    pub(super) exit_code: Option<i64>,
}

impl From<EventMessage> for ContainerEvent {
    fn from(message: EventMessage) -> Self {
        let mut of = message.actor.and_then(|actor| actor.attributes).unwrap_or_default();
        Self {
            action: message.action.unwrap_or_default(),
            name: of.remove("name"),
            project: of.remove(PROJECT),
            service: of.remove(SERVICE),
            exit_code: of.remove("exitCode").and_then(|code| code.parse().ok()),
        }
    }
}

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// The engines in use, one a socket.
#[derive(Default)]
pub(in crate::service) struct Engines(HashMap<PathBuf, Arc<Engine>>);

impl Engines {
    /// The engine at this socket; begins to listen to it.
    pub(in crate::service) fn at(&mut self, socket: &Path) -> Arc<Engine> {
        Arc::clone(self.0.entry(socket.into()).or_insert_with(|| Arc::new(Engine::new(socket))))
    }
}

/// One engine.
pub(in crate::service) struct Engine {
    socket: PathBuf,
    client: Mutex<Option<Docker>>,
    events: broadcast::Sender<Event>,
    listener: AbortHandle,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Engine {
    pub(super) fn new(socket: &Path) -> Self {
        let events = broadcast::Sender::new(EVENTS_MAX);
        let listener = tokio::spawn(listen(socket.into(), events.clone())).abort_handle();
        Self { socket: socket.into(), client: Mutex::new(None), events, listener }
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The containers that fit.
    pub(super) async fn find(
        &self,
        target: &Target,
        one_offs: OneOffs,
        limit: Duration,
    ) -> Result<Vec<ContainerFacts>, EngineError> {
        let names = match target {
            Target::Container(name) => vec![name.clone()],
            Target::Compose(compose) => self.list(compose, limit).await?,
        };
        let found = join_all(names.iter().map(|name| self.inspect(name, limit))).await;
        let mut containers = Vec::new();
        for facts in found {
            containers.extend(facts?);
        }
        containers.retain(|facts| match target {
            // Docker also takes the beginning of an id for a name.
            Target::Container(name) => facts.name == *name,
            Target::Compose(_) => match one_offs {
                OneOffs::None => !facts.one_off,
                OneOffs::Running => !facts.one_off || facts.running,
                OneOffs::All => true,
            },
        });
        Ok(containers)
    }

    async fn list(&self, compose: &Compose, limit: Duration) -> Result<Vec<String>, EngineError> {
        let labels = vec![
            format!("{PROJECT}={}", compose.project),
            format!("{SERVICE}={}", compose.service),
        ];
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let list = self
            .call("list", limit, async move |docker| docker.list_containers(Some(options)).await)
            .await?;
        Ok(list.into_iter().filter_map(|container| container.id).collect())
    }

    async fn inspect(
        &self,
        name: &str,
        limit: Duration,
    ) -> Result<Option<ContainerFacts>, EngineError> {
        let answer = self
            .call("inspect", limit, async move |docker| {
                docker.inspect_container(name, None::<InspectContainerOptions>).await
            })
            .await;
        match answer {
            Ok(container) => Ok(Some(ContainerFacts::from(container))),
            Err(error) if error.is_one_of(&[404]) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn start(&self, id: &str, limit: Duration) -> Result<(), EngineError> {
        let options = None::<StartContainerOptions>;
        self.call("start", limit, async move |docker| docker.start_container(id, options).await)
            .await
    }

    pub(super) async fn unpause(&self, id: &str, limit: Duration) -> Result<(), EngineError> {
        self.call("unpause", limit, async move |docker| docker.unpause_container(id).await).await
    }

    /// SIGKILL; a container that is gone or not running is as wanted.
    pub(super) async fn kill(&self, id: &str, limit: Duration) -> Result<(), EngineError> {
        let options = KillContainerOptions { signal: "SIGKILL".into() };
        let killed = self
            .call("kill", limit, async move |docker| docker.kill_container(id, Some(options)).await)
            .await;
        killed.or_else(|error| if error.is_one_of(&[404, 409]) { Ok(()) } else { Err(error) })
    }

    /// Stop without grace: marks the container as stopped by hand.
    pub(super) async fn stop_now(&self, id: &str, limit: Duration) -> Result<(), EngineError> {
        let options = StopContainerOptionsBuilder::default().t(0).build();
        let stopped = self
            .call("stop", limit, async move |docker| docker.stop_container(id, Some(options)).await)
            .await;
        stopped.or_else(|error| if error.is_one_of(&[404]) { Ok(()) } else { Err(error) })
    }

    /// Changes the restart policy to `unless-stopped`.
    pub(super) async fn restart_unless_stopped(
        &self,
        id: &str,
        limit: Duration,
    ) -> Result<(), EngineError> {
        let policy = RestartPolicy {
            name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
            maximum_retry_count: None,
        };
        let body = ContainerUpdateBody { restart_policy: Some(policy), ..Default::default() };
        self.call("update", limit, async move |docker| docker.update_container(id, body).await)
            .await
    }

    /// One call within `limit`, connecting first where needed.
    async fn call<T, F>(
        &self,
        call: &'static str,
        limit: Duration,
        ask: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, BollardError>>,
    {
        let silent = || EngineError::Silent {
            socket: self.socket.clone(),
            call,
            limit: crate::service::millis(limit),
        };
        let asking = async {
            let docker = self.client().await?;
            ask(docker).await.map_err(|error| self.failed(call, error))
        };
        let answer = timeout(limit, asking).await.map_err(|_| silent()).flatten();
        if answer.as_ref().is_err_and(EngineError::is_silence) {
            *self.client.lock().await = None;
        }
        answer
    }

    async fn client(&self) -> Result<Docker, EngineError> {
        let mut client = self.client.lock().await;
        if let Some(docker) = &*client {
            return Ok(docker.clone());
        }
        let docker = connect(&self.socket).await?;
        Ok(client.insert(docker).clone())
    }

    fn failed(&self, call: &'static str, error: BollardError) -> EngineError {
        match error {
            BollardError::DockerResponseServerError { status_code, message } => {
                EngineError::Refused { call, status: status_code, message }
            }
            source @ (BollardError::HyperLegacyError { .. }
            | BollardError::HyperResponseError { .. }
            | BollardError::IOError { .. }
            | BollardError::SocketNotFoundError(_)) => {
                EngineError::Unreachable { socket: self.socket.clone(), source: source.into() }
            }
            source => EngineError::Garbled { call, source: source.into() },
        }
    }
}

/// A client that speaks the version that this Engine speaks.
async fn connect(socket: &Path) -> Result<Docker, EngineError> {
    let unreachable = |source: BollardError| EngineError::Unreachable {
        socket: socket.into(),
        source: source.into(),
    };
    let path = socket.to_string_lossy();
    let docker = Docker::connect_with_unix(&path, CLIENT_LIMIT_S, bollard::API_DEFAULT_VERSION)
        .map_err(unreachable)?;
    match timeout(CONNECT_LIMIT, docker.negotiate_version()).await {
        Ok(docker) => docker.map_err(unreachable),
        Err(_) => Err(EngineError::Silent {
            socket: socket.into(),
            call: "version",
            limit: crate::service::millis(CONNECT_LIMIT),
        }),
    }
}

/// Passes the event stream on for as long as the engine is in use.
async fn listen(socket: PathBuf, events: broadcast::Sender<Event>) {
    let mut backoff = Backoff::from_os(RETRY.0, RETRY.1, 20);
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("event", ACTIONS.map(str::to_owned).to_vec()),
    ]);
    loop {
        if let Ok(docker) = connect(&socket).await {
            let options = EventsOptionsBuilder::default().filters(&filters).build();
            let mut stream = std::pin::pin!(docker.events(Some(options)));
            // Nobody listening is no error: the engine is only just made.
            let _ = events.send(Event::Resync);
            while let Some(Ok(message)) = stream.next().await {
                backoff.reset();
                let _ = events.send(Event::Container(message.into()));
            }
            let _ = events.send(Event::Resync);
        }
        sleep(backoff.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::EventActor;

    #[test]
    fn an_event_is_read_with_its_labels() {
        let attributes = [("name", "mt4"), (PROJECT, "p"), (SERVICE, "s"), ("exitCode", "137")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let actor = EventActor { id: None, attributes: Some(attributes.into()) };
        let message =
            EventMessage { action: Some(DIE.into()), actor: Some(actor), ..Default::default() };
        let event = ContainerEvent::from(message);
        assert_eq!(event.name.as_deref(), Some("mt4"));
        assert_eq!((event.project.as_deref(), event.service.as_deref()), (Some("p"), Some("s")));
        assert_eq!((event.action.as_str(), event.exit_code), (DIE, Some(137)));
        let empty = ContainerEvent::from(EventMessage::default());
        assert!(empty.action.is_empty() && empty.exit_code.is_none());
    }
}
