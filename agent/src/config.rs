//! agent.toml: who this host is, what may run here, and what is looked at.
//!
//! Checks what concerns the file as a whole; each service's and probe's own
//! fields are checked where they are defined. A file with a fault is refused
//! whole, every fault with its place and what to do.

use crate::{
    coordinators::{COORDINATORS_MAX, is_address},
    probe::{KindConfig, ProbeConfig},
    service::{DockerConfig, DriverConfig, ServiceConfig},
};
use daemon::config::{self, ConfigError, Faults, Source, Spanned};
use model::{GroupId, HostId};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// What may run here.
    pub services: Vec<ServiceConfig>,
    /// What is looked at.
    pub probes: Vec<ProbeConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    host: HostId,
    state_dir: Spanned<PathBuf>,
    coordinators: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    service: Vec<ServiceConfig>,
    #[serde(default)]
    probe: Vec<ProbeConfig>,
}

/// Where the names stand.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    service: Vec<Place>,
    #[serde(default)]
    probe: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    name: Spanned<String>,
    service: Option<Spanned<String>>,
}

/// The tables one by one, to find the faults after the first.
#[derive(Deserialize)]
struct Entries {
    #[serde(default)]
    service: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    probe: Vec<Spanned<toml::Table>>,
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
        check_names(source, "service", &places.service, &mut faults);
        check_names(source, "probe", &places.probe, &mut faults);
        check_containers(source, &raw.service, &places.service, &mut faults);
        check_watched(source, &raw, &places.probe, &mut faults);
        let coordinators = raw
            .coordinators
            .map(|list| list.into_inner().into_iter().map(Spanned::into_inner).collect());
        let config = Self {
            host: raw.host,
            state_dir: raw.state_dir.into_inner(),
            coordinators,
            services: raw.service,
            probes: raw.probe,
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

fn check_names(source: &Source, what: &str, places: &[Place], faults: &mut Faults) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, place) in places.iter().enumerate() {
        let name = place.name.get_ref().as_str();
        if let Some(first) = seen.get(name) {
            let (line, _) = source.position(places[*first].name.span().start);
            let message = format!("a {what} `{name}` is in line {line} already");
            let field = format!("{what}[{at}].name");
            faults.push(source.fault_at(&place.name, field, message, "give each its own name"));
        } else {
            seen.insert(name, at);
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
