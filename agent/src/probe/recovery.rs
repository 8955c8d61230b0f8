//! What a recovery needs of this host, without a line in agent.toml: that Docker
//! answers, that containers and images are there, that the files which services name
//! exist, that nobody else listens on the ports which they publish, and that this
//! agent's certificate lasts.
//!
//! Changes nothing. Every call is bounded; what cannot be told is unknown.

mod docker;
mod local;

use super::{Finding, Slot};
use crate::{
    service::{DriverConfig, ServiceConfig},
    verdict::{Rules, UnknownMeans},
};
use certs::Trust;
use docker::{Engine, Stock};
use model::{ProbeKind, ProbeName, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks: what is looked at changes by an operator's hand.
const EVERY: Duration = Duration::from_secs(10);

/// The readings, as coordinators know them by name.
const NAMES: [&str; 5] =
    ["recovery.docker", "recovery.images", "recovery.files", "recovery.ports", "recovery.identity"];

/// Each of these says what is so now: no second opinion is needed.
pub(super) const RULES: Rules = Rules { rise: 1, fall: 1, unknown: UnknownMeans::Unknown };

/// What is looked at.
pub(super) struct Recovery {
    services: Vec<ServiceConfig>,
    trust: Trust,
    engines: BTreeMap<PathBuf, Engine>,
}

/// The names of its readings.
pub(super) fn names() -> Vec<ProbeName> {
    NAMES.iter().filter_map(|name| ProbeName::new(*name).ok()).collect()
}

/// The kind of all of them.
pub(super) const KIND: ProbeKind = ProbeKind::Recovery;

impl Recovery {
    pub(super) fn new(services: &[ServiceConfig], trust: Trust) -> Self {
        let sockets = services.iter().filter_map(|service| match &service.driver {
            DriverConfig::Docker(docker) => Some(docker.socket.clone()),
            DriverConfig::Process(_) => None,
        });
        let sockets: BTreeSet<PathBuf> = sockets.collect();
        let engines = sockets.into_iter().map(|socket| (socket.clone(), Engine::new(socket)));
        Self { services: services.to_vec(), trust, engines: engines.collect() }
    }

    pub(super) async fn run(mut self, slots: Vec<Arc<Slot>>) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for (slot, finding) in slots.iter().zip(self.look().await) {
                slot.publish(finding);
            }
        }
    }

    /// In the order of the names.
    async fn look(&mut self) -> [Finding; 5] {
        let mut engines = Vec::new();
        for engine in self.engines.values_mut() {
            engines.push(engine.version().await);
        }
        let mut stocks: Vec<Result<Stock, String>> = Vec::new();
        for service in &self.services {
            if let DriverConfig::Docker(config) = &service.driver
                && let Some(engine) = self.engines.get_mut(&config.socket)
            {
                let stock = engine.stock(&config.target).await;
                stocks.push(stock.map_err(|why| format!("{}: {why}", service.name)));
            }
        }
        [
            docker_of(&engines, local::compose().as_deref()),
            images(&stocks),
            files(&self.services, &stocks),
            ports(&stocks, &local::listening()),
            identity(self.trust.leaf().not_after.0, certs::now().0),
        ]
    }
}

fn nothing_in_docker() -> Finding {
    Finding::new(Verdict::Ok, "no service of agent.toml runs in Docker")
}

/// Ping, version, and compose: the plugin, or docker-compose 1.29.
fn docker_of(engines: &[Result<String, String>], compose: Option<&str>) -> Finding {
    if engines.is_empty() {
        return nothing_in_docker();
    }
    let bad: Vec<&str> =
        engines.iter().filter_map(|one| one.as_ref().err().map(String::as_str)).collect();
    if !bad.is_empty() {
        return Finding::new(Verdict::Critical, bad.join("; "));
    }
    let versions: Vec<&str> = engines.iter().flatten().map(String::as_str).collect();
    let versions = versions.join(", ");
    match compose {
        Some(place) => {
            Finding::new(Verdict::Ok, format!("Docker {versions} answers; compose is {place}"))
        }
        None => Finding::new(
            Verdict::Warn,
            format!(
                "Docker {versions} answers; neither the compose plugin nor docker-compose is there"
            ),
        ),
    }
}

fn unknown(stocks: &[Result<Stock, String>]) -> Option<Finding> {
    let why = stocks.iter().find_map(|stock| stock.as_ref().err())?;
    Some(Finding::new(Verdict::Unknown, why.clone()))
}

fn images(stocks: &[Result<Stock, String>]) -> Finding {
    if stocks.is_empty() {
        return nothing_in_docker();
    }
    if let Some(finding) = unknown(stocks) {
        return finding;
    }
    let mut missing = Vec::new();
    let mut there = 0;
    for stock in stocks.iter().flatten() {
        if stock.containers.is_empty() {
            missing.push(format!("there is no {}", stock.target));
        }
        for container in &stock.containers {
            match container.image {
                true => there += 1,
                false => {
                    missing.push(format!("the image of container `{}` is gone", container.name))
                }
            }
        }
    }
    match missing.is_empty() {
        true => Finding::new(Verdict::Ok, format!("{there} container(s) with their images")),
        false => Finding::new(Verdict::Critical, missing.join("; ")),
    }
}

/// Programs, working directories, and what is bound into containers: configuration,
/// keys, secrets.
fn files(services: &[ServiceConfig], stocks: &[Result<Stock, String>]) -> Finding {
    let mut named: BTreeSet<PathBuf> = BTreeSet::new();
    for service in services {
        if let DriverConfig::Process(process) = &service.driver {
            named.extend(process.command.first().map(PathBuf::from));
            named.extend(process.working_dir.clone());
        }
    }
    let containers = stocks.iter().flatten().flat_map(|stock| &stock.containers);
    named.extend(containers.flat_map(|container| container.binds.iter().cloned()));
    let gone: Vec<String> = named
        .iter()
        .filter(|path| {
            path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        })
        .map(|path| format!("{} is not there", path.display()))
        .collect();
    if !gone.is_empty() {
        return Finding::new(Verdict::Critical, gone.join("; "));
    }
    if let Some(finding) = unknown(stocks) {
        return finding;
    }
    Finding::new(Verdict::Ok, format!("all {} named files are there", named.len()))
}

/// A port that a container will publish, and somebody else listens on.
fn ports(
    stocks: &[Result<Stock, String>],
    listening: &Result<BTreeSet<(bool, u16)>, String>,
) -> Finding {
    if stocks.is_empty() {
        return nothing_in_docker();
    }
    if let Some(finding) = unknown(stocks) {
        return finding;
    }
    let listening = match listening {
        Ok(listening) => listening,
        Err(why) => return Finding::new(Verdict::Unknown, why.clone()),
    };
    let waiting = stocks.iter().flatten().flat_map(|stock| &stock.containers);
    let (mut taken, mut free) = (Vec::new(), 0);
    for container in waiting.filter(|container| !container.running) {
        for (tcp, port) in &container.ports {
            if listening.contains(&(*tcp, *port)) {
                let kind = if *tcp { "tcp" } else { "udp" };
                taken.push(format!(
                    "{kind}/{port} of container `{}` is taken by another program",
                    container.name
                ));
            } else {
                free += 1;
            }
        }
    }
    match taken.is_empty() {
        true => Finding::new(Verdict::Ok, format!("{free} port(s) to publish, none taken")),
        false => Finding::new(Verdict::Critical, taken.join("; ")),
    }
}

/// Days left at which somebody should look; renewal takes a person a moment.
const WARN_DAYS: u64 = 14;

fn identity(not_after_ms: u64, now_ms: u64) -> Finding {
    const DAY_MS: u64 = 86_400_000;
    let days = not_after_ms.saturating_sub(now_ms) / DAY_MS;
    let words = format!("the certificate is valid for {days} day(s) more (at least {WARN_DAYS})");
    let verdict = match () {
        () if not_after_ms <= now_ms => {
            return Finding::new(Verdict::Critical, "the certificate has expired");
        }
        () if days < WARN_DAYS => Verdict::Warn,
        () => Verdict::Ok,
    };
    Finding::new(verdict, words).measure("days", super::count(days))
}

#[cfg(test)]
mod tests;
