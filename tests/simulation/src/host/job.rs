//! What is at work on a host: a command, or starting again what a lapse
//! stopped, as agent/src/command does it.

use super::service::Service;
use crate::scene::Scene;
use agent::{keeper::Waiting, lease::Lease};
use model::{Action, Command, Epoch, Millis, Mono, Outcome, Refusal, ServiceState, VerifyEvidence};

/// As in agent/src/command/restore.rs.
const RESTORE_LIMIT: Millis = Millis::from_secs(60);

#[derive(Debug)]
enum Doing {
    Promote,
    Start,
    Verify,
    Restore,
}

/// One thing at work.
#[derive(Debug)]
pub(super) struct Job {
    doing: Doing,
    command: Option<Command>,
    until: Mono,
    begun: bool,
    cancelled: bool,
}

fn failed(detail: &str) -> Outcome {
    Outcome::Failed { detail: detail.into() }
}

fn done(detail: &str) -> Outcome {
    Outcome::Done { detail: detail.into() }
}

impl Job {
    pub(super) fn command(waiting: Waiting, cancelled: bool) -> Self {
        let Waiting { command, until, .. } = waiting;
        let doing = match &command.action {
            Action::Promote { .. } => Doing::Promote,
            Action::StartService { .. } => Doing::Start,
            // A fence is the keeper's and never comes here.
            Action::Verify { .. } | Action::Fence => Doing::Verify,
        };
        Self { doing, command: Some(command), until, begun: false, cancelled }
    }

    pub(super) fn restore(now: Mono) -> Self {
        let until = now + RESTORE_LIMIT;
        Self { doing: Doing::Restore, command: None, until, begun: false, cancelled: false }
    }

    pub(super) const fn cancel(&mut self) {
        self.cancelled = true;
    }

    pub(super) const fn until(&self) -> Mono {
        self.until
    }

    pub(super) fn into_command(self) -> Option<Command> {
        self.command
    }

    /// What came of it, once something has.
    pub(super) fn look(
        &mut self,
        now: Mono,
        lease: &Lease,
        service: &mut Service,
        scene: &mut Scene,
    ) -> Option<Outcome> {
        if self.cancelled {
            return Some(failed("given up: the lease ended, or a higher epoch came"));
        }
        let epoch = self.command.as_ref().map_or(Epoch(0), |command| command.epoch);
        let wanted = match self.doing {
            Doing::Promote => lease.live(now).then(|| done("the lease is live")),
            Doing::Start | Doing::Restore => self.bring_up(lease.live(now), epoch, service, scene),
            Doing::Verify => (service.state() == ServiceState::Running)
                .then(|| Outcome::Verified(VerifyEvidence::default())),
        };
        wanted.or_else(|| (now >= self.until).then(|| failed("the deadline passed")))
    }

    fn bring_up(
        &mut self,
        live: bool,
        epoch: Epoch,
        service: &mut Service,
        scene: &mut Scene,
    ) -> Option<Outcome> {
        if !self.begun {
            self.begun = true;
            if !live {
                return Some(Outcome::Refused(Refusal::NoLease { epoch }));
            }
            service.start(scene);
        }
        match service.state() {
            ServiceState::Running => Some(done("it runs")),
            ServiceState::Failed | ServiceState::Stopped => Some(failed("it ended")),
            ServiceState::Starting | ServiceState::Unhealthy | ServiceState::Unknown => None,
        }
    }
}
