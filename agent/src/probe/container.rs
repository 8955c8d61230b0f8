//! A container's health, from the docker driver's looks and events.
//!
//! Asks Docker nothing itself. What a state means depends on whether the
//! group is expected here: on a standby a stopped container is as it should be.

use super::{Expectation, Finding, ProbeConfig, ProbesError, Slot};
use crate::service::{ContainerFacts, DriverConfig, Health, Service, Services};
use daemon::clock::boottime_ms;
use model::{Mono, ServiceName, ServiceState, ServiceStatus, Verdict};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// The service that a container probe names.
pub(super) fn find(
    config: &ProbeConfig,
    name: &ServiceName,
    services: &Services,
) -> Result<Arc<Service>, ProbesError> {
    let (probe, service) = (config.name.clone(), name.clone());
    let Some(found) = services.get(name) else {
        return Err(ProbesError::NoService { probe, service });
    };
    match &found.config().driver {
        DriverConfig::Docker(_) => {}
        DriverConfig::Process(_) => return Err(ProbesError::NotAContainer { probe, service }),
    }
    let owner = found.config().group.clone();
    match config.group.clone().filter(|group| *group != owner) {
        Some(group) => Err(ProbesError::OtherGroup { probe, group, service, owner }),
        None => Ok(Arc::clone(found)),
    }
}

pub(super) struct Container {
    service: Arc<Service>,
    expected: Arc<Expectation>,
    /// Restarts by Docker when this probe first saw the container, and which one that was.
    first: Option<(String, i64)>,
    /// How long a state may stay unknown before that is the finding.
    patience: Duration,
    /// Since when Docker has told nothing.
    unknown_since: Option<Mono>,
}

impl Container {
    pub(super) fn new(
        service: Arc<Service>,
        expected: Arc<Expectation>,
        patience: Duration,
    ) -> Self {
        Self { service, expected, first: None, patience, unknown_since: None }
    }

    pub(super) async fn run(
        mut self,
        slot: Arc<Slot>,
        mut changed: watch::Receiver<u64>,
        every: Duration,
    ) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last: Option<ServiceStatus> = None;
        loop {
            let by_event = tokio::select! {
                _ = tick.tick() => false,
                alive = changed.changed() => match alive {
                    Ok(()) => true,
                    Err(_) => return,
                },
            };
            let status = self.service.status();
            // Another service's event is no finding about this one.
            if by_event && last.as_ref() == Some(&status) {
                continue;
            }
            if let Some(finding) = self.find(&status) {
                slot.publish(finding);
            }
            last = Some(status);
        }
    }

    /// `None` while Docker's silence is younger than the probe's timeout.
    fn find(&mut self, status: &ServiceStatus) -> Option<Finding> {
        let now = Mono(boottime_ms());
        if status.state == ServiceState::Unknown {
            let since = *self.unknown_since.get_or_insert(now);
            if now.since(since).to_duration() < self.patience {
                return None;
            }
        } else {
            self.unknown_since = None;
        }
        let facts = self.service.container();
        let restarts = facts.as_ref().map(|facts| self.restarts_since(facts));
        Some(judge(status, facts.as_ref(), restarts, self.expected.since().is_some()))
    }

    fn restarts_since(&mut self, facts: &ContainerFacts) -> i64 {
        match &self.first {
            Some((id, first)) if *id == facts.id && *first <= facts.restarts => {
                facts.restarts - first
            }
            // Another container of the same name counts from its own beginning.
            Some(_) => {
                self.first = Some((facts.id.clone(), 0));
                facts.restarts
            }
            None => {
                self.first = Some((facts.id.clone(), facts.restarts));
                0
            }
        }
    }
}

fn judge(
    status: &ServiceStatus,
    facts: Option<&ContainerFacts>,
    restarts: Option<i64>,
    expected: bool,
) -> Finding {
    let verdict = match status.state {
        ServiceState::Running => Verdict::Ok,
        ServiceState::Starting => Verdict::Warn,
        ServiceState::Unhealthy => Verdict::Critical,
        ServiceState::Stopped if expected => Verdict::Critical,
        ServiceState::Stopped => Verdict::Ok,
        ServiceState::Failed if expected => Verdict::Critical,
        // Nothing is lost yet; it could not be started, though.
        ServiceState::Failed => Verdict::Warn,
        ServiceState::Unknown => Verdict::Unknown,
    };
    let mut finding = Finding::new(verdict, status.detail.clone());
    if let Some(facts) = facts {
        let healthy = match facts.health {
            Health::None => -1,
            Health::Unhealthy => 0,
            Health::Starting => 1,
            Health::Healthy => 2,
        };
        finding = finding
            .measure("running", i64::from(facts.running))
            .measure("exit_code", facts.exit_code)
            .measure("restarts", facts.restarts)
            .measure("restarts_since_start", restarts.unwrap_or(0))
            .measure("oom_killed", i64::from(facts.oom))
            .measure("health", healthy);
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::GroupId;

    fn verdict(state: ServiceState, expected: bool) -> Verdict {
        let status = ServiceStatus {
            service: ServiceName::new("s").unwrap(),
            group: GroupId::new("g").unwrap(),
            exclusive: true,
            standby: model::StandbyMode::Stopped,
            state,
            detail: "words".into(),
        };
        let finding = judge(&status, None, None, expected);
        assert_eq!(finding.summary, "words");
        finding.verdict
    }

    #[test]
    fn a_state_means_what_is_expected_here() {
        assert_eq!(verdict(ServiceState::Running, true), Verdict::Ok);
        assert_eq!(verdict(ServiceState::Stopped, true), Verdict::Critical);
        assert_eq!(verdict(ServiceState::Stopped, false), Verdict::Ok);
        assert_eq!(verdict(ServiceState::Failed, true), Verdict::Critical);
        assert_eq!(verdict(ServiceState::Failed, false), Verdict::Warn);
        assert_eq!(verdict(ServiceState::Unhealthy, false), Verdict::Critical);
        assert_eq!(verdict(ServiceState::Unknown, true), Verdict::Unknown);
    }
}
