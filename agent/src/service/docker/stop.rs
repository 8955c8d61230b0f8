//! Stopping containers so that they stay stopped (A3): kill first, then tell
//! Docker that the stop was wanted, then see for oneself.
//!
//! A plain kill is not enough where a restart policy brings a container back;
//! `stop` with no grace marks it as stopped by hand. The policy `always`
//! ignores that mark when dockerd restarts, so an exclusive service's is
//! changed to `unless-stopped`, which differs in nothing else.

use super::{ContainerFacts, Inner, OneOffs};
use crate::service::{StopError, millis};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::{fs, sync::atomic::Ordering, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// Between two looks at a container that was killed: it is gone after some
/// tens of milliseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long Docker may take before the main processes are killed without it: a
/// kill and a stop through it take some 100 ms. Within what separates two
/// holders of a lease T (T/20 gate margin, T/100 rate error, and a skew margin
/// of at least 100 ms) from T = 2 s on, where that is 220 ms: so a lease for
/// services in Docker must not be shorter than 2 s, or a Docker that hangs lets
/// a container run on into the next holder's lease.
const SILENCE: Duration = Duration::from_millis(200);

impl Inner {
    pub(super) async fn stop(&self) -> Result<String, StopError> {
        let until = Instant::now() + self.stop_timeout;
        self.stops.fetch_add(1, Ordering::SeqCst);
        self.seen().wanted = Some(false);
        // At once, also in the middle of a start.
        let mut round = std::pin::pin!(self.round(until));
        let (first, killed) = match timeout(SILENCE, &mut round).await {
            Ok(first) => (first, 0),
            Err(_) => {
                let killed = self.kill_without_docker();
                (round.await, killed)
            }
        };
        // A start under way ends after its current call; then once more, for
        // what that call may have brought up.
        let left = until.saturating_duration_since(Instant::now());
        let busy = timeout(left, self.busy.lock()).await;
        let outcome = match (first, busy) {
            (Err(StopError::Docker { service, source, .. }), _) => {
                Err(StopError::Docker { service, source, killed })
            }
            (Err(error), _) => Err(error),
            (Ok(_), Ok(_busy)) => self.round(until).await,
            (Ok(_), Err(_)) => Err(self.still_runs("a start of it is under way".into())),
        };
        self.look().await;
        outcome
    }

    /// Kill, mark, look, until nothing runs.
    async fn round(&self, until: Instant) -> Result<String, StopError> {
        let left = || until.saturating_duration_since(Instant::now());
        loop {
            let found = self.engine.find(&self.target, OneOffs::All, left()).await;
            let containers = match found {
                Ok(containers) => containers,
                Err(source) => return Err(self.without_docker(source)),
            };
            let running: Vec<&ContainerFacts> =
                containers.iter().filter(|facts| facts.running || facts.restarting).collect();
            if running.is_empty() {
                self.keep_stopped(&containers, left()).await;
                return Ok(describe(&containers));
            }
            let mut refusal = None;
            let mut done = Vec::new();
            for container in &running {
                done.push(self.engine.kill(&container.id, left()).await);
            }
            for container in &running {
                done.push(self.engine.stop_now(&container.id, left()).await);
            }
            for error in done.into_iter().filter_map(Result::err) {
                if error.is_silence() {
                    return Err(self.without_docker(error));
                }
                refusal = Some(error.to_string());
            }
            if left().is_zero() {
                let last = running.iter().map(|facts| facts.line()).collect::<Vec<_>>().join(", ");
                return Err(self.still_runs(refusal.unwrap_or(last)));
            }
            sleep(LOOK_AGAIN.min(left())).await;
        }
    }

    fn still_runs(&self, still: String) -> StopError {
        StopError::StillRuns {
            service: self.service.clone(),
            limit: millis(self.stop_timeout),
            still,
        }
    }

    fn without_docker(&self, source: super::EngineError) -> StopError {
        StopError::Docker { service: self.service.clone(), source, killed: 0 }
    }

    /// Docker is slow or hangs: the main processes seen last are killed without
    /// it, and counted. Not a confirmation, because Docker may start them again.
    fn kill_without_docker(&self) -> usize {
        let containers = self.seen().containers.clone();
        containers.iter().filter(|facts| kill_main_process(facts)).count()
    }

    async fn keep_stopped(&self, containers: &[ContainerFacts], limit: Duration) {
        for container in containers.iter().filter(|facts| self.exclusive && facts.always_restarts) {
            if let Err(error) = self.engine.restart_unless_stopped(&container.id, limit).await {
                tracing::warn!(
                    service = %self.service, container = %container.name, %error,
                    "its restart policy stays `always`: a restart of dockerd will start it"
                );
            }
        }
    }
}

fn describe(containers: &[ContainerFacts]) -> String {
    if containers.is_empty() {
        return "there is no such container".into();
    }
    containers.iter().map(ContainerFacts::line).collect::<Vec<_>>().join(", ")
}

/// Kills a container's main process, if the pid that Docker once named still
/// belongs to that container: its control group carries the container's id.
fn kill_main_process(facts: &ContainerFacts) -> bool {
    let Some(pid) = facts.pid.and_then(Pid::from_raw).filter(|_| facts.running) else {
        return false;
    };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // Read after the handle was opened: what the handle names can be no other process.
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
    cgroup.is_ok_and(|cgroup| cgroup.contains(&facts.id))
        && pidfd_send_signal(process, Signal::KILL).is_ok()
}
