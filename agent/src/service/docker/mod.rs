//! A service that is a container, or the containers of one compose service,
//! through the Engine's own API.
//!
//! A task per service keeps the last look fresh: at once on an event, and every
//! two seconds anyway. Docker itself keeps no lease: the agent's stop and the
//! kernel gate do. Invariants: no call without a deadline; a daemon that does
//! not answer is unknown; stopped is said only after an inspection said so.

mod engine;
mod facts;
mod stop;

pub use engine::EngineError;
pub(super) use engine::Engines;
pub use facts::{ContainerFacts, Health};

use super::{Changed, Compose, DockerConfig, Look, ServiceConfig, StartError, StopError, Target};
use daemon::clock::boottime_ms;
use engine::{ContainerEvent, Engine, Event, OneOffs};
use facts::judge;
use model::{ServiceName, ServiceState};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, broadcast},
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval},
};

/// Between two looks when no event comes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long one look may take: dockerd answers in milliseconds, and a busy
/// one within a second.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// How long starting one container may take: the image is there already.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Age at which a look is no longer believed, in milliseconds: three that failed to come.
const STALE_MS: u64 = 8_000;

/// The driver of one service.
pub(super) struct DockerDriver {
    inner: Arc<Inner>,
    watcher: AbortHandle,
}

struct Inner {
    service: ServiceName,
    exclusive: bool,
    stop_timeout: Duration,
    target: Target,
    engine: Arc<Engine>,
    changed: Changed,
    seen: Mutex<Seen>,
    /// Held by a start, and by a stop once it has killed: so a stop that comes
    /// during a start kills at once, and again after it.
    busy: AsyncMutex<()>,
    /// How often a stop was asked for.
    stops: AtomicU64,
}

/// What was seen last.
struct Seen {
    look: Look,
    /// The containers, worst first.
    containers: Vec<ContainerFacts>,
    at_ms: u64,
    /// Whether it should run: then its end is a failure. Set by start and stop,
    /// and by the first look that finds it running before either.
    wanted: Option<bool>,
}

impl Drop for DockerDriver {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl DockerDriver {
    pub(super) fn new(
        service: &ServiceConfig,
        config: &DockerConfig,
        engine: Arc<Engine>,
        changed: Changed,
    ) -> Self {
        let events = engine.events();
        let inner = Arc::new(Inner {
            service: service.name.clone(),
            exclusive: service.exclusive,
            stop_timeout: service.stop_timeout,
            target: config.target.clone(),
            engine,
            changed,
            seen: Mutex::new(Seen {
                look: Look::new(ServiceState::Unknown, "Docker was not asked yet"),
                containers: Vec::new(),
                at_ms: boottime_ms(),
                wanted: None,
            }),
            busy: AsyncMutex::new(()),
            stops: AtomicU64::new(0),
        });
        let watcher = tokio::spawn(Arc::clone(&inner).watch(events)).abort_handle();
        Self { inner, watcher }
    }

    /// Starts every container of the service, or unpauses it.
    pub(super) async fn start(&self) -> Result<(), StartError> {
        self.inner.start().await
    }

    /// Kills every container of the service and confirms it (A3).
    pub(super) async fn stop(&self) -> Result<String, StopError> {
        self.inner.stop().await
    }

    pub(super) async fn look(&self) -> Look {
        self.inner.look().await
    }

    pub(super) fn status(&self) -> Look {
        let seen = self.inner.seen();
        let age = boottime_ms().saturating_sub(seen.at_ms);
        if age > STALE_MS {
            let detail = format!("Docker has not been heard for {} s", age / 1000);
            return Look::new(ServiceState::Unknown, detail);
        }
        seen.look.clone()
    }

    /// The container that is worst off.
    pub(super) fn facts(&self) -> Option<ContainerFacts> {
        self.inner.seen().containers.first().cloned()
    }
}

impl Inner {
    async fn watch(self: Arc<Self>, mut events: broadcast::Receiver<Event>) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                event = events.recv() => match event {
                    Ok(Event::Resync) => {}
                    Ok(Event::Container(event)) if self.concerns(&event) => self.note(&event),
                    Ok(Event::Container(_)) => continue,
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
            self.look().await;
        }
    }

    fn concerns(&self, event: &ContainerEvent) -> bool {
        match &self.target {
            Target::Container(name) => event.name.as_ref() == Some(name),
            Target::Compose(Compose { project, service }) => {
                event.project.as_ref() == Some(project) && event.service.as_ref() == Some(service)
            }
        }
    }

    /// A death is told at once, before the inspection that gives the details.
    fn note(&self, event: &ContainerEvent) {
        if event.action != engine::DIE {
            return;
        }
        let (mut containers, wanted) = {
            let seen = self.seen();
            (seen.containers.clone(), seen.wanted == Some(true))
        };
        let dead = containers.iter_mut().find(|facts| Some(&facts.name) == event.name.as_ref());
        // One that was not seen yet is found by the look that follows.
        let Some(dead) = dead else { return };
        dead.ended(event.exit_code.unwrap_or(-1));
        let look = judge(&self.target, &mut containers, wanted);
        self.remember(look, containers);
    }

    /// Asks Docker and remembers what it said.
    async fn look(&self) -> Look {
        let found = self.engine.find(&self.target, OneOffs::Running, LOOK_LIMIT).await;
        let (look, containers) = match found {
            Ok(mut containers) => {
                let wanted = {
                    let mut seen = self.seen();
                    if seen.wanted.is_none() && containers.iter().any(|facts| facts.running) {
                        seen.wanted = Some(true);
                    }
                    seen.wanted == Some(true)
                };
                let look = judge(&self.target, &mut containers, wanted);
                (look, containers)
            }
            Err(error) => {
                let containers = self.seen().containers.clone();
                (Look::new(ServiceState::Unknown, error.to_string()), containers)
            }
        };
        self.remember(look.clone(), containers);
        look
    }

    fn remember(&self, look: Look, containers: Vec<ContainerFacts>) {
        let news = {
            let mut seen = self.seen();
            let news = seen.look != look || seen.containers != containers;
            *seen = Seen { look, containers, at_ms: boottime_ms(), wanted: seen.wanted };
            news
        };
        if news {
            self.changed.tell();
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self) -> Result<(), StartError> {
        let stops = self.stops.load(Ordering::SeqCst);
        let overtaken = || self.stops.load(Ordering::SeqCst) != stops;
        let _busy = self.busy.lock().await;
        let until = Instant::now() + START_LIMIT;
        let failed = |source| StartError::Docker { service: self.service.clone(), source };
        let left = || until.saturating_duration_since(Instant::now());
        let found = self.engine.find(&self.target, OneOffs::None, left().min(LOOK_LIMIT)).await;
        let containers = found.map_err(failed)?;
        if containers.is_empty() {
            let (service, target) = (self.service.clone(), self.target.clone());
            return Err(StartError::Missing { service, target });
        }
        for container in &containers {
            if overtaken() {
                return Err(StartError::Overtaken { service: self.service.clone() });
            }
            self.seen().wanted = Some(true);
            if container.paused {
                self.engine.unpause(&container.id, left()).await.map_err(failed)?;
            } else if !container.running {
                self.engine.start(&container.id, left()).await.map_err(failed)?;
            }
        }
        // Without the lock of `busy` a stop has already killed; what was started
        // after that kill is killed by its second round, once this returns.
        if overtaken() {
            return Err(StartError::Overtaken { service: self.service.clone() });
        }
        self.look().await;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod lab;
#[cfg(test)]
mod tests;
