//! agent.toml: who this host is, what may run here, and what is looked at.
//!
//! Checks what concerns the file as a whole; each service's and probe's own
//! fields are checked where they are defined. A file with a fault is refused
//! whole, every fault with its place and what to do.

use crate::{
    coordinators::{COORDINATORS_MAX, is_address},
    evidence::EvidenceConfig,
    gate::GateConfig,
    isolation::IsolationConfig,
    peer::PeerConfig,
    probe::{KindConfig, ProbeConfig},
    service::{Compose, DockerConfig, DriverConfig, ServiceConfig, Target},
    task::TasksConfig,
    watchdog::WatchdogConfig,
};
use backup::{ContainerName, RepositoryConfig, SourceConfig};
use daemon::config::{self, ConfigError, Faults, Source, Spanned};
use model::{GroupId, HostId};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The whole file, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// This host's name: the one in its certificate.
    pub host: HostId,
    /// Ledger, credentials and coordinators.json.
    pub state_dir: PathBuf,
    /// Where coordinators are, where the file says it.
    pub coordinators: Option<Vec<String>>,
    /// The kernel gate.
    pub gate: GateConfig,
    /// How this host is cut off after a breach.
    pub isolation: IsolationConfig,
    /// Where other agents are answered, where they are (A6).
    pub peer: Option<PeerConfig>,
    /// The hardware's watchdog, where it is to be used.
    pub watchdog: Option<WatchdogConfig>,
    /// What may run here.
    pub services: Vec<ServiceConfig>,
    /// What is looked at.
    pub probes: Vec<ProbeConfig>,
    /// What `understudy-agent backup` copies, and where to.
    pub backup: backup::Config,
    /// What coordinators may have done here.
    pub tasks: TasksConfig,
    /// What is collected after a breach.
    pub evidence: EvidenceConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    host: HostId,
    state_dir: Spanned<PathBuf>,
    coordinators: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    gate: GateConfig,
    #[serde(default)]
    isolation: IsolationConfig,
    peer: Option<PeerConfig>,
    watchdog: Option<WatchdogConfig>,
    #[serde(default)]
    service: Vec<ServiceConfig>,
    #[serde(default)]
    probe: Vec<ProbeConfig>,
    #[serde(default)]
    repository: Vec<RepositoryConfig>,
    #[serde(default)]
    backup: Vec<SourceConfig>,
    #[serde(default)]
    tasks: TasksConfig,
    #[serde(default)]
    evidence: EvidenceConfig,
}

/// Where the names stand.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    service: Vec<Place>,
    #[serde(default)]
    probe: Vec<Place>,
    #[serde(default)]
    backup: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    name: Spanned<String>,
    group: Option<Spanned<String>>,
    service: Option<Spanned<String>>,
}

/// The tables one by one, to find the faults after the first.
#[derive(Deserialize)]
struct Entries {
    #[serde(default)]
    service: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    probe: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    repository: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    backup: Vec<Spanned<toml::Table>>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault: file, line, column, field, what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::of(&config::read(path)?)
    }

    /// Checks a text.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of(source: &Source) -> Result<Self, ConfigError> {
        let raw: Raw =
            config::parse_source(source).map_err(|error| with_the_others(source, error))?;
        let places: Places = config::parse_source(source)?;
        let mut faults = Faults::new();
        check_file(source, &raw, &mut faults);
        source.names_once("service", places.service.iter().map(|place| &place.name), &mut faults);
        source.names_once("probe", places.probe.iter().map(|place| &place.name), &mut faults);
        check_containers(source, &raw.service, &places.service, &mut faults);
        check_watched(source, &raw, &places.probe, &mut faults);
        backup::config::check(source, &raw.repository, &raw.backup, &mut faults)?;
        check_backups(source, &raw.backup, &places.backup, &mut faults);
        let coordinators = raw
            .coordinators
            .map(|list| list.into_inner().into_iter().map(Spanned::into_inner).collect());
        let state_dir = raw.state_dir.into_inner();
        let config = Self {
            backup: backup::Config {
                repositories: raw.repository,
                sources: raw.backup,
                host: raw.host.to_string(),
                state_dir: state_dir.clone(),
                pki: state_dir.join("pki"),
                exclusive: exclusive(&raw.service),
            },
            host: raw.host,
            state_dir,
            coordinators,
            gate: raw.gate,
            isolation: raw.isolation,
            peer: raw.peer,
            watchdog: raw.watchdog,
            services: raw.service,
            probes: raw.probe,
            tasks: raw.tasks,
            evidence: raw.evidence,
        };
        faults.or(config).map_err(Into::into)
    }

    /// Every group that the file speaks of, each once.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<GroupId> {
        let services = self.services.iter().map(|service| service.group.clone());
        services.chain(self.probes.iter().filter_map(|probe| probe.group.clone())).collect()
    }

    /// The credentials directory.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.state_dir.join("pki")
    }
}

/// A source's group has a name of a group.
fn check_backups(source: &Source, backups: &[SourceConfig], places: &[Place], faults: &mut Faults) {
    for (at, (backup, place)) in backups.iter().zip(places).enumerate() {
        let Some(Err(error)) = backup.when.group.clone().map(GroupId::new) else { continue };
        let span = place.group.as_ref().unwrap_or(&place.name);
        let field = format!("backup[{at}].group");
        faults.push(source.fault_at(span, field, error.to_string(), "write the group's name"));
    }
}

/// The containers that only a lease may start.
fn exclusive(services: &[ServiceConfig]) -> Vec<ContainerName> {
    let container = |service: &ServiceConfig| match &service.driver {
        DriverConfig::Docker(docker) => Some(match docker.target.clone() {
            Target::Container(name) => ContainerName::Name(name),
            Target::Compose(Compose { project, service }) => {
                ContainerName::Compose(project, service)
            }
        }),
        DriverConfig::Process(_) => None,
    };
    services.iter().filter(|service| service.exclusive).filter_map(container).collect()
}

/// The reader stops at the first fault; the other tables are read one by one.
fn with_the_others(source: &Source, error: ConfigError) -> ConfigError {
    let ConfigError::Invalid(mut faults) = error else { return error };
    let Ok(entries) = config::parse_source::<Entries>(source) else {
        return ConfigError::Invalid(faults);
    };
    let told: Vec<String> = faults.iter().map(|fault| fault.field.clone()).collect();
    let mut add = |field: String, table: &Spanned<toml::Table>, fault: Option<toml::de::Error>| {
        let of_this = |told: &String| *told == field || told.starts_with(&format!("{field}."));
        if let Some(fault) = fault.filter(|_| !told.iter().any(of_this)) {
            faults.push(source.fault_at(table, field, fault.message(), ""));
        }
    };
    for (at, table) in entries.service.iter().enumerate() {
        let fault = table.get_ref().clone().try_into::<ServiceConfig>().err();
        add(format!("service[{at}]"), table, fault);
    }
    for (at, table) in entries.probe.iter().enumerate() {
        let fault = table.get_ref().clone().try_into::<ProbeConfig>().err();
        add(format!("probe[{at}]"), table, fault);
    }
    for (at, table) in entries.repository.iter().enumerate() {
        let fault = table.get_ref().clone().try_into::<RepositoryConfig>().err();
        add(format!("repository[{at}]"), table, fault);
    }
    for (at, table) in entries.backup.iter().enumerate() {
        let fault = table.get_ref().clone().try_into::<SourceConfig>().err();
        add(format!("backup[{at}]"), table, fault);
    }
    ConfigError::Invalid(faults)
}

fn check_file(source: &Source, raw: &Raw, faults: &mut Faults) {
    if !raw.state_dir.get_ref().is_absolute() {
        let message = format!("`{}` is not an absolute path", raw.state_dir.get_ref().display());
        let hint = "write for example \"/var/lib/understudy-agent\"";
        faults.push(source.fault_at(&raw.state_dir, "state_dir", message, hint));
    }
    let Some(list) = &raw.coordinators else { return };
    let count = list.get_ref().len();
    if count == 0 || count > COORDINATORS_MAX {
        let message = format!("{count} coordinators; 1 to {COORDINATORS_MAX} are possible");
        let hint = "remove the line to use those learnt at enrolment";
        faults.push(source.fault_at(list, "coordinators", message, hint));
    }
    for (at, address) in list.get_ref().iter().enumerate() {
        if !is_address(address.get_ref()) {
            let message = format!("`{}` is not of the form host:port", address.get_ref());
            let hint = "write for example \"192.0.2.1:7443\"; an IPv6 address stands in brackets";
            faults.push(source.fault_at(address, format!("coordinators[{at}]"), message, hint));
        }
    }
}

/// Two services of one container would stop each other.
fn check_containers(
    source: &Source,
    services: &[ServiceConfig],
    places: &[Place],
    faults: &mut Faults,
) {
    let mut seen: Vec<(&DockerConfig, &ServiceConfig)> = Vec::new();
    for (at, (service, place)) in services.iter().zip(places).enumerate() {
        let DriverConfig::Docker(docker) = &service.driver else { continue };
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == docker) {
            let message = format!("{} is service `{}` already", docker.target, first.name);
            let field = format!("service[{at}]");
            let hint = "a container belongs to one service";
            faults.push(source.fault_at(&place.name, field, message, hint));
        } else {
            seen.push((docker, service));
        }
    }
}

/// A container probe looks at a container of this file.
fn check_watched(source: &Source, raw: &Raw, places: &[Place], faults: &mut Faults) {
    for (at, (probe, place)) in raw.probe.iter().zip(places).enumerate() {
        let KindConfig::Container { service: wanted } = &probe.kind else { continue };
        let Some(named) = &place.service else { continue };
        let (message, hint) = match raw.service.iter().find(|service| service.name == *wanted) {
            None => {
                let known: Vec<&str> =
                    raw.service.iter().map(|service| service.name.as_str()).collect();
                let known =
                    if known.is_empty() { "there are none".into() } else { known.join(", ") };
                (format!("there is no service `{wanted}`"), format!("services here: {known}"))
            }
            Some(found) => match (&found.driver, &probe.group) {
                (DriverConfig::Process(_), _) => (
                    format!("service `{wanted}` is no container (its driver is \"process\")"),
                    "its state is in every heartbeat anyway; remove the probe".into(),
                ),
                (DriverConfig::Docker(_), Some(group)) if *group != found.group => (
                    format!(
                        "service `{wanted}` is of group `{}`, the probe of `{group}`",
                        found.group
                    ),
                    "leave out the probe's group".into(),
                ),
                (DriverConfig::Docker(_), Some(_) | None) => continue,
            },
        };
        faults.push(source.fault_at(named, format!("probe[{at}].service"), message, hint));
    }
}

#[cfg(test)]
mod tests;
