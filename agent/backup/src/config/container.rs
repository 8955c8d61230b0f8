//! How a `[[backup]]` names a volume or a container: by name, or by compose labels.

use super::{ComposeVolume, ContainerName, Quiesce, VolumeName, VolumeSource};
use serde::Deserialize;

/// `compose = { ... }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Compose {
    project: String,
    volume: Option<String>,
    service: Option<String>,
}

pub(super) fn volume(
    name: Option<String>,
    compose: Option<Compose>,
    quiesce: Option<Quiesce>,
) -> Result<VolumeSource, String> {
    let volume = match (name, compose) {
        (Some(name), None) => VolumeName::Name(name),
        (None, Some(Compose { project, volume: Some(volume), service: None })) => {
            VolumeName::Compose(ComposeVolume { project, volume })
        }
        (None, Some(_)) => {
            return Err("compose: write compose = { project = \"P\", volume = \"V\" }".into());
        }
        (Some(_), Some(_)) => {
            return Err("compose: the volume has a name already; keep one of both".into());
        }
        (None, None) => {
            return Err(
                "volume: missing; write volume = \"NAME\" or compose = { project, volume }".into(),
            );
        }
    };
    Ok(VolumeSource { volume, quiesce: quiesce.unwrap_or_default() })
}

pub(super) fn container(
    name: Option<String>,
    compose: Option<Compose>,
) -> Result<Option<ContainerName>, String> {
    match (name, compose) {
        (None, None) => Ok(None),
        (Some(name), None) => Ok(Some(ContainerName::Name(name))),
        (None, Some(Compose { project, volume: None, service: Some(service) })) => {
            Ok(Some(ContainerName::Compose(project, service)))
        }
        (None, Some(_)) => {
            Err("compose: write compose = { project = \"P\", service = \"S\" }".into())
        }
        (Some(_), Some(_)) => {
            Err("compose: the container has a name already; keep one of both".into())
        }
    }
}
