//! What Docker knows of volumes and containers. Every question has a deadline.

use crate::{
    config::{ComposeVolume, ContainerName, VolumeName},
    manifest,
};
use bollard::{
    errors::Error,
    models::ContainerSummary,
    query_parameters::{
        InspectContainerOptions, ListContainersOptionsBuilder, ListVolumesOptionsBuilder,
        StartContainerOptions, StopContainerOptionsBuilder,
    },
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{runtime::Runtime, time::timeout};

/// How long a question may take: dockerd answers in milliseconds, a busy one in seconds.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a container has to end by itself before it is killed.
const STOP_GRACE_S: i32 = 30;
/// The client's own limit, for streams.
const CLIENT_LIMIT_S: u64 = 24 * 3600;

/// Why Docker did not tell or do something.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// It does not answer.
    #[error("Docker at {}: {words}; is it running, and may this user use its socket?", socket.display())]
    Engine {
        /// Its socket.
        socket: PathBuf,
        /// Its words.
        words: String,
    },
    /// There is no such thing.
    #[error("there is no {what}; `docker {list}` shows what there is")]
    None {
        /// What was looked for.
        what: String,
        /// What lists them.
        list: &'static str,
    },
    /// Several answer to that name.
    #[error("{what} is not one but several: {names}; name it by its own name")]
    Several {
        /// What was looked for.
        what: String,
        /// What was found.
        names: String,
    },
    /// It is not a directory of this host.
    #[error(
        "volume `{volume}` has the driver `{driver}` and no directory here; only local volumes can be copied"
    )]
    NotLocal {
        /// The volume.
        volume: String,
        /// Its driver.
        driver: String,
    },
}

/// A connection, with a runtime of its own: everything else here blocks.
pub(crate) struct Docker {
    pub(crate) client: bollard::Docker,
    pub(crate) runtime: Runtime,
    socket: PathBuf,
}

/// A volume.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) mountpoint: PathBuf,
}

/// A container.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) name: String,
    image: String,
    image_id: String,
    project: Option<String>,
    service: Option<String>,
    created: i64,
    pub(crate) running: bool,
    pub(crate) paused: bool,
    mounts: Vec<PathBuf>,
}

impl Found {
    fn of(summary: ContainerSummary) -> Self {
        let label = |key: &str| summary.labels.as_ref().and_then(|of| of.get(key)).cloned();
        let name = summary
            .names
            .iter()
            .flatten()
            .next()
            .map(|name| name.trim_start_matches('/').to_owned());
        let state = summary.state.map(|state| state.to_string()).unwrap_or_default();
        Self {
            project: label("com.docker.compose.project"),
            service: label("com.docker.compose.service"),
            id: summary.id.unwrap_or_default(),
            name: name.unwrap_or_default(),
            image: summary.image.unwrap_or_default(),
            image_id: summary.image_id.unwrap_or_default(),
            created: summary.created.unwrap_or_default(),
            running: matches!(state.as_str(), "running" | "paused" | "restarting"),
            paused: state == "paused",
            mounts: summary
                .mounts
                .unwrap_or_default()
                .into_iter()
                .filter_map(|mount| {
                    mount.source.filter(|source| !source.is_empty()).map(PathBuf::from)
                })
                .collect(),
        }
    }

    fn is(&self, name: &ContainerName) -> bool {
        match name {
            ContainerName::Name(name) => *name == self.name,
            ContainerName::Compose(project, service) => {
                self.project.as_ref() == Some(project) && self.service.as_ref() == Some(service)
            }
        }
    }

    pub(crate) fn is_one_of(&self, names: &[ContainerName]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    pub(crate) fn for_manifest(&self) -> manifest::Container {
        let (name, image, image_id) =
            (self.name.clone(), self.image.clone(), self.image_id.clone());
        manifest::Container { name, image, image_id }
    }
}

impl Docker {
    pub(crate) fn connect(socket: &Path) -> Result<Self, DockerError> {
        let failed = |words: String| DockerError::Engine { socket: socket.into(), words };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let client = runtime.block_on(async {
            let path = socket.to_string_lossy();
            let client = bollard::Docker::connect_with_unix(
                &path,
                CLIENT_LIMIT_S,
                bollard::API_DEFAULT_VERSION,
            )?;
            timeout(LIMIT, client.negotiate_version())
                .await
                .unwrap_or(Err(Error::RequestTimeoutError))
        });
        let client = client.map_err(|error| failed(error.to_string()))?;
        Ok(Self { client, runtime, socket: socket.into() })
    }

    fn ask<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, DockerError> {
        self.runtime
            .block_on(async {
                timeout(limit, call).await.unwrap_or(Err(Error::RequestTimeoutError))
            })
            .map_err(|error| self.engine(&error))
    }

    fn engine(&self, error: &Error) -> DockerError {
        DockerError::Engine { socket: self.socket.clone(), words: error.to_string() }
    }

    /// A volume by its name or its compose labels.
    pub(crate) fn volume(&self, name: &VolumeName) -> Result<Volume, DockerError> {
        let options = match name {
            VolumeName::Name(_) => None,
            VolumeName::Compose(ComposeVolume { project, volume }) => {
                let labels = vec![
                    format!("com.docker.compose.project={project}"),
                    format!("com.docker.compose.volume={volume}"),
                ];
                let filters = HashMap::from([("label", labels)]);
                Some(ListVolumesOptionsBuilder::default().filters(&filters).build())
            }
        };
        let listed = self.ask(LIMIT, self.client.list_volumes(options))?;
        let mut found: Vec<_> = listed
            .volumes
            .unwrap_or_default()
            .into_iter()
            .filter(|volume| match name {
                VolumeName::Name(wanted) => volume.name == *wanted,
                VolumeName::Compose(_) => true,
            })
            .collect();
        let what = name.to_string();
        let Some(volume) = found.pop() else {
            return Err(DockerError::None { what, list: "volume ls" });
        };
        if !found.is_empty() {
            let names: Vec<String> =
                found.into_iter().chain([volume]).map(|volume| volume.name).collect();
            return Err(DockerError::Several { what, names: names.join(", ") });
        }
        let mountpoint = PathBuf::from(&volume.mountpoint);
        if volume.driver != "local" || !mountpoint.is_dir() {
            return Err(DockerError::NotLocal { volume: volume.name, driver: volume.driver });
        }
        Ok(Volume { name: volume.name, mountpoint })
    }

    fn containers(&self) -> Result<Vec<Found>, DockerError> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let listed = self.ask(LIMIT, self.client.list_containers(Some(options)))?;
        let mut found: Vec<Found> = listed.into_iter().map(Found::of).collect();
        // Compose makes what others need first.
        found.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok(found)
    }

    /// The containers, oldest first, that have any of these directories, or
    /// something above or below one, mounted.
    pub(crate) fn users_of(&self, paths: &[PathBuf]) -> Result<Vec<Found>, DockerError> {
        let touches = |mount: &PathBuf| {
            paths.iter().any(|path| mount.starts_with(path) || path.starts_with(mount))
        };
        let mut all = self.containers()?;
        all.retain(|container| container.mounts.iter().any(touches));
        Ok(all)
    }

    /// One container.
    pub(crate) fn container(&self, name: &ContainerName) -> Result<Found, DockerError> {
        let mut found: Vec<Found> =
            self.containers()?.into_iter().filter(|known| known.is(name)).collect();
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (Some(last), _) => {
                let names: Vec<String> =
                    found.into_iter().chain([last]).map(|of| of.name).collect();
                Err(DockerError::Several { what: name.to_string(), names: names.join(", ") })
            }
            (None, _) => Err(DockerError::None { what: name.to_string(), list: "ps --all" }),
        }
    }

    pub(crate) fn pause(&self, id: &str) -> Result<(), DockerError> {
        self.ask(LIMIT, self.client.pause_container(id))
    }

    pub(crate) fn unpause(&self, id: &str) -> Result<(), DockerError> {
        self.ask(LIMIT, self.client.unpause_container(id))
    }

    pub(crate) fn stop(&self, id: &str) -> Result<(), DockerError> {
        let options = StopContainerOptionsBuilder::default().t(STOP_GRACE_S).build();
        let limit = LIMIT + Duration::from_secs(u64::from(STOP_GRACE_S.unsigned_abs()));
        self.ask(limit, self.client.stop_container(id, Some(options)))
    }

    pub(crate) fn start(&self, id: &str) -> Result<(), DockerError> {
        self.ask(LIMIT, self.client.start_container(id, None::<StartContainerOptions>))
    }

    /// Whether a container runs, and whether it is paused; `None` when it is gone.
    pub(crate) fn state(&self, id: &str) -> Result<Option<(bool, bool)>, DockerError> {
        let asked = self.runtime.block_on(async {
            let call = self.client.inspect_container(id, None::<InspectContainerOptions>);
            timeout(LIMIT, call).await.unwrap_or(Err(Error::RequestTimeoutError))
        });
        match asked {
            Ok(found) => {
                let state = found.state.unwrap_or_default();
                Ok(Some((state.running.unwrap_or(false), state.paused.unwrap_or(false))))
            }
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.engine(&error)),
        }
    }
}
