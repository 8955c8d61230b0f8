//! Carrying an emergency stop out beside the agent, or without it: the gates
//! closed, then everything exclusive killed, again and again until it is seen.

use super::{LOOK_EVERY, Stops};
use crate::{
    config::Config,
    gate::{self, command::GateCommandError},
    service::{DriverConfig, ServiceConfig, ServiceRoom, Services},
};
use daemon::{durable::DurableError, lock::StateLock};
use futures::future::join_all;
use model::{GateState, GroupId, ServiceName};
use serde::Serialize;
use std::{collections::BTreeSet, fs, path::Path, time::Duration};
use tokio::time::{Instant, sleep};

/// How long a running agent is given to hear of it before the second look: twice
/// its pace. Until then it may open a gate again that was closed.
const HEARD: Duration = LOOK_EVERY.saturating_mul(2);

/// How long it is tried: two stops at the longest usual `stop_timeout`.
const LIMIT: Duration = Duration::from_secs(15);

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);

/// What became of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStop {
    /// Which.
    pub service: ServiceName,
    /// Its group.
    pub group: GroupId,
    /// Whether it was seen stopped.
    pub stopped: bool,
    /// In words.
    pub detail: String,
}

/// What came of a stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stopped {
    /// Whether it lasts over a restart and a reboot; else why not.
    pub durable: Result<(), String>,
    /// Each group with its gate at the end.
    pub gates: Vec<(GroupId, GateState)>,
    /// What of the gates could not be done.
    pub gate_fault: String,
    /// Every exclusive service.
    pub services: Vec<ServiceStop>,
}

impl Stopped {
    /// Whether everything is stopped for certain, and stays so.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.durable.is_ok() && self.services.iter().all(|service| service.stopped)
    }
}

/// Stops everything exclusive of these groups. Never gives up half way: what does
/// not work is said at the end.
pub async fn stop(config: &Config, groups: &BTreeSet<GroupId>, by: &str, reason: &str) -> Stopped {
    let durable = Stops::begin(&config.state_dir, groups, by, reason);
    // What does not work is seen again below.
    close(config, groups);
    let of_groups = |service: &&ServiceConfig| service.exclusive && groups.contains(&service.group);
    let exclusive: Vec<ServiceConfig> = config.services.iter().filter(of_groups).cloned().collect();
    let until = Instant::now() + LIMIT;
    stop_all(config, &exclusive).await;
    sleep(HEARD).await;
    let (services, gate_fault) = loop {
        // Once more, after a running agent has heard of it.
        let gate_fault = close(config, groups);
        let services = stop_all(config, &exclusive).await;
        let all = services.iter().all(|service| service.stopped);
        if all || Instant::now() >= until {
            break (services, gate_fault);
        }
        sleep(AGAIN).await;
    };
    let gates = gate::command::status(&config.gate, &config.services)
        .map(|status| status.groups.into_iter().map(|of| (of.group, of.gate)).collect())
        .unwrap_or_default();
    Stopped {
        durable: durable.map_err(|error: DurableError| error.to_string()),
        gates,
        gate_fault: gate_fault.unwrap_or_default(),
        services,
    }
}

/// Closes the gates in the kernel, whoever keeps the table; why it could not.
fn close(config: &Config, groups: &BTreeSet<GroupId>) -> Option<String> {
    let closed = || -> Result<(), GateCommandError> {
        // Loads it where it is missing and no agent keeps it.
        gate::command::load_missing(&config.gate, &config.services, &config.state_dir)?;
        groups.iter().try_for_each(|group| gate::command::close(&config.gate, group))
    };
    closed().err().map(|error| error.to_string())
}

async fn stop_all(config: &Config, exclusive: &[ServiceConfig]) -> Vec<ServiceStop> {
    let docker = |service: &&ServiceConfig| matches!(service.driver, DriverConfig::Docker(_));
    let containers: Vec<ServiceConfig> = exclusive.iter().filter(docker).cloned().collect();
    // Docker's alone, for which no directory has to be made.
    let opened = Services::open(&containers, &ServiceRoom::new(&config.state_dir));
    let stops = exclusive.iter().map(async |service| {
        let stopped = match (&service.driver, &opened) {
            (DriverConfig::Process(_), _) => of_process(config, service),
            (DriverConfig::Docker(_), Err(error)) => Err(error.to_string()),
            (DriverConfig::Docker(_), Ok(opened)) => match opened.get(&service.name) {
                Some(container) => container.stop().await.map_err(|error| error.to_string()),
                None => Err("its driver is not there".into()),
            },
        };
        let (stopped, detail) = match stopped {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        let (name, group) = (service.name.clone(), service.group.clone());
        ServiceStop { service: name, group, stopped, detail }
    });
    join_all(stops).await
}

/// A program lives and dies with the agent's holder, and in a cgroup of its own
/// where there is one: that is killed as a whole.
fn of_process(config: &Config, service: &ServiceConfig) -> Result<String, String> {
    let cgroup = gate::cgroup_of(&config.gate, &service.name).filter(|path| path.is_dir());
    if let Some(cgroup) = cgroup {
        fs::write(cgroup.join("cgroup.kill"), "1")
            .map_err(|error| format!("its cgroup is not killed: {error}"))?;
        return match is_empty(&cgroup) {
            true => Ok("its cgroup is empty".into()),
            false => Err("something of it still runs in its cgroup".into()),
        };
    }
    match StateLock::acquire(&config.state_dir, "understudy-agent emergency-stop") {
        Ok(_lock) => Ok("no agent runs, and no program without it".into()),
        Err(_) => Err("it has no cgroup of its own; the running agent stops it: look at \
                       `coordctl status`, or stop the agent"
            .into()),
    }
}

fn is_empty(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|list| list.trim().is_empty())
}
