//! A service that is a process: run under a holder (see [`crate::hold`]),
//! which kills it at its lease's deadline whatever happens to the agent.
//!
//! One task a run minds the holder: passes deadlines on, listens to its
//! status lines, and confirms at the end that the process group is gone. When
//! the agent ends, the holder's stdin ends, and with it the program.
//!
//! Invariant: what may hang in a file system is done on a thread of its own, at
//! most one for each service, and under no lock that [`ProcessDriver::status`]
//! or a stop needs (A4).

use super::{
    Changed, LeaseDeadline, Look, ProcessConfig, ServiceConfig, ServiceRoom, StartError, StopError,
    millis,
};
use model::{ServiceName, ServiceState};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    process::Child,
    sync::{Mutex as AsyncMutex, mpsc, oneshot, watch},
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

mod minder;
mod program;
use minder::{Ask, Minder, Phase};
use program::Program;

/// How long a holder may take to be started, and then to report that the program
/// runs: both only fork and execute; the rest is for a busy host.
const START_LIMIT: Duration = Duration::from_secs(5);

/// Starts a holder; may block for as long as a file system hangs.
type Spawn = dyn Fn() -> Result<Child, StartError> + Send + Sync;

/// The driver of one service.
pub(super) struct ProcessDriver {
    service: ServiceName,
    stop_timeout: Duration,
    start_limit: Duration,
    log: PathBuf,
    changed: Changed,
    spawn: Arc<Spawn>,
    /// Held by a start until it has made its run, also while it hangs.
    turn: Arc<AsyncMutex<()>>,
    /// Locked for moments only: the lease loop asks for the status.
    runs: Mutex<Runs>,
}

/// The newest run, and how often a stop was asked for: a start that finds the
/// count changed was overtaken.
#[derive(Default)]
struct Runs {
    newest: Option<Run>,
    stops: u64,
}

/// One start of the program.
struct Run {
    phase: watch::Receiver<Phase>,
    asks: mpsc::Sender<Ask>,
}

impl ProcessDriver {
    pub(super) fn new(
        service: &ServiceConfig,
        config: &ProcessConfig,
        room: &ServiceRoom,
        changed: Changed,
    ) -> Self {
        let log = room.log_of(&service.name);
        let program = Program {
            service: service.name.clone(),
            config: config.clone(),
            holder: room.holder.clone(),
            log: log.clone(),
            cgroup: room.cgroup_of(service),
        };
        Self {
            service: service.name.clone(),
            stop_timeout: service.stop_timeout,
            start_limit: START_LIMIT,
            log,
            changed,
            spawn: Arc::new(move || program.spawn()),
            turn: Arc::default(),
            runs: Mutex::default(),
        }
    }

    /// Starts the program, or gives the new lease to the one that runs.
    pub(super) async fn start(&self, lease: Option<LeaseDeadline>) -> Result<(), StartError> {
        let stops = self.runs().stops;
        let no_word = || self.holder_failed(format!("no word from it within {START_LIMIT:?}"));
        // Twice: the first time it may find a run that is just being killed.
        for _ in 0..2 {
            let mut phase = match self.follow(lease.clone(), stops).await? {
                Following::Asked { taken, mut phase } => {
                    if taken.await.is_ok() {
                        return Ok(());
                    }
                    let over = timeout(START_LIMIT, phase.wait_for(Phase::is_over)).await;
                    over.map_err(|_| no_word())?.map_err(|_| no_word())?;
                    continue;
                }
                Following::New(phase) => phase,
            };
            let begun = |phase: &Phase| !matches!(phase, Phase::Starting);
            let now = timeout(START_LIMIT, phase.wait_for(begun)).await.map_err(|_| no_word())?;
            let now = now.map_err(|_| no_word())?.clone();
            return self.begun(&now);
        }
        Err(self.holder_failed("an earlier run of it does not end".into()))
    }

    fn begun(&self, phase: &Phase) -> Result<(), StartError> {
        match phase {
            Phase::Starting | Phase::Running { .. } => Ok(()),
            Phase::Stopped { asked: true, .. } => Err(self.overtaken()),
            Phase::Stopped { detail, .. }
            | Phase::Failed { detail }
            | Phase::Unconfirmed { detail } => Err(self.holder_failed(detail.clone())),
        }
    }

    /// Finds the run that there is or makes one.
    async fn follow(
        &self,
        lease: Option<LeaseDeadline>,
        stops: u64,
    ) -> Result<Following, StartError> {
        let until = Instant::now() + self.start_limit;
        let hangs = || {
            self.holder_failed(format!(
                "not started within {:?}; a file system may hang: look at those of the program, \
                 of its working_dir and of the agent itself",
                self.start_limit
            ))
        };
        let turn = timeout_at(until, Arc::clone(&self.turn).lock_owned()).await;
        let turn = turn.map_err(|_| hangs())?;
        if let Some(following) = self.ask(lease.clone(), stops)? {
            return Ok(following);
        }
        let spawn = Arc::clone(&self.spawn);
        // The turn goes along, so that no second one hangs beside this one. A
        // child that comes after the limit is dropped as in `mind`.
        let spawning = timeout_at(until, spawn_blocking(move || (spawn(), turn))).await;
        let (child, _turn) = spawning
            .map_err(|_| hangs())?
            .map_err(|error| self.holder_failed(format!("its start failed: {error}")))?;
        self.mind(child?, lease, stops)
    }

    /// Asks the run that there is to follow the lease; `None` where there is none.
    fn ask(
        &self,
        lease: Option<LeaseDeadline>,
        stops: u64,
    ) -> Result<Option<Following>, StartError> {
        let runs = self.runs();
        if runs.stops != stops {
            return Err(self.overtaken());
        }
        let Some(run) = &runs.newest else { return Ok(None) };
        let phase = run.phase.borrow().clone();
        match phase {
            Phase::Unconfirmed { detail } => Err(self.holder_failed(detail)),
            Phase::Starting | Phase::Running { .. } => {
                let (took, taken) = oneshot::channel();
                // A full or closed queue drops `took`, which says that it was not taken.
                let _ = run.asks.try_send(Ask::Follow(lease, took));
                Ok(Some(Following::Asked { taken, phase: run.phase.clone() }))
            }
            Phase::Stopped { .. } | Phase::Failed { .. } => Ok(None),
        }
    }

    /// Makes a run of a holder that was started. All inside the lock, so that a
    /// stop either came first or finds this run. Where it came first the child is
    /// dropped, and its stdin with it: a holder that was told no deadline ends
    /// without having started anything, so the stop was right to say stopped.
    fn mind(
        &self,
        child: Child,
        lease: Option<LeaseDeadline>,
        stops: u64,
    ) -> Result<Following, StartError> {
        let mut runs = self.runs();
        if runs.stops != stops {
            return Err(self.overtaken());
        }
        let (phase_in, phase) = watch::channel(Phase::Starting);
        let (asks, asked) = mpsc::channel(8);
        let minder = Minder::new(child, lease, asked, phase_in, self.changed.clone())
            .ok_or_else(|| self.holder_failed("it has no pipes".into()))?;
        tokio::spawn(minder.mind(self.stop_timeout));
        runs.newest = Some(Run { phase: phase.clone(), asks });
        Ok(Following::New(phase))
    }

    fn holder_failed(&self, reason: String) -> StartError {
        StartError::Holder { service: self.service.clone(), reason }
    }

    fn overtaken(&self) -> StartError {
        StartError::Overtaken { service: self.service.clone() }
    }

    /// Stops the program and confirms that its process group is gone.
    pub(super) async fn stop(&self) -> Result<String, StopError> {
        let newest = {
            let mut runs = self.runs();
            runs.stops = runs.stops.wrapping_add(1);
            runs.newest.as_ref().map(|run| (run.phase.clone(), run.asks.clone()))
        };
        let Some((mut phase, asks)) = newest else { return Ok("it was not running".into()) };
        let still = |still: String| StopError::StillRuns {
            service: self.service.clone(),
            limit: millis(self.stop_timeout),
            still,
        };
        let stopping = async {
            // Only fails when the minder is done, which the phase then shows.
            let _ = asks.send(Ask::Stop).await;
            phase.wait_for(Phase::is_over).await.map(|phase| phase.clone())
        };
        match timeout(self.stop_timeout, stopping).await {
            Ok(Ok(Phase::Unconfirmed { detail })) => Err(still(detail)),
            Ok(Ok(over)) => Ok(over.look(&self.log).detail),
            Ok(Err(_)) => Err(still("its minder is gone".into())),
            Err(_) => Err(still("the holder has not confirmed the kill".into())),
        }
    }

    pub(super) fn status(&self) -> Look {
        match &self.runs().newest {
            None => Look::new(ServiceState::Stopped, "not started since the agent's start"),
            Some(run) => run.phase.borrow().look(&self.log),
        }
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Following {
    /// A run was asked to follow the new lease; dropped when it did not.
    Asked {
        taken: oneshot::Receiver<()>,
        phase: watch::Receiver<Phase>,
    },
    New(watch::Receiver<Phase>),
}

#[cfg(test)]
mod tests;
