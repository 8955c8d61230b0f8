//! What Docker says of a container, and what it means for the service. Pure.

use super::Target;
use crate::service::Look;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum, RestartPolicyNameEnum,
};
use model::ServiceState;

/// What a container's own health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It has none.
    None,
    /// It has not decided yet.
    Starting,
    /// It passes.
    Healthy,
    /// It fails.
    Unhealthy,
}

impl Health {
    /// The word used for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "no health check",
            Self::Starting => "health starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What one inspection said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    /// The full id.
    pub id: String,
    /// Its name, without the slash in front.
    pub name: String,
    /// Docker's word for its state.
    pub status: String,
    /// Whether its main process runs (also when paused).
    pub running: bool,
    /// Whether it is frozen.
    pub paused: bool,
    /// Whether Docker is about to start it again.
    pub restarting: bool,
    /// Whether Docker is removing it, or could not.
    pub dead: bool,
    /// The newest exit code.
    pub exit_code: i64,
    /// Whether the kernel killed it for memory the last time.
    pub oom: bool,
    /// Why Docker could not start it; empty when it could.
    pub error: String,
    /// Its health check.
    pub health: Health,
    /// How often Docker's restart policy brought it back.
    pub restarts: i64,
    /// When it was started last, as Docker writes it.
    pub started_at: String,
    /// Its main process on this host, while it runs.
    pub(super) pid: Option<i32>,
    /// Whether its restart policy is `always`.
    pub(super) always_restarts: bool,
    /// Whether `docker compose run` made it.
    pub(super) one_off: bool,
}

impl From<ContainerInspectResponse> for ContainerFacts {
    fn from(answer: ContainerInspectResponse) -> Self {
        let state = answer.state.unwrap_or_default();
        let labels = answer.config.and_then(|config| config.labels).unwrap_or_default();
        let policy = answer.host_config.and_then(|config| config.restart_policy);
        let health = match state.health.and_then(|health| health.status) {
            None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) => Health::None,
            Some(HealthStatusEnum::STARTING) => Health::Starting,
            Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        };
        let yes = |flag: Option<bool>| flag.unwrap_or(false);
        let removing = matches!(
            state.status,
            Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD)
        );
        Self {
            id: answer.id.unwrap_or_default(),
            name: answer.name.unwrap_or_default().trim_start_matches('/').into(),
            status: state.status.map(|status| status.to_string()).unwrap_or_default(),
            running: yes(state.running),
            paused: yes(state.paused),
            restarting: yes(state.restarting),
            dead: yes(state.dead) || removing,
            exit_code: state.exit_code.unwrap_or(0),
            oom: yes(state.oom_killed),
            error: state.error.unwrap_or_default(),
            health,
            restarts: answer.restart_count.unwrap_or(0),
            started_at: state.started_at.unwrap_or_default(),
            pid: state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0),
            always_restarts: policy.and_then(|policy| policy.name)
                == Some(RestartPolicyNameEnum::ALWAYS),
            one_off: labels
                .get("com.docker.compose.oneoff")
                .is_some_and(|flag| flag.eq_ignore_ascii_case("true")),
        }
    }
}

impl ContainerFacts {
    /// How it is, when it should run (`wanted`) or need not.
    #[must_use]
    pub fn state(&self, wanted: bool) -> ServiceState {
        if self.dead {
            return ServiceState::Failed;
        }
        if self.restarting || self.paused {
            return ServiceState::Unhealthy;
        }
        if self.running {
            return match self.health {
                Health::None | Health::Healthy => ServiceState::Running,
                Health::Starting => ServiceState::Starting,
                Health::Unhealthy => ServiceState::Unhealthy,
            };
        }
        if wanted || !self.error.is_empty() { ServiceState::Failed } else { ServiceState::Stopped }
    }

    /// Its main process ended, by an event.
    pub(super) fn ended(&mut self, exit_code: i64) {
        (self.running, self.paused, self.pid) = (false, false, None);
        self.exit_code = exit_code;
        self.status = "exited".into();
    }

    /// One line for a person.
    #[must_use]
    pub fn line(&self) -> String {
        let id = self.id.get(..12).unwrap_or(&self.id);
        let head = format!("container {} ({id})", self.name);
        let oom = if self.oom { ", killed by the kernel for memory" } else { "" };
        if self.restarting {
            return format!(
                "{head} restarts after exit code {}{oom}, restart {}",
                self.exit_code, self.restarts
            );
        }
        if self.paused {
            return format!("{head} is paused");
        }
        if self.running {
            return format!("{head} runs, {}", self.health.word());
        }
        if !self.error.is_empty() {
            return format!("{head} did not start: {}", self.error);
        }
        if self.status == "created" {
            return format!("{head} was never started");
        }
        format!("{head} is {} with exit code {}{oom}", self.status, self.exit_code)
    }
}

/// What the containers of a service mean together: as good as the worst, but
/// never stopped or failed while one of them runs, because what runs has to be
/// stopped (A1). Sorts them, worst first.
pub(super) fn judge(target: &Target, containers: &mut [ContainerFacts], wanted: bool) -> Look {
    containers.sort_by_key(|facts| (rank(facts.state(wanted)), facts.name.clone()));
    let Some(worst) = containers.first() else {
        return Look::new(ServiceState::Failed, format!("there is no {target} on this host"));
    };
    let one_runs = containers.iter().any(|facts| facts.running || facts.restarting);
    let state = match worst.state(wanted) {
        ServiceState::Stopped | ServiceState::Failed if one_runs => ServiceState::Unhealthy,
        state => state,
    };
    let lines: Vec<String> = containers.iter().map(ContainerFacts::line).collect();
    Look::new(state, lines.join(", "))
}

/// Worst first; a stopped one among running ones is what is wrong with them.
const fn rank(state: ServiceState) -> u8 {
    match state {
        ServiceState::Failed => 0,
        ServiceState::Unhealthy => 1,
        ServiceState::Unknown => 2,
        ServiceState::Starting => 3,
        ServiceState::Stopped => 4,
        ServiceState::Running => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(change: impl FnOnce(&mut ContainerFacts)) -> ContainerFacts {
        let mut facts = ContainerFacts::from(ContainerInspectResponse::default());
        facts.id = "0123456789abcdef".into();
        facts.name = "c".into();
        facts.status = "exited".into();
        change(&mut facts);
        facts
    }

    #[test]
    fn every_state_of_docker_has_a_meaning() {
        let exited = facts(|_| {});
        assert_eq!(exited.state(false), ServiceState::Stopped);
        assert_eq!(exited.state(true), ServiceState::Failed);
        let runs = |health| facts(|facts| (facts.running, facts.health) = (true, health));
        assert_eq!(runs(Health::None).state(true), ServiceState::Running);
        assert_eq!(runs(Health::Healthy).state(true), ServiceState::Running);
        assert_eq!(runs(Health::Starting).state(true), ServiceState::Starting);
        assert_eq!(runs(Health::Unhealthy).state(true), ServiceState::Unhealthy);
        let paused = facts(|facts| (facts.running, facts.paused) = (true, true));
        assert_eq!(paused.state(true), ServiceState::Unhealthy);
        let restarting = facts(|facts| facts.restarting = true);
        assert_eq!(restarting.state(false), ServiceState::Unhealthy);
        assert_eq!(facts(|facts| facts.dead = true).state(false), ServiceState::Failed);
        let refused = facts(|facts| facts.error = "no such file".into());
        assert_eq!(refused.state(false), ServiceState::Failed);
        assert!(refused.line().contains("did not start: no such file"));
    }

    #[test]
    fn a_service_is_as_good_as_its_worst_container() {
        let target = Target::Container("c".into());
        let runs = facts(|facts| facts.running = true);
        // While one runs, the service is neither stopped nor failed.
        for wanted in [true, false] {
            let mut both = [runs.clone(), facts(|_| {})];
            assert_eq!(judge(&target, &mut both, wanted).state, ServiceState::Unhealthy);
            assert!(!both[0].running);
        }
        let mut ended = [facts(|_| {}), facts(|facts| facts.error = "x".into())];
        assert_eq!(judge(&target, &mut ended, false).state, ServiceState::Failed);
        let mut none = [];
        let missing = judge(&target, &mut none, false);
        assert_eq!(missing.state, ServiceState::Failed);
        assert!(missing.detail.contains("no container `c`"), "{missing:?}");
        assert_eq!(judge(&target, &mut [runs], true).state, ServiceState::Running);
    }
}
