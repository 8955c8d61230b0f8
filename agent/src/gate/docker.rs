//! What Docker says of who is where: which bridges carry a protected container,
//! and whose each address on them is.
//!
//! A task for each Engine; looks at once when something starts, ends or changes
//! its networks, and every few seconds anyway. An address that is not known yet
//! is held back by the rules, so that a look that is late loses nothing of A1.

mod look;

use super::shared::Shared;
use crate::service::Target;
use bollard::{
    Docker,
    errors::Error,
    models::{ContainerSummary, EventMessage, SystemInfo},
    query_parameters::{
        EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
        ListNetworksOptions,
    },
};
use daemon::{backoff::Backoff, clock::wall_ms};
use futures::StreamExt;
use look::Look;
use model::{GroupId, ServiceName};
use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

/// Between two looks when no event comes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long one question may take: dockerd answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// The client's own limit in seconds, for the event stream's beginning.
const CLIENT_LIMIT_S: u64 = 60;

/// Waits between tries to reach Docker.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

const ACTIONS: [&str; 8] =
    ["create", "start", "die", "destroy", "rename", "connect", "disconnect", "update"];

/// A look that somebody waits for.
pub(super) type Asked = oneshot::Sender<()>;

/// A protected service of one Engine.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) service: ServiceName,
    pub(super) group: GroupId,
    pub(super) target: Target,
}

impl Wanted {
    fn is(&self, container: &ContainerSummary) -> bool {
        match &self.target {
            Target::Container(name) => names(container).any(|known| known == name),
            Target::Compose(compose) => {
                let label = |key: &str| container.labels.as_ref().and_then(|of| of.get(key));
                label("com.docker.compose.project") == Some(&compose.project)
                    && label("com.docker.compose.service") == Some(&compose.service)
            }
        }
    }
}

fn names(container: &ContainerSummary) -> impl Iterator<Item = &str> {
    container.names.iter().flatten().map(|name| name.trim_start_matches('/'))
}

/// The watcher of one Engine; `place` is its own in the shared list.
pub(super) struct Watcher {
    pub(super) socket: PathBuf,
    pub(super) wanted: Vec<Wanted>,
    pub(super) place: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) asked: mpsc::Receiver<Asked>,
}

impl Watcher {
    /// Watches until the gate is gone.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::from_os(RETRY.0, RETRY.1, 20);
        while !self.shared.lock().ended {
            if let Ok(docker) = self.connect().await {
                backoff.reset();
                // Its end says that Docker is gone; what was found stays true as
                // long as no container can be started.
                let _ = self.watch(&docker).await;
            }
            sleep(backoff.wait()).await;
        }
    }

    async fn connect(&self) -> Result<Docker, Error> {
        let path = self.socket.to_string_lossy();
        let docker =
            Docker::connect_with_unix(&path, CLIENT_LIMIT_S, bollard::API_DEFAULT_VERSION)?;
        within(docker.negotiate_version()).await
    }

    async fn watch(&mut self, docker: &Docker) -> Result<(), Error> {
        let filters = HashMap::from([
            ("type", vec!["container".to_owned(), "network".to_owned()]),
            ("event", ACTIONS.map(str::to_owned).to_vec()),
        ]);
        // The stream begins when it is first waited for, after the first look: it
        // is asked for what happened since before that look.
        let since = (wall_ms() / 1000).saturating_sub(1).to_string();
        let options = EventsOptionsBuilder::default().filters(&filters).since(&since).build();
        let mut events = std::pin::pin!(docker.events(Some(options)));
        let engine = within(docker.info()).await?;
        let mut asked = Vec::new();
        loop {
            self.look(docker, &engine).await?;
            for asked in asked.drain(..) {
                // Who asked may have stopped waiting.
                let _ = Asked::send(asked, ());
            }
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.forget(&event),
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                ask = self.asked.recv() => match ask {
                    Some(ask) => asked.push(ask),
                    None => return Ok(()),
                },
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// An address whose container may be gone is nobody's at once: its next
    /// owner may be a protected one. The look that follows gives back the others.
    fn forget(&self, event: &EventMessage) {
        let ends = matches!(event.action.as_deref(), Some("die" | "disconnect" | "destroy"));
        let mut state = self.shared.lock();
        if let Some(Some((facts, _))) = state.found.get_mut(self.place)
            && ends
            && !facts.free.is_empty()
        {
            let id = event.actor.as_ref().map(|actor| {
                let container = actor.attributes.as_ref().and_then(|of| of.get("container"));
                container.or(actor.id.as_ref()).cloned().unwrap_or_default()
            });
            let id = id.unwrap_or_default();
            facts.free.retain(|place| facts.owners.get(place) != Some(&id));
            state.facts += 1;
            drop(state);
            self.shared.wake();
        }
    }

    async fn look(&self, docker: &Docker, engine: &SystemInfo) -> Result<(), Error> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let containers = within(docker.list_containers(Some(options))).await?;
        let networks = within(docker.list_networks(None::<ListNetworksOptions>)).await?;
        let mut look = Look::new(&networks, &self.wanted);
        for container in &containers {
            look.protected(container);
        }
        for (group, id, name) in std::mem::take(&mut look.on_host) {
            let parent = parent(docker, &id).await?;
            look.host(&group, &name, parent.as_deref(), engine);
        }
        for container in &containers {
            look.other(container);
        }
        let found = (look.facts, look.gaps);
        let news = {
            let mut state = self.shared.lock();
            let Some(slot) = state.found.get_mut(self.place) else { return Ok(()) };
            let news = slot.as_ref() != Some(&found);
            *slot = Some(found);
            state.facts += 1;
            news
        };
        self.shared.wake();
        if news {
            self.shared.tell(true);
        }
        Ok(())
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(LIMIT, call).await.unwrap_or(Err(Error::RequestTimeoutError))
}

/// The cgroup that the container's own is made in.
async fn parent(docker: &Docker, id: &str) -> Result<Option<String>, Error> {
    let asked = within(docker.inspect_container(id, None::<InspectContainerOptions>)).await;
    match asked {
        Ok(found) => Ok(found.host_config.and_then(|config| config.cgroup_parent)),
        // Removed meanwhile; the event that says so brings the next look.
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
