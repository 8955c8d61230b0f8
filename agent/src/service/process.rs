//! A service that is a process: run under a holder (see [`crate::hold`]),
//! which kills it at its lease's deadline whatever happens to the agent.
//!
//! One task a run minds the holder: passes deadlines on, listens to its
//! status lines, and confirms at the end that the process group is gone. When
//! the agent ends, the holder's stdin ends, and with it the program.

use super::{
    Changed, LeaseDeadline, Look, ProcessConfig, ServiceConfig, ServiceRoom, StartError, StopError,
    millis,
};
use model::{ServiceName, ServiceState};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    process::Command,
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

mod minder;
use minder::{Ask, Minder, Phase};

/// How long a holder may take to report that the program runs: it only forks
/// and executes; the rest is for a busy host.
const START_LIMIT: Duration = Duration::from_secs(5);

/// What the service manager gave to the agent alone.
const AGENTS_OWN: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "CREDENTIALS_DIRECTORY",
];

/// The driver of one service.
pub(super) struct ProcessDriver {
    service: ServiceName,
    config: ProcessConfig,
    stop_timeout: Duration,
    holder: PathBuf,
    log: PathBuf,
    changed: Changed,
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
        Self {
            service: service.name.clone(),
            config: config.clone(),
            stop_timeout: service.stop_timeout,
            holder: room.holder.clone(),
            log: room.log_of(&service.name),
            changed,
            runs: Mutex::default(),
        }
    }

    /// Starts the program, or gives the new lease to the one that runs.
    pub(super) async fn start(&self, lease: Option<LeaseDeadline>) -> Result<(), StartError> {
        let stops = self.runs().stops;
        let no_word = || self.holder_failed(format!("no word from it within {START_LIMIT:?}"));
        // Twice: the first time it may find a run that is just being killed.
        for _ in 0..2 {
            let mut phase = match self.follow(lease.clone(), stops)? {
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

    /// Finds the run that there is or makes one. All inside the lock, so that
    /// a stop either came first or finds this run.
    fn follow(&self, lease: Option<LeaseDeadline>, stops: u64) -> Result<Following, StartError> {
        let mut runs = self.runs();
        if runs.stops != stops {
            return Err(self.overtaken());
        }
        if let Some(run) = &runs.newest {
            let phase = run.phase.borrow().clone();
            match phase {
                Phase::Unconfirmed { detail } => return Err(self.holder_failed(detail)),
                Phase::Starting | Phase::Running { .. } => {
                    let (took, taken) = oneshot::channel();
                    // A full or closed queue drops `took`, which says that it was not taken.
                    let _ = run.asks.try_send(Ask::Follow(lease, took));
                    return Ok(Following::Asked { taken, phase: run.phase.clone() });
                }
                Phase::Stopped { .. } | Phase::Failed { .. } => {}
            }
        }
        self.executable()?;
        let child = self.command().spawn().map_err(|error| {
            self.holder_failed(format!("{} does not run: {error}", self.holder.display()))
        })?;
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

    fn command(&self) -> Command {
        let mut command = Command::new(&self.holder);
        command
            .arg0("understudy-agent")
            .args(["hold", "--boottime-deadline-from-stdin", "--log"])
            .arg(&self.log)
            .arg("--")
            .args(&self.config.command)
            .envs(&self.config.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Away from a terminal's Ctrl-C: the agent's end is what ends it.
            .process_group(0);
        for name in AGENTS_OWN {
            if !self.config.env.contains_key(name) {
                command.env_remove(name);
            }
        }
        if let Some(dir) = &self.config.working_dir {
            command.current_dir(dir);
        }
        command
    }

    /// A clear word before a holder is even started.
    fn executable(&self) -> Result<(), StartError> {
        let Some(program) = self.config.command.first() else { return Ok(()) };
        let refused = |reason: String| StartError::Program {
            service: self.service.clone(),
            program: program.clone(),
            reason,
        };
        let about = Path::new(program).metadata().map_err(|error| refused(error.to_string()))?;
        if !about.is_file() || about.permissions().mode() & 0o111 == 0 {
            return Err(refused("it is not an executable file".into()));
        }
        match &self.config.working_dir {
            Some(dir) if !dir.is_dir() => {
                Err(refused(format!("its working_dir {} is not a directory", dir.display())))
            }
            Some(_) | None => Ok(()),
        }
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
