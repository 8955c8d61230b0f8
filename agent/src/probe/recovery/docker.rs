//! What Docker has of a service: its containers, their images, what is bound into
//! them and what they publish. Asks and changes nothing.

use crate::service::{Compose, Target};
use bollard::{
    Docker,
    errors::Error as BollardError,
    models::ContainerInspectResponse,
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder},
};
use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    path::PathBuf,
    time::Duration,
};
use tokio::time::timeout;

/// How long one question may take: Docker answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// The client's own limit in seconds, above ours.
const CLIENT_LIMIT_S: u64 = 10;

/// One Engine, by its socket.
pub(super) struct Engine {
    socket: PathBuf,
    client: Option<Docker>,
}

/// What there is of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stock {
    /// What it is, in words.
    pub(super) target: String,
    pub(super) containers: Vec<Container>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) running: bool,
    /// Whether its image is there.
    pub(super) image: bool,
    /// Paths of this host that are bound into it.
    pub(super) binds: Vec<PathBuf>,
    /// What it publishes: whether it is TCP, and the port of this host.
    pub(super) ports: BTreeSet<(bool, u16)>,
}

impl Engine {
    pub(super) const fn new(socket: PathBuf) -> Self {
        Self { socket, client: None }
    }

    /// Its version, which it says when it answers at all.
    pub(super) async fn version(&mut self) -> Result<String, String> {
        let version = self.call(async |docker| {
            docker.ping().await?;
            docker.version().await
        });
        Ok(version.await?.version.unwrap_or_default())
    }

    /// What it has of a service.
    pub(super) async fn stock(&mut self, target: &Target) -> Result<Stock, String> {
        let names = match target {
            Target::Container(name) => vec![name.clone()],
            Target::Compose(compose) => self.of_compose(compose).await?,
        };
        let mut containers = Vec::new();
        for name in names {
            containers.extend(self.container(&name).await?);
        }
        Ok(Stock { target: target.to_string(), containers })
    }

    async fn of_compose(&mut self, compose: &Compose) -> Result<Vec<String>, String> {
        let labels = vec![
            format!("com.docker.compose.project={}", compose.project),
            format!("com.docker.compose.service={}", compose.service),
        ];
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let list = self.call(async |docker| docker.list_containers(Some(options)).await).await?;
        Ok(list.into_iter().filter_map(|container| container.id).collect())
    }

    async fn container(&mut self, name: &str) -> Result<Option<Container>, String> {
        let found = self
            .call(async |docker| {
                let options = None::<InspectContainerOptions>;
                absent(docker.inspect_container(name, options).await)
            })
            .await?;
        let Some(found) = found else { return Ok(None) };
        let id = found.image.clone().unwrap_or_default();
        let image = self.call(async |docker| absent(docker.inspect_image(&id).await)).await?;
        Ok(Some(read(name, found, image.is_some())))
    }

    async fn call<T, F>(&mut self, ask: impl FnOnce(Docker) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, BollardError>>,
    {
        let (socket, client) = (self.socket.clone(), self.client.clone());
        let place = socket.display().to_string();
        let asking = async {
            let docker = match client {
                Some(docker) => docker,
                None => {
                    let version = bollard::API_DEFAULT_VERSION;
                    let docker = Docker::connect_with_unix(&place, CLIENT_LIMIT_S, version)?;
                    docker.negotiate_version().await?
                }
            };
            Ok::<_, BollardError>((ask(docker.clone()).await?, docker))
        };
        match timeout(LIMIT, asking).await {
            Ok(Ok((answer, docker))) => {
                self.client = Some(docker);
                Ok(answer)
            }
            Ok(Err(error)) => {
                self.client = None;
                Err(format!("Docker at {place}: {error}"))
            }
            Err(_) => {
                self.client = None;
                Err(format!("Docker at {place} did not answer within {} s", LIMIT.as_secs()))
            }
        }
    }
}

/// What is not there is an answer.
fn absent<T>(answer: Result<T, BollardError>) -> Result<Option<T>, BollardError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(name: &str, found: ContainerInspectResponse, image: bool) -> Container {
    let config = found.host_config.unwrap_or_default();
    // `/on/host:/inside[:ro]`; a volume's name is no path.
    let binds = config.binds.unwrap_or_default().into_iter();
    let binds = binds.filter_map(|bind| Some(bind.split_once(':')?.0.to_owned()));
    let mounts = config.mounts.unwrap_or_default().into_iter().filter_map(|mount| mount.source);
    let paths = binds.chain(mounts).filter(|path| path.starts_with('/')).map(PathBuf::from);
    let published = config.port_bindings.unwrap_or_default();
    let ports = published.into_iter().flat_map(|(inside, bindings)| {
        let tcp = !inside.ends_with("/udp");
        let ports = bindings.unwrap_or_default().into_iter();
        ports.filter_map(move |port| Some((tcp, port.host_port?.parse().ok().filter(|p| *p > 0)?)))
    });
    let shown = found.name.unwrap_or_else(|| name.to_owned());
    Container {
        name: shown.trim_start_matches('/').to_owned(),
        running: found.state.and_then(|state| state.running).unwrap_or_default(),
        image,
        binds: paths.collect(),
        ports: ports.collect(),
    }
}
