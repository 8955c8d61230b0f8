//! One container detached from its networks, and attached again as it was.
//!
//! What it was attached to, with addresses and aliases, is in `detached.json` in
//! the state directory before the first network is taken away: a detachment that
//! was interrupted is completed by asking again, and always undone by a release.

use bollard::{
    Docker,
    errors::Error as DockerError,
    models::{
        EndpointIpamConfig, EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest,
    },
    query_parameters::InspectContainerOptions,
};
use daemon::{
    clock::wall_ms,
    durable::{self, DurableError, Operation},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, path::Path, time::Duration};
use tokio::time::timeout;

const FILE: &str = "detached.json";

/// How long Docker may take for one call: it answers within a second.
const LIMIT: Duration = Duration::from_secs(10);

/// The client's own limit, above ours.
const CLIENT_LIMIT_S: u64 = 60;

/// Docker's own network, which knows neither aliases nor chosen addresses.
const PLAIN: &str = "bridge";

/// Why a container was not detached or attached.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// Docker.
    #[error("Docker, asked to {what}: {source}")]
    Docker {
        /// What was asked.
        what: String,
        /// Its answer.
        source: DockerError,
    },
    /// No answer.
    #[error("Docker did not answer within {} s, asked to {what}", LIMIT.as_secs())]
    Silent {
        /// What was asked.
        what: String,
    },
    /// Nothing to detach it from.
    #[error(
        "container {0} has no network of its own to be detached from (the host's, another \
         container's, or none): stop it, or isolate the host"
    )]
    NoNetwork(String),
    /// None was.
    #[error("container {0} was not detached by this agent: nothing to attach it to again")]
    NotDetached(String),
    /// It is another one now.
    #[error(
        "container {name} was made anew since ({known} is now {found}): attach it by hand; \
         the old record is in {FILE}"
    )]
    Another {
        /// Its name.
        name: String,
        /// The id that was detached.
        known: String,
        /// The id that there is.
        found: String,
    },
    /// The memory.
    #[error("what it was attached to is not saved: {0}")]
    Saved(#[from] DurableError),
}

/// One network that a container was attached to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Endpoint {
    ipv4: Option<String>,
    ipv6: Option<String>,
    /// Whether somebody chose the addresses: then no other will do.
    chosen: bool,
    aliases: Vec<String>,
    driver_opts: BTreeMap<String, String>,
}

/// One container that was detached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Detached {
    id: String,
    by: String,
    reason: String,
    at_unix_ms: u64,
    networks: BTreeMap<String, Endpoint>,
}

type Saved = BTreeMap<String, Detached>;

/// Detaches a container; gives the networks. Again is no fault.
///
/// # Errors
/// [`DetachError`]; what was done before it is undone by [`attach`].
pub async fn detach(
    state_dir: &Path,
    socket: &Path,
    name: &str,
    (by, reason): (&str, &str),
) -> Result<Vec<String>, DetachError> {
    let docker = connect(socket)?;
    let (id, networks) = networks_of(&docker, name).await?;
    let mut saved = load(state_dir)?;
    let none = networks.is_empty() && !saved.contains_key(name);
    if none || networks.contains_key("host") {
        return Err(DetachError::NoNetwork(name.into()));
    }
    let entry = saved.entry(name.into()).or_insert_with(|| Detached {
        id: id.clone(),
        by: by.into(),
        reason: reason.into(),
        at_unix_ms: wall_ms(),
        networks: BTreeMap::new(),
    });
    if entry.id != id {
        return Err(another(name, &entry.id, &id));
    }
    for (network, endpoint) in &networks {
        // The first record counts: what is there now may have been attached since.
        let known = entry.networks.entry(network.clone());
        known.or_insert_with(|| endpoint_of(endpoint, network, &id));
    }
    let all = entry.networks.keys().cloned().collect();
    save(state_dir, &saved)?;
    for network in networks.keys() {
        let request = NetworkDisconnectRequest { container: id.clone(), force: Some(true) };
        let what = format!("detach {name} from {network}");
        within(what, docker.disconnect_network(network, request)).await?;
    }
    Ok(all)
}

/// Attaches it again to what it was attached to; gives the networks, and what is
/// not as it was.
///
/// # Errors
/// [`DetachError`]; asking again goes on where it stopped.
pub async fn attach(
    state_dir: &Path,
    socket: &Path,
    name: &str,
) -> Result<(Vec<String>, Vec<String>), DetachError> {
    let docker = connect(socket)?;
    let mut saved = load(state_dir)?;
    let Some(detached) = saved.get(name).cloned() else {
        return Err(DetachError::NotDetached(name.into()));
    };
    let (id, there) = networks_of(&docker, name).await?;
    if detached.id != id {
        return Err(another(name, &detached.id, &id));
    }
    let mut notes = Vec::new();
    for (network, endpoint) in &detached.networks {
        if there.contains_key(network) {
            continue;
        }
        let request = |endpoint| NetworkConnectRequest {
            container: id.clone(),
            endpoint_config: Some(settings(endpoint, network)),
        };
        let what = || format!("attach {name} to {network}");
        let first = within(what(), docker.connect_network(network, request(endpoint))).await;
        match first {
            Ok(()) => {}
            // Docker gives addresses of its own choice only by itself.
            Err(DetachError::Docker { .. }) if !endpoint.chosen => {
                let free = Endpoint { ipv4: None, ipv6: None, ..endpoint.clone() };
                within(what(), docker.connect_network(network, request(&free))).await?;
                notes.push(format!("{network}: Docker chose its address anew"));
            }
            Err(error) => return Err(error),
        }
    }
    saved.remove(name);
    save(state_dir, &saved)?;
    Ok((detached.networks.into_keys().collect(), notes))
}

fn another(name: &str, known: &str, found: &str) -> DetachError {
    DetachError::Another { name: name.into(), known: known.into(), found: found.into() }
}

fn connect(socket: &Path) -> Result<Docker, DetachError> {
    let path = socket.to_string_lossy();
    Docker::connect_with_unix(&path, CLIENT_LIMIT_S, bollard::API_DEFAULT_VERSION)
        .map_err(|source| DetachError::Docker { what: format!("open {path}"), source })
}

async fn within<T>(
    what: String,
    call: impl Future<Output = Result<T, DockerError>>,
) -> Result<T, DetachError> {
    match timeout(LIMIT, call).await {
        Ok(answer) => answer.map_err(|source| DetachError::Docker { what, source }),
        Err(_) => Err(DetachError::Silent { what }),
    }
}

async fn networks_of(
    docker: &Docker,
    name: &str,
) -> Result<(String, BTreeMap<String, EndpointSettings>), DetachError> {
    let docker = within("tell its version".into(), docker.clone().negotiate_version()).await?;
    let asked = docker.inspect_container(name, None::<InspectContainerOptions>);
    let found = within(format!("inspect {name}"), asked).await?;
    let networks = found.network_settings.and_then(|settings| settings.networks);
    let networks = networks.unwrap_or_default().into_iter();
    // What it says of a container without any.
    let networks = networks.filter(|(network, _)| network != "none").collect();
    Ok((found.id.unwrap_or_default(), networks))
}

/// What is needed to attach it again.
fn endpoint_of(of: &EndpointSettings, network: &str, id: &str) -> Endpoint {
    let given = |address: &Option<String>| address.clone().filter(|address| !address.is_empty());
    let asked = of.ipam_config.as_ref();
    let chosen = asked.is_some_and(|ipam| {
        given(&ipam.ipv4_address).is_some() || given(&ipam.ipv6_address).is_some()
    });
    // Docker adds the container's own short id by itself.
    let aliases = of.aliases.iter().flatten().filter(|alias| !id.starts_with(*alias)).cloned();
    let plain = network == PLAIN;
    Endpoint {
        ipv4: given(&of.ip_address).filter(|_| !plain),
        ipv6: given(&of.global_ipv6_address).filter(|_| !plain),
        chosen,
        aliases: if plain { Vec::new() } else { aliases.collect() },
        driver_opts: of.driver_opts.clone().unwrap_or_default().into_iter().collect(),
    }
}

fn settings(endpoint: &Endpoint, network: &str) -> EndpointSettings {
    let addresses = endpoint.ipv4.is_some() || endpoint.ipv6.is_some();
    EndpointSettings {
        ipam_config: (addresses && network != PLAIN).then(|| EndpointIpamConfig {
            ipv4_address: endpoint.ipv4.clone(),
            ipv6_address: endpoint.ipv6.clone(),
            ..Default::default()
        }),
        aliases: Some(endpoint.aliases.clone()).filter(|aliases| !aliases.is_empty()),
        driver_opts: Some(endpoint.driver_opts.clone().into_iter().collect())
            .filter(|_| !endpoint.driver_opts.is_empty()),
        ..Default::default()
    }
}

fn load(state_dir: &Path) -> Result<Saved, DurableError> {
    let path = state_dir.join(FILE);
    let Some(bytes) = durable::read_optional(&path)? else { return Ok(Saved::new()) };
    serde_json::from_slice(&bytes).map_err(|error| {
        let why = format!("it is damaged ({error})");
        DurableError::new(Operation::Read, &path, io::Error::other(why))
    })
}

fn save(state_dir: &Path, saved: &Saved) -> Result<(), DurableError> {
    durable::write_json(&state_dir.join(FILE), saved, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::docker_lab::{docker, docker_is_there};
    use std::process::Command;

    /// Removed at the end, also when the test fails.
    struct World {
        container: String,
        networks: [String; 2],
    }

    impl World {
        fn new() -> Self {
            let name = |role: &str| format!("understudy-{role}-{}", std::process::id());
            let (container, networks) = (name("detach"), [name("chosen"), name("free")]);
            docker(&["network", "create", "--subnet", "10.213.7.0/24", &networks[0]]);
            docker(&["network", "create", &networks[1]]);
            let image = "understudy-test:busybox";
            let run = ["run", "-d", "--name", &container, "--network", &networks[0]];
            let how = ["--ip", "10.213.7.77", "--network-alias", "mt5", image];
            docker(&[&run[..], &how, &["/bin/busybox", "sleep", "600"]].concat());
            docker(&["network", "connect", "--alias", "second", &networks[1], &container]);
            Self { container, networks }
        }

        fn networks(&self) -> serde_json::Value {
            let said =
                docker(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", &self.container]);
            serde_json::from_str(&said).unwrap()
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = Command::new("docker").args(["rm", "-f", &self.container]).output();
            let _ = Command::new("docker").args(["network", "rm"]).args(&self.networks).output();
        }
    }

    #[tokio::test]
    async fn docker_a_container_is_detached_and_attached_again_as_it_was() {
        if !docker_is_there() {
            return;
        }
        let (world, state) = (World::new(), tempfile::tempdir().unwrap());
        let (dir, socket, name) =
            (state.path(), Path::new("/var/run/docker.sock"), &world.container);
        let none = attach(dir, socket, name).await.unwrap_err();
        assert!(matches!(none, DetachError::NotDetached(_)), "{none}");
        let bare = crate::service::docker_lab::Container::create(&[], &["sleep", "600"]);
        let none = detach(dir, socket, &bare.0, ("ann", "")).await.unwrap_err();
        assert!(matches!(none, DetachError::NoNetwork(_)), "{none}");
        let mut expected = world.networks.to_vec();
        expected.sort();
        // Asked again, with one network taken away and then all: nothing is forgotten.
        let who = ("ann", "an odd process");
        assert_eq!(detach(dir, socket, name, who).await.unwrap(), expected);
        assert_eq!(world.networks(), serde_json::json!({}));
        docker(&["network", "connect", &world.networks[1], name]);
        assert_eq!(detach(dir, socket, name, who).await.unwrap(), expected);
        assert_eq!(world.networks(), serde_json::json!({}));
        assert!(std::fs::read_to_string(dir.join(FILE)).unwrap().contains("10.213.7.77"));
        let (attached, _) = attach(dir, socket, name).await.unwrap();
        assert_eq!(attached, expected);
        let back = world.networks();
        let of = |network: &str, field: &str| back[network][field].clone();
        assert_eq!(of(&world.networks[0], "IPAddress"), "10.213.7.77");
        let aliases = |network: &str| of(network, "Aliases").to_string();
        assert!(aliases(&world.networks[0]).contains("mt5"), "{back}");
        assert!(aliases(&world.networks[1]).contains("second"), "{back}");
        assert!(load(dir).unwrap().is_empty());
        // One that was made anew is not taken for the one that was detached.
        detach(dir, socket, name, who).await.unwrap();
        docker(&["rm", "-f", name]);
        docker(&["create", "--name", name, "understudy-test:busybox", "/bin/busybox", "true"]);
        let other = attach(dir, socket, name).await.unwrap_err();
        assert!(matches!(other, DetachError::Another { .. }), "{other}");
    }
}
