//! What may run without a lease: nothing exclusive, but for gated services
//! behind an armed and closed gate (A1).

use super::{Driver, now, work::Done};
use crate::{command, ledger::Memory};
use model::{GateState, GroupId, Mono, ServiceState, ServiceStatus, StandbyMode};

/// Whether something of it may be running.
const fn runs(state: ServiceState) -> bool {
    match state {
        ServiceState::Starting | ServiceState::Running | ServiceState::Unhealthy => true,
        ServiceState::Stopped | ServiceState::Failed | ServiceState::Unknown => false,
    }
}

impl Driver {
    /// A1: an exclusive service that runs without a live lease is stopped,
    /// whoever started it, unless it stands behind the closed gate.
    pub(super) fn enforce(&mut self, now: Mono) {
        for status in self.services.statuses() {
            let Some(group) = self.groups.get_mut(&status.group) else { continue };
            if !runs(status.state) || !status.exclusive || group.lease.live(now) {
                continue;
            }
            let gated = status.standby == StandbyMode::Gated
                && group.keeper.is_behind()
                && group.gate_state() == GateState::Closed;
            if !gated {
                group.keeper.saw_running(now);
            }
        }
    }

    /// Tells the keepers of groups with gated services how things stand.
    pub(super) fn stand_by(&mut self, now: Mono) {
        let memory = self.ledger.memory();
        for group in self.groups.values_mut() {
            let mut gated = self
                .services
                .of_group(&group.name)
                .filter(|service| service.config().standby == StandbyMode::Gated)
                .peekable();
            if gated.peek().is_none() {
                continue;
            }
            let may = group.may_stand_by(memory, now);
            let all_up = may && gated.all(|service| runs(service.status().state));
            group.keeper.stand_by(now, may, all_up);
        }
    }

    /// Starts what stands by.
    pub(super) fn begin_standby(&mut self, name: &GroupId, now: Mono) {
        if let Some(group) = self.groups.get_mut(name) {
            group.cancel = daemon::shutdown::Shutdown::new();
        }
        let Some(room) = self.room(name, now + command::RESTORE_LIMIT) else { return };
        tracing::info!(group = %name, "starting the gated services behind the closed gate");
        let group = name.clone();
        self.tasks.spawn(async { Done::StoodBy { group, result: command::stand_by(room).await } });
    }

    pub(super) fn stood_by(&mut self, name: &GroupId, result: Result<(), String>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let given_up = group.keeper.stood_by(result.is_ok());
        match result {
            Ok(()) => {
                tracing::info!(group = %name, "the gated services run behind the closed gate")
            }
            Err(error) if given_up => tracing::error!(
                group = %name, error,
                "could not start a gated service, and stopped trying; look at the service, then \
                 restart the agent"
            ),
            Err(error) => {
                tracing::warn!(group = %name, error, "could not start a gated service; trying again");
            }
        }
        self.beat.want();
        self.enforce(now());
    }

    /// Every service's status, a gated one's with a word where it waits stopped.
    pub(super) fn statuses(&self) -> Vec<ServiceStatus> {
        let mut statuses = self.services.statuses();
        for status in &mut statuses {
            let group = self.groups.get(&status.group);
            if status.standby == StandbyMode::Gated
                && group.is_some_and(|group| group.gate_state() == GateState::Absent)
            {
                status.standby = StandbyMode::Stopped;
                status.detail.push_str("; it waits stopped, because this host has no kernel gate");
            }
        }
        statuses
    }
}

impl super::group::Group {
    /// Whether gated services are to run here without a lease: another site is
    /// active under the highest epoch, and the gate is armed and closed.
    fn may_stand_by(&self, memory: &Memory, now: Mono) -> bool {
        let elsewhere = self.assignment.as_ref().is_some_and(|assigned| {
            let other = assigned.active.as_ref().is_some_and(|active| *active != assigned.site);
            other && assigned.epoch == self.lease.epoch()
        });
        elsewhere
            && self.barred.is_empty()
            && !self.is_active(memory)
            && !self.lease.live(now)
            && self.gate_state() == GateState::Closed
    }
}
